"""Mixed precision against float32, within bounds from its precision; remat."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.slow import slow_except

DTYPES = [jnp.bfloat16, jnp.float16]
NETWORKS = {
    "mlp": (fnn.mlp([8, 16, 16, 4], fnn.tanh), (10, 8), 3),
    "residual": (fnn.residual(fnn.serial(fnn.dense(8, 8), fnn.sigmoid)), (10, 8), 1),
    "repeat": (fnn.repeat(fnn.serial(fnn.dense(6, 6), fnn.tanh), 3), (10, 6), 3),
    "convnet": (fnn.convnet((8, 8, 2), (3,), 3, (5,), fnn.softplus), (4, 8, 8, 2), 3),
    "one output": (fnn.dense(4, 1), (10, 4), 1),
}


def example(name, key):
    network, shape, depth = NETWORKS[name]
    return network, network.init(key), jax.random.normal(jax.random.fold_in(key, 1), shape), depth


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.dtype.name)
@pytest.mark.parametrize("name", slow_except(NETWORKS, "residual"))
def test_the_gradient_is_that_of_float32_within_the_roundings(name, dtype, key):
    """Both passes round weights, inputs and outputs of each of L layers: 6 L u, u = ε/2."""
    network, params, x, depth = example(name, key)
    mixed = fnn.mixed_precision(network, dtype, fnn.dynamic_loss_scale())
    bound = 6 * depth * float(jnp.finfo(dtype).eps) / 2

    def backward(args, dy):
        return mixed.backward(args[0], mixed.forward(*args)[1], dy)

    fnn.gradcheck.assert_vjp(
        lambda params, x: network.forward(params, x)[0],
        backward,
        (params, x),
        checks=("structure", "reference", *(["jit", "vmap"] if name in ("repeat", "one output") else [])),
        precision="native",
        rtol=bound,
        key=7,
    )


def test_a_wrong_backward_inside_is_outside_the_bound(key):
    network, params, x, depth = example("mlp", key)
    wrong = network._replace(backward=lambda p, r, dy: network.backward(p, r, 1.25 * dy))
    mixed = fnn.mixed_precision(wrong, jnp.bfloat16)
    report = fnn.gradcheck.check_vjp(
        lambda params, x: network.forward(params, x)[0],
        lambda args, dy: mixed.backward(args[0], mixed.forward(*args)[1], dy),
        (params, x),
        checks=("reference",),
        precision="native",
        rtol=6 * depth * 2.0**-9,
        key=7,
    )
    assert not report.ok


@pytest.mark.parametrize("dtype", slow_except(DTYPES, jnp.float16), ids=lambda dtype: dtype.dtype.name)
def test_outside_nothing_changes_and_inside_it_takes_half(dtype, key):
    network, params, x, _ = example("mlp", key)
    mixed = fnn.mixed_precision(network, dtype)
    y, residuals = mixed.forward(params, x)
    dparams, dx = mixed.backward(params, residuals, y)
    for ours, theirs in ((y, network.forward(params, x)[0]), (dparams, params), (dx, x)):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
    size = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    assert 2 * size(residuals) == size(network.forward(params, x)[1])
    assert jax.tree.structure(mixed.init(key)) == jax.tree.structure(params)


def test_sums_are_accumulated_in_float32(key):
    layer = fnn.mixed_precision(fnn.dense(1, 2), jnp.bfloat16)
    params, x = layer.init(key), jnp.ones((4096, 1))
    dparams, _ = layer.backward(params, layer.forward(params, x)[1], jnp.ones((4096, 2)))
    np.testing.assert_array_equal(dparams.w, np.full((1, 2), 4096.0))  # bfloat16 would stay at 256
    np.testing.assert_array_equal(dparams.b, np.full(2, 4096.0))


@pytest.mark.parametrize("scale", [2.0**20, fnn.dynamic_loss_scale()], ids=["static", "dynamic"])
def test_small_gradients_survive_in_float16_if_they_are_scaled(scale, key):
    network, params, x, _ = example("mlp", key)
    dy = 1e-9 * jax.random.normal(key, (10, 4))
    exact, _ = network.backward(params, network.forward(params, x)[1], dy)
    results = []
    for loss_scale in (1.0, scale):
        mixed = fnn.mixed_precision(network, jnp.float16, loss_scale)
        results.append(mixed.backward(params, mixed.forward(params, x)[1], dy)[0])
    lost, kept = ([np.asarray(leaf) for leaf in jax.tree.leaves(result)] for result in results)
    assert all(not leaf.any() for leaf in lost)
    for ours, theirs in zip(kept, jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.02 * float(np.abs(theirs).max()))


def test_the_dynamic_scale_is_a_power_of_two_at_the_target():
    scale = fnn.dynamic_loss_scale(256.0)
    for largest in (1e-25, 3e-5, 0.7, 1.0, 255.0, 1e4, 1e30):
        s = float(scale(jnp.array([largest / 3, -largest, 0.0])))
        assert np.frexp(s)[0] == 0.5
        assert 127 < s * largest <= 256.01
    for dy in (jnp.zeros(3), jnp.array([jnp.inf]), jnp.array([jnp.nan]), jnp.zeros((0,))):
        assert float(scale(dy)) == 1.0


@pytest.mark.slow
def test_networks_train_as_in_float32(key):
    x = jax.random.normal(key, (200, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(jnp.int32)
    network = fnn.mlp([4, 32, 2], fnn.relu, w_init=fnn.init.he_normal)
    accuracy = {}
    layers = {dtype.dtype.name: fnn.mixed_precision(network, dtype, fnn.dynamic_loss_scale()) for dtype in DTYPES}
    for name, layer in ({"float32": network} | layers).items():
        run = fnn.make_run(layer, fnn.softmax_cross_entropy, fnn.adam, (x, y), epochs=60, batch_size=50)
        accuracy[name] = np.asarray(jax.vmap(run, (None, 0))(0.01, jax.random.split(key, 4)).history["accuracy"])[:, -1]
    assert accuracy["float32"].min() > 0.95
    for name in ("bfloat16", "float16"):
        assert abs(accuracy[name].mean() - accuracy["float32"].mean()) < 0.01


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((jnp.tanh, jnp.bfloat16), "layer"),
        ((fnn.tanh, jnp.int8), "compute_dtype"),
        ((fnn.tanh, jnp.float16, 0.0), "loss_scale"),
        ((fnn.tanh, jnp.float16, -1.0), "loss_scale"),
        ((fnn.tanh, jnp.float16, "dynamic"), "loss_scale"),
    ],
)
def test_bad_calls_of_mixed_precision(arguments, says):
    with pytest.raises((ValueError, TypeError), match=f"mixed_precision.*{says}"):
        fnn.mixed_precision(*arguments)


def test_bad_calls_of_the_others():
    with pytest.raises((ValueError, TypeError), match=r"remat.*layer"):
        fnn.remat(jnp.tanh)
    with pytest.raises((ValueError, TypeError), match=r"dynamic_loss_scale.*target"):
        fnn.dynamic_loss_scale(0.0)


def test_remat_changes_no_bit_and_keeps_the_input_alone(key):
    plain = fnn.serial(fnn.dense(6, 6), fnn.dropout(0.5), fnn.tanh, fnn.dense(6, 6))
    layer = fnn.remat(plain)
    params, x, draw = plain.init(key), jax.random.normal(key, (5, 6)), jax.random.key(3)
    results = []
    for each in (plain, layer):
        y, residuals = each.forward(params, x, draw)
        results.append((y, each.backward(params, residuals, jnp.sin(y))))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_array_equal(a, b)
    _, (kept, used) = layer.forward(params, x, draw)
    assert kept is x
    assert used is draw


def test_remat_across_a_repeat_takes_a_fraction_of_the_memory(key):
    block = fnn.serial(fnn.dense(64, 256), fnn.tanh, fnn.dense(256, 64), fnn.tanh)

    def memory(layer):
        network = fnn.repeat(layer, 16)
        grad = jax.jit(fnn.value_and_grad(network, fnn.squared_error))
        params, x = jax.eval_shape(network.init, key), jax.ShapeDtypeStruct((256, 64), jnp.float32)
        return grad.lower(params, x, x).compile().memory_analysis().temp_size_in_bytes

    assert memory(fnn.remat(block)) < 0.5 * memory(block)


@pytest.mark.parametrize("dtype", slow_except(DTYPES, jnp.bfloat16), ids=lambda dtype: dtype.dtype.name)
def test_the_memory_of_activations_halves(dtype, key):
    block = fnn.serial(fnn.dense(32, 32), fnn.tanh)

    def memory(layer):
        network = fnn.repeat(layer, 24)
        grad = jax.jit(fnn.value_and_grad(network, fnn.squared_error))
        params, x = jax.eval_shape(network.init, key), jax.ShapeDtypeStruct((4096, 32), jnp.float32)
        return grad.lower(params, x, x).compile().memory_analysis().temp_size_in_bytes

    assert memory(fnn.mixed_precision(block, dtype)) < 0.55 * memory(block)
