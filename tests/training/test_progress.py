"""What a training shows: lines with times of their own, any metric's name, early stopping, the bar while compiling."""

import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.training import progress
from fnn.training.progress import reporting

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (12, 4))
Y = jnp.arange(12) % 3
NETWORK = fnn.mlp([4, 3])
ZERO = lambda prediction, target: jnp.zeros(prediction.shape[0])


def fit(**options):
    options = {"epochs": 2, "batch_size": 12, "key": KEY} | options
    return fnn.fit(NETWORK, fnn.softmax_cross_entropy, fnn.sgd(0.1), (X, Y), **options)


@pytest.mark.parametrize("name", ["a[/b]", "[red]", "recall[0]", ":fire:", "[/]", "{x}", "100%"])
def test_metric_names_are_printed_as_they_are(name: str, capsys):
    result = fit(metrics={name: ZERO}, validation=(X, Y))
    assert name in result.history
    line = capsys.readouterr().out.splitlines()[0]
    assert f"  {name} 0.0000  " in line
    assert f"  validation {name} 0.0000  " in line


def test_paths_are_printed_as_they_are(tmp_path, capsys):
    folder = tmp_path / "[red]run[/b]:fire:"
    fit(checkpoint_dir=folder)
    fit(checkpoint_dir=folder, resume=True, epochs=3)
    assert f"resuming from {folder}" in capsys.readouterr().out


@pytest.mark.parametrize("name", [1, None, ("a", "b"), b"a", 0.5])
def test_metric_names_must_be_text(name):
    metrics = {name: ZERO}
    for train in (
        lambda: fit(metrics=metrics),
        lambda: fnn.evaluate(NETWORK, fnn.softmax_cross_entropy, NETWORK.init(KEY), (X, Y), metrics=metrics),
        lambda: fnn.make_run(
            NETWORK, fnn.softmax_cross_entropy, fnn.sgd, (X, Y), epochs=1, batch_size=4, metrics=metrics
        ),
        lambda: fnn.fit(
            NETWORK,
            fnn.softmax_cross_entropy._replace(metrics=((name, ZERO),)),
            fnn.sgd(0.1),
            (X, Y),
            epochs=1,
            batch_size=4,
            key=KEY,
        ),
    ):
        with pytest.raises(TypeError, match=r"metrics must be named by text \(str\), got "):
            train()


@pytest.mark.parametrize(
    ("metrics", "error"),
    [
        ((("cost", ZERO),), "which are reserved, got 'cost'"),
        ((("a", ZERO), ("a", ZERO)), "must be of different names, got 'a' twice"),
        ((("a", 3),), "must be functions, got int 3"),
        (("ab",), r"must be a tuple of pairs \(name, function\)"),
    ],
)
def test_a_losss_own_metrics_are_checked_too(metrics, error):
    loss = fnn.softmax_cross_entropy._replace(metrics=metrics)
    with pytest.raises((TypeError, ValueError), match=error):
        fnn.fit(NETWORK, loss, fnn.sgd(0.1), (X, Y), epochs=1, batch_size=4, key=KEY)


def seconds(line: str) -> float:
    found = re.search(r"  (\d+\.\d+) s$", line)
    assert found is not None, line
    return float(found[1])


class Clock:
    """A clock in place of the module time."""

    def __init__(self):
        self.now = 5.0

    def perf_counter(self) -> float:
        return self.now


def test_lines_carry_their_own_time(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with reporting(True, 3) as report:
        for epoch, pause in enumerate((2.25, 0.031, 1.0), start=1):
            clock.now += pause
            report.line(epoch, {"cost": 1.0})
            clock.now += 10  # in a callback
            report.advance(epoch)
    found = [line.rpartition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert found == ["2.2 s", "0.031 s", "1.0 s"]


def test_the_time_of_all_epochs_since_the_line_before_counts(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with reporting(True, 4) as report:
        for epoch in (1, 2, 3, 4):
            clock.now += epoch
            if epoch % 2 == 0:
                report.line(epoch, {"cost": 1.0})
            report.advance(epoch)
    assert [seconds(line) for line in capsys.readouterr().out.splitlines()] == [3.0, 7.0]


def test_the_lines_after_the_first_do_not_count_its_compilation(capsys):
    def slow_to_trace(prediction, target):
        time.sleep(0.5)
        return jnp.zeros(prediction.shape[0])

    fit(metrics={"slow": slow_to_trace}, epochs=4)
    first, *others = [seconds(line) for line in capsys.readouterr().out.splitlines()]
    assert first > 0.5
    assert max(others) < 0.5


def opposite(**options):
    """Train where what the training data teach is wrong for the validation data: early stopping stops at once."""
    return fit(validation=(X, (Y + 1) % 3), patience=2, **({"epochs": 50} | options))


def test_early_stopping_says_what_it_returns(capsys):
    result = opposite()
    cost = result.history["validation_cost"]
    best = int(np.argmin(cost)) + 1
    assert len(cost) == best + 2 < 50
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"stopped early after epoch {best + 2}, 2 epochs without a lower validation cost" in last
    assert f"returning the state of epoch {best} ({cost[best - 1]:.4f})" in last
    params = result.state.params
    values = fnn.evaluate(NETWORK, fnn.softmax_cross_entropy, params, (X, (Y + 1) % 3))
    assert values["cost"] == pytest.approx(cost[best - 1], rel=1e-5)


def test_patience_without_stopping_says_which_epoch_is_returned(capsys):
    result = fit(validation=(X, Y), patience=5, epochs=3)
    assert int(np.argmin(result.history["validation_cost"])) == 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("returning the state of epoch 3, which has the lowest validation cost (")


def test_a_callback_that_ends_a_training_is_no_early_stopping(capsys):
    fit(validation=(X, Y), patience=5, epochs=9, callback=lambda epoch, logs, state: epoch == 2)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("returning the state of epoch 2, which has the lowest")


def test_streams_stop_early_with_the_same_words(capsys):
    stream = lambda epoch: iter([(np.asarray(X), np.asarray(Y))])
    fnn.fit(
        NETWORK, fnn.softmax_cross_entropy, fnn.sgd(0.1), stream,
        epochs=50, batch_size=12, key=KEY, validation=(X, (Y + 1) % 3), patience=2,
    )  # fmt: skip
    assert "stopped early after epoch " in capsys.readouterr().out.splitlines()[-1]


def test_nothing_is_said_without_progress_or_patience(capsys):
    opposite(progress=False)
    assert capsys.readouterr().out == ""
    fit(validation=(X, Y))
    assert "returning" not in capsys.readouterr().out


def test_the_bar_says_that_it_compiles(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with reporting(True, 3) as report:
        time.sleep(0.3)  # the bar is drawn ten times a second
        report.line(1, {"cost[/b]": 1.0})
        before = capsys.readouterr().out
        report.advance(1)
        time.sleep(0.3)
        after = capsys.readouterr().out
    assert "compiling" in before
    assert "training" not in before
    assert "cost[/b]" in before
    assert "training" in after
    assert "1/3" in after
