"""Rows of weight 0 count for nothing, whatever they hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.losses import squared_error
from fnn.row_weights import cycle_rows, cycle_rows_on_host
from tests.support.entries import CROSS, NET, K, X, Y, fit
from tests.support.slow import slow_except

WEIGHT = np.array([0, 1, 2, 1, 0, 1, 1, 3, 0], "float32")


def garbage(value):
    x, y = X.copy(), Y.copy()
    x[WEIGHT == 0], y[WEIGHT == 0] = value, -1
    return x, y


@pytest.mark.parametrize(
    ("value", "micro"),
    slow_except([(value, n) for value in ("nan", "inf", "1e30") for n in (None, 4)], ("nan", 4)),
)
def test_rows_of_weight_0_count_for_nothing(value, micro):
    network, value = fnn.mlp([4, 5, 3]), float(value)
    params, gradient = network.init(K), jax.jit(fnn.value_and_grad(network, CROSS, 0.1, micro))
    rows = WEIGHT != 0
    expected = jax.jit(fnn.value_and_grad(network, CROSS, 0.1))(params, X[rows], Y[rows], WEIGHT[rows])
    got = gradient(params, *garbage(value), WEIGHT)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    step = jax.jit(fnn.make_step(network, CROSS, fnn.sgd(0.1)))
    state, cost = step(fnn.init_state(network, fnn.sgd(0.1), K), (*map(jnp.asarray, garbage(value)), WEIGHT))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, cost)))


@pytest.mark.parametrize("weight", [np.zeros(9, "float32"), WEIGHT])
def test_a_network_with_statistics_survives_rows_of_weight_0(weight):
    network = fnn.serial(fnn.batch_norm(4), fnn.dense(4, 3))
    x, y = X.copy(), Y.copy()
    x[weight == 0], y[weight == 0] = np.nan, -1
    cost, gradient = jax.jit(fnn.value_and_grad(network, CROSS))(network.init(K), x, y, weight, K)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((cost, gradient)))
    assert (float(cost) == 0) == (not weight.any())


def test_targets_and_metrics_of_weight_0_count_for_nothing():
    network, y = fnn.dense(4, 2), np.random.default_rng(1).normal(size=(9, 2)).astype("float32")
    rows, bad = WEIGHT != 0, y.copy()
    bad[~rows] = np.nan
    params = network.init(K)
    got = fnn.value_and_grad(network, squared_error)(params, X, bad, WEIGHT)[0]
    wanted = fnn.value_and_grad(network, squared_error)(params, X[rows], y[rows], WEIGHT[rows])[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    error = {"error": lambda p, y: jnp.sum((p - y) ** 2, axis=1)}
    with_bad = fnn.evaluate(network, squared_error, params, (garbage(np.nan)[0], bad, WEIGHT), metrics=error)
    without = fnn.evaluate(network, squared_error, params, (X[rows], y[rows], WEIGHT[rows]), metrics=error)
    assert with_bad == pytest.approx(without, rel=1e-6)


def test_fit_accepts_rows_of_weight_0_that_hold_nothing():
    network = fnn.serial(fnn.batch_norm(4), fnn.dense(4, 3))
    for options in ({}, {"device_memory": 300}):
        result = fit((*garbage(np.nan), WEIGHT), network=network, **options)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.state.params))
        assert np.isfinite(result.history["cost"]).all()
    with pytest.raises(ValueError, match=r"labels in 0..2.*first in row 1"):
        fit((X, np.where(np.arange(9) == 1, 5, Y), WEIGHT))


def test_weights_without_zeros_keep_every_bit():
    gradient = jax.jit(fnn.value_and_grad(NET, CROSS))
    plain, weighted = gradient(NET.init(K), X, Y), gradient(NET.init(K), X, Y, np.ones(9, "float32"))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(weighted), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_norm_refuses_a_batch_of_one_example():
    layer, image = fnn.batch_norm(4), jnp.ones((1, 2, 2, 4))
    with pytest.raises(ValueError, match=r"batch_norm: the batch must be of more than one.*\(1, 4\).*batch_size"):
        layer.forward(layer.init(K), X[:1], K)
    layer.forward(layer.init(K), X[:1])
    layer.forward(layer.init(K), image, K)
    network, seen = fnn.serial(layer, fnn.dense(4, 3)), []
    with pytest.raises(ValueError, match=r"batch_norm: the batch .* Choose another batch_size"):
        fit((X[:7], Y[:7]), network=network, callback=lambda *_: seen.append(1))
    assert not seen


def test_batch_norm_does_not_see_rows_of_weight_0():
    """Whatever they hold, the cost, the gradient and the calibrated statistics keep every bit."""
    network = fnn.serial(fnn.batch_norm(4), fnn.dense(4, 3))
    gradient, params = jax.jit(fnn.value_and_grad(network, CROSS)), network.init(K)
    found = [gradient(params, *garbage(value), WEIGHT, K) for value in (0.0, 1e30, np.nan)]
    results = [fit((*garbage(value), WEIGHT), network=network).state.params for value in (0.0, 1e30)]
    for first, other in ((found[0], found[1]), (found[0], found[2]), results):
        jax.tree.map(np.testing.assert_array_equal, first, other)


def test_rows_with_weight_take_turns():
    x = np.arange(9, dtype="float32")[:, None]
    for weight, wanted in (
        (WEIGHT, [1, 1, 2, 3, 2, 5, 6, 7, 3]),
        (np.eye(9, dtype="float32")[4], [4] * 9),
        (np.zeros(9, "float32"), [0] * 9),
        (np.ones(9, "float32"), range(9)),
    ):
        np.testing.assert_array_equal(cycle_rows(jnp.asarray(x), weight)[:, 0], [*wanted])
        np.testing.assert_array_equal(cycle_rows_on_host(x, weight)[:, 0], [*wanted])
