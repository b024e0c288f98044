"""Half precision: coefficients, statistics and sums are those of float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.optimizers import apply_updates
from tests.support.entries import CROSS, NET, K, X, Y
from tests.support.slow import slow_except

HALVES = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])

OPTIMIZERS = {
    "sgd": (fnn.sgd(0.01), optax.sgd(0.01)),
    "momentum": (
        fnn.momentum(0.01, 0.999),
        optax.chain(optax.ema(0.999, debias=False), optax.scale_by_learning_rate(0.01)),
    ),
    "heavy_ball": (fnn.heavy_ball(0.01, 0.999), optax.sgd(0.01, momentum=0.999)),
    "nesterov": (fnn.nesterov(0.01, 0.999), optax.sgd(0.01, momentum=0.999, nesterov=True)),
    "adam": (fnn.adam(0.01), optax.adam(0.01)),
    "add_l2": (
        optax.chain(fnn.add_l2(1e-3), fnn.heavy_ball(0.01)),
        optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.01, momentum=0.9)),
    ),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_except(
        [(name, dtype) for name in OPTIMIZERS for dtype in ("bfloat16", "float16")],
        *[(name, "bfloat16") for name in OPTIMIZERS],
        ("adam", "float16"),
    ),
)
def test_updates_of_half_precision_are_those_of_float32_state(name, dtype):
    """The state after 20 updates, and each update, equal those of optax on float32 copies of the same gradients."""
    ours, theirs = OPTIMIZERS[name]
    dtype = jnp.dtype(dtype)
    half, single = {"w": jnp.ones(3, dtype)}, {"w": jnp.ones(3)}
    state, expected = ours.init(half), theirs.init(single)
    for _ in range(20):
        gradient = {"w": jnp.array([0.1, 0.0, -1e-3], dtype)}
        updates, state = ours.update(gradient, state, half)
        with jax.numpy_dtype_promotion("standard"):  # optax's own code needs it
            wanted, expected = theirs.update({"w": gradient["w"].astype(jnp.float32)}, expected, single)
        assert updates["w"].dtype == dtype
        np.testing.assert_allclose(updates["w"].astype(jnp.float32), wanted["w"], rtol=1e-2, atol=1e-7)
    for leaf in jax.tree.leaves(state):
        assert leaf.dtype in (jnp.float32, jnp.int32)


def test_momentum_in_bfloat16_reaches_its_limit():
    optimizer = fnn.momentum(1.0, 0.999)
    params = {"w": jnp.zeros(2, jnp.bfloat16)}
    update = jax.jit(lambda state: optimizer.update({"w": jnp.ones(2, jnp.bfloat16)}, state, params)[1])
    state = optimizer.init(params)
    for _ in range(3000):
        state = update(state)
    np.testing.assert_allclose(state.v["w"], 1 - 0.999**3000, rtol=1e-4)


def test_updates_are_added_in_float32():
    params, updates = {"w": jnp.ones(1, jnp.bfloat16)}, {"w": jnp.array([0.003907])}
    assert float(apply_updates(params, updates)["w"][0]) == 1.0078125  # in bfloat16 the update is a tie, and lost


def pool(x):
    layer = fnn.avg_pool2d(2)
    return layer.forward((), x)


NORMAL = np.array([[0.0, 500, 1000, -500], [100, 900, -300, 40]], "float32")


@HALVES
@pytest.mark.parametrize("mode", ["layer_norm", "training", "evaluation"])
def test_normalization_of_half_precision_is_that_of_float32(mode, dtype):
    """y, dγ, dβ and dx of inputs whose squares overflow float16 equal those of float32, up to half precision."""
    layer = fnn.layer_norm(4) if mode == "layer_norm" else fnn.batch_norm(4)
    params, key = layer.init(K), K if mode == "training" else None
    if mode == "evaluation":
        params = fnn.calibrate(layer, params, jnp.asarray(NORMAL))
    mixed = fnn.mixed_precision(layer, dtype)
    dy = jnp.asarray(np.linspace(-1, 2, 8).reshape(2, 4), jnp.float32)
    y, residuals = mixed.forward(params, jnp.asarray(NORMAL), key)
    wanted, exact = layer.forward(params, jnp.asarray(NORMAL).astype(dtype).astype(jnp.float32), key)
    tolerance = 40 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(y, wanted, atol=tolerance)
    assert np.abs(wanted).max() > 0.5
    got, expected = mixed.backward(params, residuals, dy), layer.backward(params, exact, dy)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * (1e-6 + float(jnp.abs(b).max())))


@HALVES
def test_half_parameters_keep_their_dtype_through_normalization(dtype):
    for layer in (fnn.layer_norm(4), fnn.batch_norm(4)):
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), layer.init(K))
        y, residuals = layer.forward(params, jnp.asarray(NORMAL, dtype), K)
        dparams, dx = layer.backward(params, residuals, y)
        assert {leaf.dtype for leaf in jax.tree.leaves((y, dparams, dx))} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("stride", [2, 1])
def test_average_pooling_sums_in_float32(stride):
    layer = fnn.avg_pool2d(2, stride)
    x = jnp.full((1, 4, 4, 1), 40000, jnp.float16)
    y, residuals = layer.forward((), x)
    assert y.dtype == jnp.float16
    np.testing.assert_array_equal(y, np.full(y.shape, 40000))
    dy = jnp.full(y.shape, 60000, jnp.float16)
    _, dx = layer.backward((), residuals, dy)
    _, wanted = layer.backward((), residuals, dy.astype(jnp.float32))
    assert dx.dtype == jnp.float16
    np.testing.assert_allclose(dx, wanted, rtol=1e-3)


def test_loss_scales_above_the_range_of_float16():
    layer = fnn.mixed_precision(fnn.dense(2, 2), jnp.float16, 2.0**16)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), layer.init(K))
    y, residuals = layer.forward(params, jnp.ones((1, 2), jnp.float16))
    dparams, _ = layer.backward(params, residuals, jnp.full_like(y, 2.0**-14))
    np.testing.assert_allclose(dparams.b, 2.0**-14, rtol=1e-3)
    assert np.isfinite(fnn.dynamic_loss_scale()(jnp.full(3, 6e-8, jnp.float16)))


def test_a_softmax_of_more_classes_than_the_largest_float16():
    y, residuals = fnn.softmax.forward((), jnp.zeros((1, 70_000), jnp.float16))
    np.testing.assert_allclose(np.sum(np.asarray(y, "f8")), 1, rtol=3e-3)
    dy = jnp.zeros(y.shape, jnp.float16).at[0, 0].set(100)
    np.testing.assert_allclose(fnn.softmax.backward((), residuals, dy)[1][0, 0], 100 / 70_000, rtol=2e-3)


@HALVES
def test_gelu_tanh_of_inputs_whose_squares_overflow_float16(dtype):
    z = jnp.array([[-6e4, -300.0, -1.0, 0.5, 300.0, 6e4]], dtype)
    y, residuals = fnn.gelu_tanh.forward((), z)
    wanted, exact = fnn.gelu_tanh.forward((), z.astype(jnp.float32))
    dz = fnn.gelu_tanh.backward((), residuals, jnp.ones_like(z))[1]
    tolerance = {"rtol": 1e-2, "atol": 1e-2}
    np.testing.assert_allclose(y.astype(jnp.float32), wanted, **tolerance)
    expected = fnn.gelu_tanh.backward((), exact, jnp.ones(z.shape))[1]
    np.testing.assert_allclose(dz.astype(jnp.float32), expected, **tolerance)


@pytest.mark.parametrize("dtype", slow_except([jnp.bfloat16, jnp.float16], jnp.bfloat16))
def test_weights_are_summed_in_float32(dtype):
    """257 is no number of bfloat16, and 257 · 500 none of float16."""
    x, y = jnp.asarray(np.tile(X, (58, 1))[:517]), jnp.asarray(np.tile(Y, 58)[:517])
    weight = jnp.full(517, 500 if dtype == jnp.float16 else 1, dtype)
    params, costs = NET.init(K), []
    for micro in (None, 257):
        cost = jax.jit(fnn.value_and_grad(NET, CROSS, 0.0, micro))
        costs.append(float(cost(params, x, y, weight)[0]))
    assert costs[0] == pytest.approx(costs[1], rel=1e-6)
    step = fnn.training.step.make_logging_step(NET, CROSS, fnn.sgd(0.1), l2=0.0, metrics=())
    _, (total, _) = jax.jit(step)(fnn.init_state(NET, fnn.sgd(0.1), K), (x, y, weight))
    assert float(total) == 517 * float(weight[0])
