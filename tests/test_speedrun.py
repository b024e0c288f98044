"""The speedrun: both sides train the same recipe, the clock stops where it should, what fails is named."""

import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import speedrun
from experiments.__main__ import main as command
from experiments.benchmarks import processes, speedrun_fnn, speedrun_recipes, speedrun_reports
from experiments.benchmarks.speedrun_recipes import RECIPES, Arrays, Recipe
from experiments.errors import ExperimentError, UsageError
from experiments.speedrun import Config, Run

MLP = Recipe(sizes=(9, 10), batch_size=12, epochs=4, peak=0.05, warm_up=0.5)
CONVNET = Recipe(filters=(3, 4), sizes=(10,), batch_size=12, epochs=4, peak=0.05, warm_up=0.5)


def tiny(recipe: Recipe, examples: int = 12) -> Arrays:
    rng = np.random.default_rng(0)
    shape = (28, 28) if recipe.filters else (784,)
    x, test_x = (rng.standard_normal((n, *shape), np.float32) for n in (examples, 5))
    y = rng.integers(10, size=examples).astype(np.int32)
    test_x[:3] = x[:3]  # some of them are read right, others not
    return Arrays(x, y, test_x, np.concatenate([y[:3], rng.integers(10, size=2).astype(np.int32)]))


def torch_network(recipe: Recipe, params):
    """PyTorch's network with fnn's weights: channels first, before each dense layer's rows too."""
    torch = pytest.importorskip("torch")
    from experiments.benchmarks import speedrun_torch

    network = speedrun_torch.make_network(recipe)
    layers = [layer for layer in network if hasattr(layer, "weight")]
    ours = [layer for layer in params if layer]
    side = math.isqrt(speedrun_recipes.inputs(recipe) // (recipe.filters or (1,))[-1])
    with torch.no_grad():
        for i, (layer, (w, b)) in enumerate(zip(layers, ours, strict=True)):
            w = np.asarray(w)
            if w.ndim == 4:
                w = w.transpose(3, 2, 0, 1)
            elif recipe.filters and i == len(recipe.filters):
                w = w.reshape(side, side, -1, w.shape[1]).transpose(3, 2, 0, 1).reshape(w.shape[1], -1)
            else:
                w = w.T
            layer.weight.copy_(torch.from_numpy(w.copy()))
            layer.bias.copy_(torch.from_numpy(np.array(b)))
    return network


def torch_logits(recipe: Recipe, network, x: np.ndarray) -> np.ndarray:
    from experiments.benchmarks import speedrun_torch

    return network(speedrun_torch.images(recipe, x)).detach().numpy()


@pytest.mark.parametrize("recipe", [MLP, CONVNET], ids=["mlp", "convnet"])
def test_from_the_same_weights_both_sides_train_the_same_network(recipe):
    """A batch of everything leaves no order to differ in: logits agree before and after, and so do the reports."""
    pytest.importorskip("torch")
    from experiments.benchmarks import speedrun_torch

    data, network = tiny(recipe), speedrun_fnn.make_network(recipe)
    params = jax.jit(network.init)(jax.random.key(1))
    theirs = torch_network(recipe, params)

    def logits(params) -> np.ndarray:
        return np.asarray(network.forward(params, speedrun_fnn.images(recipe, data.test_x))[0])

    start = logits(params)
    np.testing.assert_allclose(torch_logits(recipe, theirs, data.test_x), start, atol=1e-5)
    told: dict[str, list] = {"fnn": [], "torch": []}
    copy = jax.tree.map(jnp.copy, params)  # the state is donated
    trained = speedrun_fnn.train(recipe, data, 0, lambda *line: told["fnn"].append(line), copy)
    theirs = speedrun_torch.train(recipe, data, 0, lambda *line: told["torch"].append(line), theirs)
    end = logits(trained)
    assert np.abs(end - start).max() > 0.1
    np.testing.assert_allclose(torch_logits(recipe, theirs, data.test_x), end, atol=1e-4)
    assert [epoch for epoch, _ in told["fnn"]] == [epoch for epoch, _ in told["torch"]] == [1, 2, 3, 4]
    assert [share for _, share in told["fnn"]] == pytest.approx([share for _, share in told["torch"]])
    assert told["fnn"][-1][1] == np.mean(end.argmax(axis=1) == data.test_y)


@pytest.mark.parametrize("recipe", [MLP, CONVNET], ids=["mlp", "convnet"])
def test_both_sides_draw_from_the_same_distribution(recipe):
    pytest.importorskip("torch")
    from experiments.benchmarks import speedrun_torch

    params = jax.jit(speedrun_fnn.make_network(recipe).init)(jax.random.key(0))
    ours = [layer for layer in params if layer]
    theirs = [layer for layer in speedrun_torch.make_network(recipe) if hasattr(layer, "weight")]
    for (w, b), layer in zip(ours, theirs, strict=True):
        assert w.size == layer.weight.numel()
        fan_in = w.size // w.shape[-1]
        for std in (float(w.std()), float(layer.weight.detach().std())):
            assert std == pytest.approx(math.sqrt(2 / fan_in), rel=5 / math.sqrt(2 * w.size))
        assert float(jnp.abs(b).max()) == float(layer.bias.detach().abs().max()) == 0


def test_the_step_length_climbs_to_its_peak_and_falls_to_zero():
    recipe = Recipe(peak=0.3, warm_up=0.2)
    total = speedrun_recipes.steps(Recipe(epochs=3, batch_size=7), 100)
    assert total == 45  # with the remainders
    lengths = [speedrun_recipes.step_length(recipe, 100, step) for step in range(100)]
    assert np.argmax(lengths) in (19, 20)
    assert max(lengths) == pytest.approx(0.3, rel=0.03)
    assert 0 < lengths[-1] < 0.01 * 0.3
    assert 0 < lengths[0] < lengths[10]
    constant = [speedrun_recipes.step_length(Recipe(peak=1.0, warm_up=0.0), 10, step) for step in range(10)]
    np.testing.assert_allclose(constant, 0.95 - 0.1 * np.arange(10))


def test_images_are_standardised_once_and_shaped_for_the_network():
    from experiments.data.mnist import Mnist

    x = np.random.default_rng(0).random((4, 784), np.float32)
    y = np.arange(4, dtype=np.int32)
    rows = speedrun_recipes.arrays(MLP, Mnist(x, y, x[:2], y[:2]))
    assert (rows.x.shape, rows.x.dtype, rows.test_x.shape) == ((4, 784), np.float32, (2, 784))
    np.testing.assert_allclose(rows.x, (x - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)
    squares = speedrun_recipes.arrays(CONVNET, Mnist(x, y, x[:2], y[:2]))
    np.testing.assert_array_equal(squares.x, rows.x.reshape(4, 28, 28))


def test_a_childs_flags():
    recipe, seed = speedrun_recipes.arguments(
        "x", ["--network", "convnet", "--seed", "3", "--recipe", '{"filters": [2], "epochs": 1}']
    )
    assert seed == 3
    assert recipe == Recipe(filters=(2,), sizes=(10,), batch_size=RECIPES["convnet"].batch_size, epochs=1, peak=0.05)
    with pytest.raises(SystemExit):
        speedrun_recipes.arguments("x", ["--network", "transformer"])


RUNS = [
    Run("fnn", 0, 1.0, (2.0, 3.0, 4.0), (0.5, 0.98, 0.99)),
    Run("fnn", 1, 1.0, (2.0, 3.0, 5.0), (0.5, 0.9799, 0.9801)),
    Run("fnn", 2, 1.0, (2.0, 3.0, 4.0), (0.5, 0.6, 0.7)),
]


def test_the_clock_stops_at_the_first_epoch_that_reaches_the_target():
    assert [speedrun.time_to(run, 0.98) for run in RUNS] == [3.0, 5.0, math.inf]
    assert speedrun.time_to(RUNS[0], float(np.float32(0.9801))) == 4.0
    float32 = RUNS[0]._replace(accuracies=(0.5, float(np.float32(0.98)), 0.99))
    assert speedrun.time_to(float32, 0.98) == 3.0
    found = speedrun.summarise(RUNS, 0.98)
    assert (found.median, found.low, found.high, found.reached, found.runs) == (5.0, 3.0, math.inf, 2, 3)
    assert (found.epochs, found.accuracy) == (3, 0.98)
    assert speedrun.summarise(RUNS[1:], 0.98).median == math.inf  # not the one that reached it


def test_goals_are_met_missed_or_not_measured():
    ours = speedrun.summarise(RUNS[:1], 0.98)
    slow = ours._replace(side="torch", median=4.6)
    assert speedrun.judge("mlp", {"fnn": ours, "torch": slow}, 0.98) == [
        "mlp: 98.0% within 6 s on two CPU cores: met",
        "mlp: 1.5 times as fast as PyTorch: met",
    ]
    never = ours._replace(median=math.inf)
    assert speedrun.judge("mlp", {"fnn": never, "torch": slow}, 0.98)[0].endswith("missed")
    assert speedrun.judge("mlp", {"fnn": never, "torch": slow}, 0.98)[1].endswith("not measured")
    assert speedrun.judge("mlp", {"fnn": ours, "torch": ours}, 0.98)[1].endswith("missed")
    assert speedrun.judge("mlp", {"fnn": ours}, 0.98)[1].endswith("not measured")
    assert speedrun_reports.finite({"median": math.inf, "low": 1.0}) == {"median": None, "low": 1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"networks": ("resnet",)}, "--networks must be of mlp, convnet, got resnet"),
        ({"networks": ()}, "--networks must be of mlp, convnet, got none"),
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"mlp_target": 98.0}, "--mlp-target must be above 0 and at most 1, got 98.0"),
        ({"convnet_target": math.nan}, "--convnet-target must be above 0"),
        ({"mlp": Recipe(epochs=0)}, "--mlp.epochs must be at least 1, got 0"),
        ({"mlp": Recipe(sizes=(256, 9))}, "--mlp.sizes must be of positive numbers, the last of them 10"),
        ({"convnet": Recipe(filters=(8, 8, 8))}, "--convnet.filters must be of at most two"),
        ({"mlp": Recipe(peak=math.inf)}, "--mlp.peak must be finite"),
        ({"mlp": Recipe(warm_up=1.0)}, "--mlp.warm-up must be at least 0 and below 1"),
    ],
)
def test_flags(values, message):
    with pytest.raises(UsageError, match=message):
        speedrun.main(Config(**values))


def test_a_wrong_flag_ends_with_2(capsys):
    assert command(["speedrun", "--mlp.batch-size", "0"]) == 2
    assert "--mlp.batch-size must be at least 1, got 0" in capsys.readouterr().err


def test_without_mnist_it_is_skipped_by_name(monkeypatch, tmp_path, capsys):
    def absent():
        raise ExperimentError("no mirror has it; FNN_DATA=folder")

    monkeypatch.setattr(speedrun, "load_mnist", absent)
    assert command(["speedrun", "--results", str(tmp_path)]) == 1
    assert "speedrun: skipped, as MNIST is not there: no mirror has it" in capsys.readouterr().err
    monkeypatch.setattr(speedrun_recipes, "find_mnist", lambda: None)
    with pytest.raises(ExperimentError, match="MNIST is not there"):
        speedrun_recipes.loading(MLP).result()


CHILD = """
import argparse, json, time
p = argparse.ArgumentParser()
for flag in ("network", "recipe"): p.add_argument("--" + flag)
p.add_argument("--seed", type=int)
f = p.parse_args()
print(json.dumps({"loaded": True}), flush=True)
for epoch in range(1, json.loads(f.recipe)["epochs"] + 1):
    time.sleep(0.01)
    print(json.dumps({"epoch": epoch, "accuracy": 0.9 + 0.03 * epoch - 0.001 * f.seed}), flush=True)
"""


def test_from_flags_to_files(monkeypatch, tmp_path, capsys):
    (tmp_path / "fake_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(speedrun, "MODULES", {"fnn": "fake_child", "torch": "fake_child"})
    monkeypatch.setattr(speedrun, "load_mnist", lambda: None)
    monkeypatch.setattr(speedrun, "peer_versions", dict)
    speedrun.main(Config(networks=("mlp",), seeds=2, results=tmp_path))
    shown = capsys.readouterr().out
    assert "PyTorch: skipped, not installed" in shown
    assert "2 of 2" in shown
    assert "not of generalisation" in shown
    monkeypatch.setattr(speedrun, "peer_versions", lambda: {"torch": "2"})
    speedrun.main(Config(networks=("mlp",), seeds=2, mlp_target=0.9899, results=tmp_path))
    assert "1 of 2" in capsys.readouterr().out
    report = json.loads((tmp_path / "speedrun" / "speedrun.json").read_text())
    assert sorted(report["runs"]["mlp"]) == ["fnn", "torch"]
    for run in report["runs"]["mlp"]["fnn"]:
        assert 0 < run["loaded"] < run["seconds"][0] < run["seconds"][1] < run["seconds"][2]
        assert run["accuracies"][-1] == pytest.approx(0.99 - 0.001 * run["seed"])
    assert report["summaries"]["mlp"]["torch"]["median"] is None
    assert (tmp_path / "speedrun" / "speedrun.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_process_that_dies_is_named_with_its_last_words(monkeypatch, tmp_path):
    (tmp_path / "dying_child.py").write_text("raise MemoryError('8 GB')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(speedrun, "MODULES", {"fnn": "dying_child"})
    with pytest.raises(processes.WorkerError, match=r"fnn, seed 4: ended with 1; last line: MemoryError: 8 GB"):
        speedrun.train("fnn", "mlp", 4, Config(), tmp_path)


@pytest.mark.parametrize("module", ["speedrun_recipes", "speedrun_fnn"])
def test_a_side_imports_nothing_it_does_not_need(module):
    """Every import counts against the clock."""
    import subprocess

    code = f"import sys, experiments.benchmarks.{module}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"torch", "sklearn", "matplotlib", "rich", "tyro", "pandas", "h5py"}
    assert ("jax" in loaded) == (module == "speedrun_fnn")
