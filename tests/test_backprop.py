"""value_and_grad of whole networks against jax.grad of the cost."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.weights import is_weight, squared_norm
from tests.support.oracles import assert_close, normal, spread_params
from tests.support.slow import slow_except

rng = np.random.default_rng(0)
NETWORKS = {
    "mlp": (fnn.mlp([6, 5, 3], fnn.tanh), (8, 6)),
    "dropout": (fnn.serial(fnn.dense(6, 9), fnn.relu, fnn.dropout(0.5), fnn.dense(9, 3)), (8, 6)),
    "repeat": (
        fnn.serial(fnn.dense(6, 4), fnn.repeat(fnn.serial(fnn.dense(4, 4), fnn.gelu), 3), fnn.dense(4, 3)),
        (8, 6),
    ),
    "batch_norm": (fnn.serial(fnn.dense(6, 5), fnn.batch_norm(5), fnn.relu, fnn.dense(5, 3)), (8, 6)),
    "convnet": (fnn.convnet((8, 7, 2), (3, 4), 2, (5, 3)), (4, 8, 7, 2)),
    "softmax_regression": (fnn.softmax_regression(6, 3), (8, 6)),
}
LOSSES = {
    "squared_error": (fnn.squared_error, lambda m: normal(1, (m, 3), "float64")),
    "sigmoid_cross_entropy": (fnn.sigmoid_cross_entropy, lambda m: rng.integers(0, 2, (m, 3)).astype(float)),
    "softmax_cross_entropy": (fnn.softmax_cross_entropy, lambda m: rng.integers(0, 3, m)),
}


def cost_written_out(network, loss, l2):
    def cost(params, x, y, weight, key):
        values = loss.forward(network.forward(params, x, key)[0], y)[0]
        weights = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_weight(path, leaf)]
        penalty = sum(jnp.sum(w**2) for w in weights)
        return jnp.sum(weight * values) / jnp.sum(weight) + 0.5 * l2 * penalty

    return cost


@pytest.mark.parametrize(
    ("name", "loss_name"),
    slow_except(
        itertools.product(NETWORKS, LOSSES),
        ("mlp", "squared_error"),
        ("dropout", "sigmoid_cross_entropy"),
        ("repeat", "softmax_cross_entropy"),
        ("batch_norm", "softmax_cross_entropy"),
        ("convnet", "squared_error"),
    ),
)
def test_cost_and_gradient(name, loss_name, key, x64):
    (network, shape), (loss, target) = NETWORKS[name], LOSSES[loss_name]
    params, x, y = spread_params(network, 0, "float64"), normal(1, shape, "float64"), target(shape[0])
    weight = rng.uniform(0, 2, shape[0])
    weight[0] = 0
    seen = x if network.calibrate is None else x[[1, *range(1, len(x))]]  # statistics see the next row in its place
    expected = jax.jit(jax.value_and_grad(cost_written_out(network, loss, 0.1)))(params, seen, y, weight, key)
    got = jax.jit(fnn.value_and_grad(network, loss, l2=0.1))(params, x, y, weight, key)
    assert_close(got, expected, "float64")


@pytest.mark.slow
@settings(max_examples=8)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=4), st.integers(1, 6), st.floats(0, 1))
def test_any_mlp(sizes, batch, l2):
    network, loss = fnn.mlp(sizes, fnn.tanh), fnn.squared_error
    with jax.enable_x64(True):
        params, x = spread_params(network, 0, "float64"), normal(1, (batch, sizes[0]), "float64")
        y, ones = normal(2, (batch, sizes[-1]), "float64"), np.ones(batch)
        expected = jax.jit(jax.value_and_grad(cost_written_out(network, loss, l2)))(params, x, y, ones, None)
        assert_close(jax.jit(fnn.value_and_grad(network, loss, l2))(params, x, y), expected, "float64")


@pytest.mark.claim("C144", "C145", "C247")
def test_the_notes_two_layer_demo(x64):
    """tanh, then sigmoid, with examples as columns: dZ2 = A2 - Y, dZ1 = W2ᵀ dZ2 * (1 - A1²)."""
    m, sizes = 11, [3, 4, 1]
    network = fnn.mlp(sizes, fnn.tanh)
    params = spread_params(network, 0, "float64")
    x, y = normal(1, (m, 3), "float64"), rng.integers(0, 2, (m, 1)).astype(float)
    _, (first, _, second) = fnn.value_and_grad(network, fnn.sigmoid_cross_entropy)(params, x, y)
    w1, w2, b1, b2 = params[0].w.T, params[2].w.T, params[0].b[:, None], params[2].b[:, None]
    a1 = np.tanh(w1 @ x.T + b1)
    a2 = 1 / (1 + np.exp(-(w2 @ a1 + b2)))
    dz2 = a2 - y.T
    dz1 = (w2.T @ dz2) * (1 - a1**2)
    assert_close(second.w, (dz2 @ a1.T / m).T, "float64")
    assert_close(second.b, dz2.sum(1) / m, "float64")
    assert_close(first.w, (dz1 @ x / m).T, "float64")
    assert_close(first.b, dz1.sum(1) / m, "float64")


@pytest.mark.claim("C016", "C108", "C120", "C133", "C181")
def test_a_gradient_is_the_mean_of_the_examples_gradients(x64):
    network = fnn.mlp([6, 5, 3], fnn.tanh)
    params, x, y = spread_params(network, 0, "float64"), normal(1, (8, 6), "float64"), rng.integers(0, 3, 8)
    gradient = fnn.value_and_grad(network, fnn.softmax_cross_entropy)
    each = jax.vmap(lambda x, y: gradient(params, x[None], y[None])[1])(x, y)
    assert_close(jax.tree.map(lambda leaf: leaf.mean(0), each), gradient(params, x, y)[1], "float64")
    doubled = gradient(params, np.concatenate([x, x]), np.concatenate([y, y]))
    assert_close(doubled, gradient(params, x, y), "float64")


def test_integer_weights_count_as_copies(x64):
    network = fnn.mlp([6, 3])
    params, x, y = spread_params(network, 0, "float64"), normal(1, (4, 6), "float64"), normal(2, (4, 3), "float64")
    gradient = fnn.value_and_grad(network, fnn.squared_error)
    copies = np.array([2, 0, 1, 3])
    weighted = gradient(params, x, y, copies.astype(float))
    assert_close(weighted, gradient(params, np.repeat(x, copies, 0), np.repeat(y, copies, 0)), "float64")


def test_weights_of_zero_cost_nothing():
    network = fnn.mlp([6, 3])
    params, x, y = network.init(jax.random.key(0)), normal(1, (4, 6)), normal(2, (4, 3))
    cost, dparams = fnn.value_and_grad(network, fnn.squared_error)(params, x, y, np.zeros(4, "float32"))
    assert float(cost) == 0
    assert all(not leaf.any() for leaf in jax.tree.leaves(dparams))


@pytest.mark.claim("C198")
def test_the_penalty_acts_on_weights_only_also_under_repeat(x64):
    network = fnn.serial(fnn.repeat(fnn.dense(3, 3), 4), fnn.layer_norm(3), fnn.dense(3, 2))
    params = spread_params(network, 0, "float64")
    expected = sum(float((leaf**2).sum()) for leaf in (params[0].w, params[2].w))
    np.testing.assert_allclose(squared_norm(params), expected, rtol=1e-12)
    x, y = np.zeros((2, 3)), np.zeros((2, 2))
    _, plain = fnn.value_and_grad(network, fnn.squared_error)(params, x, y)
    _, penalised = fnn.value_and_grad(network, fnn.squared_error, 0.5)(params, x, y)
    difference = jax.tree.map(lambda a, b: a - b, penalised, plain)
    assert_close(difference[0].w, 0.5 * params[0].w, "float64")
    assert not difference[0].b.any()
    assert not difference[1].gamma.any()


def test_l2_may_be_traced(x64):
    network = fnn.mlp([6, 3])
    params, x, y = spread_params(network, 0, "float64"), normal(1, (4, 6), "float64"), normal(2, (4, 3), "float64")
    traced = jax.jit(lambda l2: fnn.value_and_grad(network, fnn.squared_error, l2)(params, x, y))(0.3)
    assert_close(traced, fnn.value_and_grad(network, fnn.squared_error, 0.3)(params, x, y), "float64")


@pytest.mark.parametrize("name", slow_except(["mlp", "convnet", "repeat", "batch_norm"], "mlp", "batch_norm"))
def test_the_adapters_agree(name, key, x64):
    network, shape = NETWORKS[name]
    params, x, dy = (
        spread_params(network, 0, "float64"),
        normal(1, shape, "float64"),
        normal(2, (shape[0], 3), "float64"),
    )
    f = fnn.as_custom_vjp(network)
    by_rule = jax.jit(lambda p, x: jax.vjp(lambda p, x: f(p, x, key), p, x)[1](dy))(params, x)
    oracle = fnn.autodiff(network)
    _, residuals = jax.jit(oracle.forward)(params, x, key)
    assert_close(by_rule, oracle.backward(params, residuals, dy), "float64")


def test_as_custom_vjp_uses_the_layers_own_backward():
    wrong = fnn.elementwise(jnp.sin, lambda z: 7 * jnp.cos(z))
    assert float(jax.grad(lambda x: fnn.as_custom_vjp(wrong)((), x).sum())(jnp.zeros(1))[0]) == 7
    assert float(jax.grad(lambda x: fnn.as_custom_vjp(fnn.autodiff(wrong))((), x).sum())(jnp.zeros(1))[0]) == 1


def test_dropout_needs_no_key_under_the_adapter():
    f = fnn.as_custom_vjp(fnn.dropout(0.5))
    np.testing.assert_array_equal(jax.grad(lambda x: f((), x).sum())(jnp.ones(3)), np.ones(3))
