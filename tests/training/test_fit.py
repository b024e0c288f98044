"""fit: history, early stopping, reports, and how few calls it makes from the host."""

import io
from contextlib import redirect_stdout

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.training import epoch, programs
from fnn.training.progress import format_line
from tests.support.classifying import LOSS, NETWORK, OPTIMIZER, TRAIN, VALIDATION, X, fit
from tests.support.oracles import assert_close, normal


@pytest.mark.accelerator
@pytest.mark.claim("C146", "C248")
def test_it_learns_and_tells_every_epoch(key):
    result = fit(key, epochs=20, validation=VALIDATION)
    assert set(result.history) == {"cost", "accuracy", "validation_cost", "validation_accuracy"}
    assert all(isinstance(v, np.ndarray) and v.shape == (20,) and np.isfinite(v).all() for v in result.history.values())
    assert result.history["cost"][-1] < 0.6 * result.history["cost"][0]
    assert result.history["validation_accuracy"][-1] > 0.7
    assert int(result.state.step) == 20 * 5
    final = fnn.evaluate(NETWORK, LOSS, result.state.params, VALIDATION)
    np.testing.assert_allclose(final["cost"], result.history["validation_cost"][-1], rtol=1e-5)
    np.testing.assert_allclose(final["accuracy"], result.history["validation_accuracy"][-1], rtol=1e-5)


@pytest.mark.accelerator
def test_it_equals_epochs_made_by_hand(key):
    result = fit(key, l2=0.01)
    run = fnn.make_epoch(fnn.make_step(NETWORK, LOSS, OPTIMIZER, l2=0.01), 32)
    state = fnn.init_state(NETWORK, OPTIMIZER, key)
    costs = []
    for _ in range(6):
        state, out = run(state, TRAIN)
        costs.append(np.average(out, weights=[32, 32, 32, 32, 22]))
    np.testing.assert_allclose(result.history["cost"], costs, rtol=1e-5)
    assert_close(result.state.params, state.params, "float32")


@pytest.mark.accelerator
def test_the_same_key_gives_the_same_bits_however_often_it_reports(key):
    a, b = fit(key, validation=VALIDATION), fit(key, validation=VALIDATION, callback=lambda *_: None, report_every=2)
    c = fit(jax.random.fold_in(key, 1), validation=VALIDATION)
    for name in a.history:
        np.testing.assert_array_equal(a.history[name], b.history[name])
    assert all(
        np.array_equal(p, q) for p, q in zip(*map(jax.tree.leaves, (a.state.params, b.state.params)), strict=True)
    )
    assert not np.array_equal(a.history["cost"], c.history["cost"])


def test_it_continues_from_a_state_and_leaves_it_alone(key):
    uninterrupted = fit(key, epochs=6)
    first = fit(key, epochs=4)
    second = fit(None, epochs=2, state=first.state)
    np.testing.assert_array_equal(
        np.concatenate([first.history["cost"], second.history["cost"]]), uninterrupted.history["cost"]
    )
    assert np.array_equal(second.state.params[0].w, uninterrupted.state.params[0].w)
    assert not first.state.params[0].w.is_deleted()


@pytest.mark.accelerator
def test_patience_stops_and_returns_the_best(key):
    noisy = fnn.adam(0.3)
    result = fit(key, optimizer=noisy, epochs=200, validation=VALIDATION, patience=7)
    costs = result.history["validation_cost"]
    assert len(costs) < 200
    best = int(np.argmin(costs))
    assert len(costs) == best + 1 + 7
    assert int(result.state.step) == 5 * (best + 1)
    np.testing.assert_allclose(
        fnn.evaluate(NETWORK, LOSS, result.state.params, VALIDATION)["cost"], costs[best], rtol=1e-5
    )
    alone = fit(key, optimizer=noisy, epochs=best + 1)
    assert np.array_equal(alone.state.params[0].w, result.state.params[0].w)


@pytest.mark.slow
def test_patience_that_never_ends_returns_the_best_too(key):
    result = fit(key, optimizer=fnn.adam(0.3), epochs=12, validation=VALIDATION, patience=1000)
    assert len(result.history["cost"]) == 12
    assert int(result.state.step) == 5 * (int(np.argmin(result.history["validation_cost"])) + 1)


def test_ten_thousand_full_batch_iterations_are_a_few_dispatches(key, monkeypatch):
    calls = []
    run_epochs = programs.run_epochs

    def counted(*args):
        calls.append(int(args[-1]))
        return run_epochs(*args)

    monkeypatch.setattr(programs, "run_epochs", counted)
    x = normal(3, (400, 2))
    y = (x[:, :1] * x[:, 1:] > 0).astype("float32")
    network = fnn.mlp([2, 4, 1], fnn.tanh)
    options = {"epochs": 10_000, "batch_size": 400, "key": key, "progress": False}
    result = fnn.fit(network, fnn.sigmoid_cross_entropy, fnn.sgd(1.2), (x, y), **options)
    assert len(calls) <= 100, f"{len(calls)} calls"
    assert result.history["cost"].shape == (10_000,)
    assert result.history["cost"][-1] < 0.3


def test_a_second_fit_of_the_same_does_not_compile_again(key):
    fit(key)
    before = programs.run_epochs._cache_size()
    fit(jax.random.fold_in(key, 1))
    fit(key, progress=False)
    assert programs.run_epochs._cache_size() == before


def test_an_epoch_is_traced_once(key, monkeypatch):
    traced, run_epoch = [], epoch.epoch

    def counted(*arguments):
        traced.append(None)
        return run_epoch(*arguments)

    monkeypatch.setattr(epoch, "epoch", counted)
    network = fnn.serial(*NETWORK.layers)  # a new object, for which nothing is compiled yet
    options = {"epochs": 3, "batch_size": 16, "validation": VALIDATION, "patience": 2, "report_every": 2}
    fnn.fit(network, LOSS, OPTIMIZER, TRAIN, key=key, progress=False, **options)
    assert len(traced) == 1


def test_lines_and_callbacks_come_every_so_many_epochs(key, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    seen = []
    with redirect_stdout(io.StringIO()) as out:
        fit(
            key,
            epochs=7,
            progress=True,
            report_every=3,
            callback=lambda *args: seen.append(args),
            validation=VALIDATION,
        )
    assert [epoch for epoch, _, _ in seen] == [3, 6, 7]
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 3/7  cost ")
    assert "validation accuracy" in lines[0]
    assert set(seen[0][1]) == {"cost", "accuracy", "validation_cost", "validation_accuracy"}


def test_progress_false_is_silent(key, capfd):
    fit(key)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_callback_can_end_training_and_read_the_state(key):
    shapes = []

    def callback(epoch, logs, state):
        shapes.append(np.asarray(state.params[0].w).shape)
        return logs["cost"] < 10 and epoch == 2

    assert fit(key, callback=callback).history["cost"].shape == (2,)
    assert shapes == [(4, 8), (4, 8)]


def test_weights_and_own_metrics(key):
    weight = (np.arange(150) < 100).astype("float32")
    metrics = {"confidence": lambda prediction, target: jnp.max(jax.nn.softmax(prediction), axis=1)}
    result = fit(key, data=(*TRAIN, weight), metrics=metrics, batch_size=150)
    assert set(result.history) == {"cost", "confidence"}
    plain = fit(key, data=(TRAIN[0][:100], TRAIN[1][:100]), batch_size=100)
    np.testing.assert_allclose(result.history["cost"], plain.history["cost"], rtol=1e-5)


@pytest.mark.accelerator
def test_batch_norm_is_calibrated_before_validation_and_at_the_end(key):
    network = fnn.serial(fnn.dense(4, 8), fnn.batch_norm(8), fnn.relu, fnn.dense(8, 3))
    for options in ({}, {"validation": VALIDATION}, {"validation": VALIDATION, "patience": 3}):
        result = fit(key, network=network, **options)
        expected = fnn.calibrate(network, result.state.params, jnp.asarray(TRAIN[0]))
        assert_close(result.state.params, expected, "float32")
    np.testing.assert_allclose(
        fnn.evaluate(network, LOSS, result.state.params, VALIDATION)["cost"],
        result.history["validation_cost"].min(),
        rtol=1e-5,
    )


def test_squared_error_has_no_accuracy(key):
    result = fnn.fit(
        fnn.dense(4, 1),
        fnn.squared_error,
        fnn.sgd(0.1),
        (X, X[:, :1]),
        epochs=2,
        batch_size=50,
        key=key,
        progress=False,
    )
    assert set(result.history) == {"cost"}


def test_format_line():
    line = format_line(3, 10, {"validation_cost": 1e-5, "accuracy": 0.5, "cost": 2.0}, 1.0)
    assert line == "epoch  3/10  cost 2.0000  accuracy 0.5000  validation cost 1.000e-05  1.0 s"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"validation": VALIDATION}, marks=pytest.mark.slow),
        pytest.param({"validation": VALIDATION, "patience": 3}, marks=pytest.mark.slow),
    ],
)
def test_a_cost_that_is_not_finite_ends_training(options, key):
    network = fnn.mlp([4, 8, 3], w_init=fnn.init.normal(1e18))
    with pytest.raises(FloatingPointError, match=r"the cost must be finite, got cost .* in epoch 1"):
        fit(key, network=network, optimizer=fnn.sgd(1e18), **options)


@pytest.mark.slow
def test_metrics_of_any_dtype_and_name_are_averaged_by_weight(key):
    weight = np.where(np.arange(150) % 3 == 0, 0.5, 2.0).astype("float32")
    right = lambda prediction, target: jnp.argmax(prediction, -1) == target
    metrics = {"weight": right, "float": lambda *args: right(*args).astype(jnp.float32)}
    metrics["int"] = lambda *args: right(*args).astype(jnp.int32)
    result = fit(key, data=(*TRAIN, weight), metrics=metrics)
    for name in ("weight", "int"):
        np.testing.assert_array_equal(result.history[name], result.history["float"])
    plain = fit(key, data=(*TRAIN, weight))
    np.testing.assert_array_equal(result.history["cost"], plain.history["cost"])


@pytest.mark.slow
def test_a_callbacks_state_can_be_kept_and_is_calibrated(key):
    network, kept = fnn.serial(fnn.batch_norm(4), fnn.dense(4, 3)), []
    fit(key, network=network, epochs=3, callback=lambda epoch, logs, state: kept.append(state))
    assert [int(state.step) for state in kept] == [5, 10, 15]
    np.testing.assert_allclose(kept[0].params[0].mean, TRAIN[0].mean(0), rtol=1e-5, atol=1e-6)
