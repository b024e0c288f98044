"""The comparison with Nielsen: rows are trained and resume after interruptions; augmentation layers."""

import json
import platform
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.__main__ import main as command
from experiments.data.generators import mnist_like
from experiments.errors import ExperimentError, UsageError
from experiments.nielsen import augmentation, nielsen, reports, rows, training
from experiments.nielsen.nielsen import Config, compare, select_rows
from experiments.nielsen.rows import ROWS, Recipe

BY_NAME = {row.name: row for row in ROWS}
SHORT = Recipe(0.02, 1e-4, 5, 3, rows.LARGE)
CONV = fnn.serial(
    augmentation.shifts,
    fnn.conv2d(1, 2, 5),
    fnn.max_pool2d(4),
    fnn.batch_norm(2),
    fnn.flatten,
    fnn.dropout(0.2),
    fnn.dense(72, 10),
)


@pytest.fixture(scope="module")
def mnist():
    return mnist_like(0, train=120, test=30)


DENSE = BY_NAME["quadratic_30"]._replace(network=fnn.mlp((784, 20, 10)), ours=SHORT)
RATES = SHORT._replace(rate=0.05, falls=True)
DROPOUT = BY_NAME["dropout"]._replace(
    network=CONV, ours=RATES._replace(batch_size=20), seeds=2, calibration_images=50, optimizer=fnn.sgd
)
TINY = (DENSE, DROPOUT, DROPOUT._replace(name="committee", committee_of="dropout", measure=rows.VOTE))


def result(folder, name: str) -> dict:
    return json.loads((folder / "nielsen" / f"{name}.json").read_text())


def without_times(values: dict) -> dict:
    """Return the values that do not depend on the clock."""
    return {name: value for name, value in values.items() if name != "seconds"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, mnist):
    """Run everything without interruption; return the folder and the lines."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, compare(Config(seeds=3, results=folder), TINY, mnist)


@pytest.mark.slow
def test_rows_are_trained_and_saved(whole, mnist):
    folder, lines = whole
    dense, conv = result(folder, "quadratic_30"), result(folder, "dropout")
    assert set(lines) == {"quadratic_30", "dropout", "committee"}
    assert np.shape(dense["test"]) == np.shape(dense["validation"]) == np.shape(dense["cost"]) == (3, 3)
    assert np.shape(conv["test"]) == (2, 3)
    assert all(cost[-1] < cost[0] for cost in dense["cost"] + conv["cost"])
    assert len({tuple(cost) for cost in dense["cost"]}) == 3  # seeds differ
    assert conv["config"]["images"] == 100
    assert conv["config"]["seeds"] == 2
    assert lines["committee"].compared == conv["committee"]["test"]["vote"]
    assert dense["versions"]["machine"].endswith(platform.machine())
    assert not list((folder / "nielsen" / "checkpoints").iterdir())
    assert (folder / "nielsen" / "figure.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_seed_is_trained_as_fnn_fit_trains_it(whole, mnist):
    row, parts = DENSE, training.split(mnist)
    key = jax.random.split(jax.random.key(0), 3)[1]
    data, held_out = ((x, fnn.data.one_hot(y, 10)) for x, y in ((parts.x, parts.y), (parts.test_x, parts.test_y)))
    options = {"epochs": 3, "batch_size": 5, "key": key, "l2": 1e-4, "progress": False}
    fitted = fnn.fit(
        row.network, row.loss, fnn.sgd(0.02), data, validation=held_out, metrics={"accuracy": fnn.accuracy}, **options
    )
    dense = result(whole[0], "quadratic_30")
    np.testing.assert_allclose(dense["cost"][1], fitted.history["cost"], rtol=1e-4)
    np.testing.assert_allclose(np.array(dense["test"][1]) / 100, fitted.history["validation_accuracy"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quadratic_30", "dropout"])
def test_an_interrupted_row_resumes_to_the_same_result(whole, mnist, tmp_path, name):
    selected, epochs = [row for row in TINY if row.name == name], []

    def interrupt(row, progress):
        epochs.append(int(progress.epoch))
        if len(epochs) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(Config(seeds=3, results=tmp_path), selected, mnist, interrupt)
    assert not (tmp_path / "nielsen" / f"{name}.json").exists()
    compare(Config(seeds=3, results=tmp_path), selected, mnist, interrupt)
    assert epochs == [1, 2, 3]
    assert without_times(result(tmp_path, name)) == without_times(result(whole[0], name))


@pytest.mark.slow
def test_finished_rows_are_skipped(whole, mnist, tmp_path, monkeypatch):
    folder, ran = shutil.copytree(whole[0], tmp_path / "copy"), []
    monkeypatch.setattr(nielsen, "run_row", lambda row, parts, seeds, *rest: ran.append((row.name, seeds)))
    compare(Config(seeds=3, results=folder), TINY, mnist)
    assert ran == []
    compare(Config(seeds=3, results=folder, fresh=True, rows=("committee",)), TINY, mnist)
    assert ran == [("dropout", 2)]  # the members of the committee
    compare(Config(seeds=2, results=folder), TINY, mnist)
    changed = [row._replace(ours=row.ours._replace(rate=0.2)) for row in TINY[:1]]
    compare(Config(seeds=3, results=folder), changed, mnist)
    assert ran[1:] == [("quadratic_30", 2), ("quadratic_30", 3)]


def test_a_row_that_diverges_does_not_stop_the_others(mnist, tmp_path, monkeypatch):
    ran, programs = [], training.programs(DENSE, 100)
    broken = programs._replace(epoch=lambda states, x, y: (states, jnp.array([1.0, jnp.nan, 1.0])))

    def run_row(row, parts, seeds, folder, *rest):
        ran.append(row.name)
        if row.name == "quadratic_30":
            monkeypatch.setattr(training, "programs", lambda row, examples: broken)
            training.train(row, parts, seeds, folder / "checkpoints", nielsen.print_progress)

    monkeypatch.setattr(nielsen, "run_row", run_row)
    with pytest.raises(ExperimentError, match="quadratic_30: the cost is not finite in epoch 1"):
        compare(Config(results=tmp_path), TINY, mnist)
    assert ran == ["quadratic_30", "dropout"]
    assert not list((tmp_path / "nielsen").glob("*.json"))


@pytest.mark.slow
def test_the_table(whole):
    shown = [*TINY, BY_NAME["record"]]
    text = reports.markdown(shown, whole[1])
    assert (whole[0] / "nielsen" / "table.md").read_text() == reports.markdown(shown[:-1], whole[1])
    first = result(whole[0], "quadratic_30")
    best = [max(column) for column in first["test"]]
    cells = f"95.42 | {np.mean(best):.2f} ± {np.std(best, ddof=1):.2f} | {max(best):.2f}"
    line = next(line for line in text.splitlines() if line.startswith("| `quadratic_30`"))
    assert cells in line
    assert "test, best epoch" in line
    assert "η 3, batch 10, 30 epochs, w, b N(0, 1)" in line
    assert f"| {np.mean([column[-1] for column in first['test']]):.2f} |" in line
    average = result(whole[0], "dropout")["committee"]["test"]["average"]
    assert f"test, vote at the end; by mean probability {average:.2f} |" in text
    assert "| 99.67 | not run |" in text
    assert "`python -m experiments nielsen --rows quadratic_30 --seeds 3`" in text
    assert "jax " + jax.__version__ in text
    assert text.count("\n| `") == 4


def test_the_published_figures():
    assert [row.published for row in ROWS[:10]] == [95.42, 96.59, 95.49, 96.82, 96.49, 97.92, 98.04, 96.9, 96.57, 97.8]
    assert [row.published for row in ROWS[10:]] == [98.78, 99.06, 99.23, 99.37, 99.43, 99.6, 99.67, 99.67]
    assert len({row.name for row in ROWS}) == len(ROWS) == 18
    assert {row.name for row in ROWS if row.vmapped} == set(rows.QUICK)
    assert BY_NAME["l2_100"].ours.penalty == pytest.approx(5 / 50000)
    for row in ROWS:
        shape = (2, 28, 28, 1) if training.inputs(row, jnp.zeros((2, 784))).ndim == 4 else (2, 784)
        params = jax.eval_shape(row.network.init, jax.random.key(0))
        out = jax.eval_shape(lambda p, x, row=row: row.network.forward(p, x)[0], params, jnp.zeros(shape))
        assert out.shape == (2, 10), row.name


def test_the_notes_name_each_dense_row_that_is_not_trained_as_published():
    lines = reports.NOTES.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("- Networks without convolutions"))
    end = next(i for i, line in enumerate(lines) if line.startswith("- Convolutional"))
    named = {name for name in BY_NAME if f"`{name}`" in "".join(lines[start:end])}
    dense = [row for row in ROWS if row.vmapped]
    assert named == {row.name for row in dense if row.ours._replace(penalty=row.theirs.penalty) != row.theirs}
    assert named == {"quadratic_100", "l2_30", "softmax_100"}


def test_wrong_flags(tmp_path, monkeypatch, capsys):
    with pytest.raises(UsageError, match=r"--rows must be among quadratic_30, .*got 'dropot'; did you mean 'dropout'"):
        select_rows(Config(rows=("dropot",)), ROWS)
    with pytest.raises(UsageError, match="--quick must be given without --rows, got relu"):
        select_rows(Config(rows=("relu",), quick=True), ROWS)
    monkeypatch.setattr(nielsen, "find_mnist", lambda: None)
    assert command(["nielsen", "--results", str(tmp_path)]) == 1
    assert "nielsen needs MNIST, which was not found" in capsys.readouterr().err
    assert command(["nielsen", "--seeds", "0"]) == 2
    assert [row.name for row in select_rows(Config(quick=True), ROWS)] == list(rows.QUICK)


def test_the_five_shifts(key):
    image = jnp.zeros((1, 28, 28, 1)).at[0, 0, 5].set(1.0).at[0, 9, 9].set(2.0)
    y = jax.jit(augmentation.shift_images)(jnp.repeat(image, 400, axis=0), key)
    positions = {tuple(map(tuple, np.argwhere(one == 2.0)[:, :2].tolist())) for one in np.asarray(y)}
    assert positions == {((9, 9),), ((8, 9),), ((10, 9),), ((9, 8),), ((9, 10),)}
    assert {float(one.sum()) for one in np.asarray(y)} == {2.0, 3.0}  # pixels that leave the image are lost


def test_distortions_are_small(key):
    x = jnp.zeros((200, 28, 28, 1)).at[:, 10:18, 10:18].set(1.0)
    y = np.asarray(jax.jit(augmentation.distort_images)(x, key))[..., 0]
    centres = (y.sum(axis=2) * np.arange(28)[None]).sum(axis=1) / y.sum(axis=(1, 2))
    assert y.min() >= 0
    assert y.max() <= 1 + 1e-6
    assert 10.5 < centres.min() < 12.5
    assert 14.5 < centres.max() < 16.5
    assert 0.7 < y.sum(axis=(1, 2)).min() / 64 < 0.95
    assert 1.05 < y.sum(axis=(1, 2)).max() / 64 < 1.3
    np.testing.assert_array_equal(augmentation.distortions.forward((), x)[0], x)


@pytest.mark.parametrize(
    "layer",
    [augmentation.shifts, pytest.param(augmentation.distortions, marks=pytest.mark.slow)],
    ids=lambda layer: layer.name,
)
def test_backward_of_augmentation_layers(layer, key):
    x, dy = jax.random.normal(key, (2, 3, 28, 28, 1))

    @jax.jit
    def both(x, dy):
        dx = layer.backward((), layer.forward((), x, key)[1], dy)[1]
        return dx, jax.vjp(lambda x: layer.forward((), x, key)[0], x)[1](dy)[0]

    np.testing.assert_allclose(*both(x, dy), atol=1e-5)
    assert layer.backward((), layer.forward((), x)[1], dy)[1] is dy
