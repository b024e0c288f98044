"""Widths by masking: a network inside a wider one is the narrow network, and a sweep over widths is one program."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn import gradcheck
from fnn.data.order import init_key
from fnn.layers.dense import Dense
from fnn.sweeps import sweep
from fnn.training.step import as_transformation
from tests.support.oracles import assert_close, by_autodiff, by_hand, cotangent, normal, spread_params
from tests.support.slow import slow_except
from tests.support.sweeping import LOSS, X, Y, keys, make_run

SIZES, WIDTHS = [4, 7, 6, 3], [5, 2]


def cut(params, widths, sizes=SIZES):
    """The narrow network's block of every dense layer."""
    used = [sizes[0], *widths, sizes[-1]]
    dense = iter(itertools.pairwise(used))
    return tuple(
        Dense(p.w[: (block := next(dense))[0], : block[1]], p.b[: block[1]]) if isinstance(p, Dense) else p
        for p in params
    )


def outside(params, widths, sizes=SIZES):
    """What the parameters, or their gradients, have outside the block."""
    inside = cut(params, widths, sizes)

    def remove(full, block):
        full = np.array(full)
        full[tuple(slice(n) for n in block.shape)] = 0
        return full

    return [np.abs(leaf).max() for leaf in jax.tree.leaves(jax.tree.map(remove, params, inside))]


def inside(widths):
    """True in the block, of weights and of biases."""
    ones = lambda key, shape: jnp.ones(shape)
    used = [SIZES[0], *widths, SIZES[-1]]
    layers = [
        fnn.masked_dense(*size, *width, ones, ones)
        for size, width in zip(itertools.pairwise(SIZES), itertools.pairwise(used), strict=True)
    ]
    blocks = [jax.tree.map(lambda leaf: leaf != 0, layer.init(jax.random.key(0))) for layer in layers]
    return blocks[0], (), blocks[1], (), blocks[2]


OPTIMIZERS = {
    "sgd": lambda: fnn.sgd(0.3),
    "momentum": lambda: fnn.momentum(0.5),
    "nesterov": lambda: fnn.nesterov(0.05),
    "adam": lambda: fnn.adam(0.02),
    "adamw": lambda: optax.adamw(0.02),
    "add_l2": lambda: optax.chain(fnn.add_l2(0.1), fnn.sgd(0.1)),
}


@pytest.mark.parametrize(
    ("optimizer", "activation"),
    slow_except(
        [*itertools.product(OPTIMIZERS, [fnn.sigmoid]), ("adam", fnn.tanh), ("momentum", fnn.softplus)],
        ("adam", fnn.sigmoid),
    ),
    ids=lambda value: getattr(value, "name", value),
)
def test_a_masked_network_trains_as_the_narrow_one(optimizer, activation, x64):
    """20 steps in float64 with L2, started from the same block; sigmoid and softplus are not 0 at 0."""
    x, make_optimizer = X.astype(np.float64), OPTIMIZERS[optimizer]
    l2 = 0.0 if optimizer == "add_l2" else 0.05
    wide, narrow = fnn.masked_mlp(SIZES, WIDTHS, activation), fnn.mlp([4, *WIDTHS, 3], activation)
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), wide.init(jax.random.key(1)))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ends = []
        for network, start in ((wide, params), (narrow, cut(params, WIDTHS))):
            step = fnn.make_step(network, LOSS, make_optimizer(), l2)
            state = fnn.init_state(network, make_optimizer(), jax.random.key(0))
            opt_state = as_transformation("test", make_optimizer()).init(start)
            state = state._replace(params=start, opt_state=opt_state)
            ends.append(jax.lax.scan(lambda state, _, step=step: step(state, (x, Y)), state, None, length=20))
    (got, costs), (expected, narrow_costs) = ends
    np.testing.assert_allclose(costs, narrow_costs, rtol=1e-12)
    assert_close(cut(got.params, WIDTHS), expected.params, "float64")
    assert max(outside(got.params, WIDTHS)) == 0
    assert (
        max(
            np.abs(a - b).max()
            for a, b in zip(jax.tree.leaves(cut(params, WIDTHS)), jax.tree.leaves(expected.params), strict=True)
        )
        > 0.01
    )


@pytest.mark.parametrize("dtype", slow_except(["float64", "float32"], "float64"))
@pytest.mark.parametrize("widths", [(3, 2), (4, 2), (1, 5), (4, 5), (0, 3), (2, 0)])
def test_backward_of_a_masked_layer(widths, dtype, x64):
    """Against jax.vjp, also for parameters that are not zero outside the block; there the gradient is zero."""
    layer = fnn.masked_dense(4, 5, *widths)
    params, x = spread_params(layer, 3, dtype), normal(4, (6, 4), dtype)
    dy = cotangent(layer, params, x)
    dparams, dx = by_hand(layer, params, x, dy)
    assert_close((dparams, dx), by_autodiff(layer, params, x, dy), dtype)
    assert not np.any(dparams.w[widths[0] :])
    assert not np.any(dparams.w[:, widths[1] :])
    assert not np.any(dparams.b[widths[1] :])
    assert not np.any(dx[:, widths[0] :])
    y = layer.forward(params, x)[0]
    narrow = x[:, : widths[0]] @ params.w[: widths[0], : widths[1]] + params.b[None, : widths[1]]
    np.testing.assert_allclose(y[:, : widths[1]], narrow, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)
    assert not np.any(y[:, widths[1] :])


@pytest.mark.slow
def test_gradient_restricted_to_the_block(x64):
    """The masked network's gradient is jax.grad of the narrow network's cost, zero elsewhere."""
    wide, narrow = fnn.masked_mlp(SIZES, WIDTHS, fnn.tanh), fnn.mlp([4, *WIDTHS, 3], fnn.tanh)
    params, x = spread_params(wide, 5, "float64"), X.astype(np.float64)
    params = jax.tree.map(lambda full, kept: np.where(kept, full, 0.0), params, inside(WIDTHS))
    cost, dparams = fnn.value_and_grad(wide, LOSS, 0.1)(params, x, Y)

    def plain(block):
        weights = sum(jnp.sum(p.w**2) for p in block if isinstance(p, Dense))
        return jnp.mean(LOSS.forward(narrow.forward(block, x)[0], Y)[0]) + 0.05 * weights

    expected_cost, expected = jax.value_and_grad(plain)(cut(params, WIDTHS))
    np.testing.assert_allclose(cost, expected_cost, rtol=1e-13)
    assert_close(cut(dparams, WIDTHS), expected, "float64")
    assert max(outside(dparams, WIDTHS)) == 0


@pytest.mark.slow
def test_a_masked_layer_passes_the_gradient_checker(x64):
    layer = fnn.masked_dense(4, 5, 3, 2)
    gradcheck.assert_layer(layer, spread_params(layer, 1, "float64"), normal(2, (6, 4), "float64"))


@pytest.mark.parametrize(
    ("w_init", "std"),
    [
        (fnn.init.lecun_normal, np.sqrt(1 / 100)),
        pytest.param(fnn.init.he_normal, np.sqrt(2 / 100), marks=pytest.mark.slow),
        pytest.param(fnn.init.he_uniform, np.sqrt(2 / 100), marks=pytest.mark.slow),
        pytest.param(fnn.init.xavier_normal, np.sqrt(2 / 150), marks=pytest.mark.slow),
        (fnn.init.xavier_uniform, np.sqrt(2 / 150)),
        pytest.param(fnn.init.normal(0.3), 0.3, marks=pytest.mark.slow),
    ],
)
def test_the_initial_scale_is_that_of_the_actual_width(w_init, std):
    init = jax.jit(lambda p, q: fnn.masked_dense(400, 300, p, q, w_init).init(jax.random.key(3)))
    w = np.asarray(init(100, 50).w)
    assert not w[100:].any()
    assert not w[:, 50:].any()
    assert w[:100, :50].std() == pytest.approx(std, rel=0.05)
    full = fnn.dense(400, 300, w_init).init(jax.random.key(3)).w
    np.testing.assert_allclose(init(400, 300).w, full, rtol=1e-6)


@pytest.mark.slow
def test_an_architecture_sweep_is_one_program():
    """Widths of two layers vary in one compiled program, each run equal to the narrow network's."""
    widths = jnp.array([[1, 6], [5, 2], [7, 6]])
    network = lambda h: fnn.masked_mlp(SIZES, h, fnn.tanh, fnn.init.xavier_normal)
    run = make_run(network=network, make_optimizer=lambda h: fnn.adam(0.05), l2=0.01)
    before = sweep._run_on_one_device._cache_size()
    results = fnn.sweep(run, widths, keys(1))
    fnn.sweep(run, widths[::-1], keys(1))
    assert sweep._run_on_one_device._cache_size() == before + 1
    for i, width in enumerate(widths.tolist()):
        for j in range(1):
            start = network(width).init(init_key(keys(1)[j]))
            narrow = make_run(
                network=fnn.mlp([4, *width, 3], fnn.tanh),
                make_optimizer=lambda h: fnn.adam(0.05),
                l2=0.01,
                init=cut(start, width),
            )
            alone = narrow(None, keys(1)[j])
            got = jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], results.params)
            assert max(outside(got, width)) == 0
            for name, values in alone.history.items():
                np.testing.assert_allclose(results.history[name][i, j], values, rtol=2e-5, atol=1e-6)
            plain = fnn.predict(fnn.mlp(SIZES, fnn.tanh), got, X)
            small = fnn.predict(fnn.mlp([4, *width, 3], fnn.tanh), alone.params, X)
            np.testing.assert_allclose(plain, small, rtol=1e-3, atol=1e-4)


BAD_WIDTHS = [
    (lambda: fnn.masked_dense(4, 3, 5, 2), ValueError, r"masked_dense: width_in must be in 0..4, got 5"),
    (lambda: fnn.masked_dense(4, 3, 4, -1), ValueError, r"masked_dense: width_out must be in 0..3, got -1"),
    (lambda: fnn.masked_dense(4, 3, 4, 2.0), TypeError, "masked_dense: width_out must be an integer.* got float 2.0"),
    (lambda: fnn.masked_dense(4, 3, True, 2), TypeError, "masked_dense: width_in must be an integer"),
    (lambda: fnn.masked_dense(4, 3, jnp.array([2]), 2), ValueError, "masked_dense: width_in must be an integer"),
    (lambda: fnn.masked_dense(4, 0, 4, 2), ValueError, "masked_dense: n_out must be a positive integer"),
    (lambda: fnn.masked_mlp([4], []), ValueError, "masked_mlp: sizes must be at least two"),
    (lambda: fnn.masked_mlp([4, 5, 3], [2, 2]), ValueError, "masked_mlp: widths must be .* each of the 1 hidden"),
    (lambda: fnn.masked_mlp([4, 5, 3], 2), ValueError, "masked_mlp: widths must be .* got int 2"),
    (lambda: fnn.masked_mlp([4, 5, 3], [6]), ValueError, r"masked_mlp: widths\[0\] must be in 0..5, got 6"),
    (lambda: fnn.masked_mlp([4, 5, 3], [2], fnn.leaky_relu), TypeError, "masked_mlp: activation must be a Layer"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD_WIDTHS, ids=[str(i) for i in range(len(BAD_WIDTHS))])
def test_wrong_widths(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_traced_width_of_zero_leaves_the_bias():
    """It is not taken for 1: no input counts, no weight has a gradient, and no output is left."""

    @jax.jit
    def run(p, q):
        layer = fnn.masked_dense(4, 3, p, q, b_init=fnn.init.normal(1.0))
        params = layer.init(jax.random.key(1))
        y, residuals = layer.forward(params, X)
        return params, y, layer.backward(params, residuals, jnp.ones_like(y))

    params, y, (dparams, dx) = run(0, 3)
    np.testing.assert_array_equal(y, np.broadcast_to(params.b, (23, 3)))
    np.testing.assert_array_equal(dparams.b, np.full(3, 23.0))
    assert not any(np.any(leaf) for leaf in (params.w, dparams.w, dx))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, dparams)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(run(4, 0)))


def test_a_network_of_width_zero_knows_nothing_of_its_input():
    network = fnn.masked_mlp([4, 7, 3], [0], fnn.tanh)
    y = network.forward(network.init(jax.random.key(0)), X)[0]
    assert np.ptp(y, axis=0).max() == 0
