"""The two sides of the speedrun: fnn and PyTorch train alike and import only what they need."""

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import speedrun_fnn, speedrun_recipes
from experiments.benchmarks.speedrun_recipes import RECIPES, Arrays, Recipe

MLP = Recipe(sizes=(9, 10), batch_size=12, epochs=4, peak=0.05, warm_up=0.5)
CONVNET = Recipe(filters=(3, 4), sizes=(10,), batch_size=12, epochs=4, peak=0.05, warm_up=0.5)


def tiny(recipe: Recipe, examples: int = 12) -> Arrays:
    rng = np.random.default_rng(0)
    shape = (28, 28) if recipe.filters else (784,)
    x, test_x = (rng.standard_normal((n, *shape), np.float32) for n in (examples, 5))
    y = rng.integers(10, size=examples).astype(np.int32)
    test_x[:3] = x[:3]  # the networks classify some of them correctly
    return Arrays(x, y, test_x, np.concatenate([y[:3], rng.integers(10, size=2).astype(np.int32)]))


def torch_network(recipe: Recipe, params):
    """PyTorch's network with fnn's weights. Channels come first, also in the rows of the first dense layer."""
    torch = pytest.importorskip("torch")
    from experiments.benchmarks import speedrun_torch

    network = speedrun_torch.make_network(recipe)
    layers = [layer for layer in network if hasattr(layer, "weight")]
    ours = [layer for layer in params if layer]
    side = math.isqrt(speedrun_recipes.dense_inputs(recipe) // (recipe.filters or (1,))[-1])
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
    """With full batches the order does not matter: logits agree before and after training, and so do the reports."""
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
    loaded, examples = lambda: data, len(data.x)
    trained = speedrun_fnn.train(recipe, loaded, 0, lambda *line: told["fnn"].append(line), copy, examples)
    theirs = speedrun_torch.train(recipe, loaded, 0, lambda *line: told["torch"].append(line), theirs)
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
    total = speedrun_recipes.total_steps(Recipe(epochs=3, batch_size=7), 100)
    assert total == 45  # with the remainders
    lengths = [speedrun_recipes.learning_rate(recipe, 100, step) for step in range(100)]
    assert np.argmax(lengths) in (19, 20)
    assert max(lengths) == pytest.approx(0.3, rel=0.03)
    assert 0 < lengths[-1] < 0.01 * 0.3
    assert 0 < lengths[0] < lengths[10]
    constant = [speedrun_recipes.learning_rate(Recipe(peak=1.0, warm_up=0.0), 10, step) for step in range(10)]
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


@pytest.mark.parametrize("module", ["speedrun_recipes", "speedrun_fnn"])
def test_a_side_imports_nothing_it_does_not_need(module):
    """The clock includes all imports."""
    import subprocess

    code = f"import sys, experiments.benchmarks.{module}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"torch", "sklearn", "matplotlib", "rich", "tyro", "pandas", "h5py"}
    assert ("jax" in loaded) == (module == "speedrun_fnn")
