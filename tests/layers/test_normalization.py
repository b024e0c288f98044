"""Statistics of batch_norm and layer_norm: which are used, and what sets them."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.oracles import assert_close, assert_same_structure, normal, spread_params


def test_batch_norm_in_training_ignores_the_stored_statistics(key):
    layer = fnn.batch_norm(3)
    params, x = layer.init(key), 5 + 2 * normal(1, (200, 3), "float32")
    y, _ = layer.forward(params, x, key)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-3)
    moved = params._replace(mean=params.mean + 7, var=params.var * 3)
    np.testing.assert_array_equal(y, layer.forward(moved, x, key)[0])


def test_calibrate_sets_the_statistics_of_every_batch_norm(key, x64):
    x = 5 + 2 * normal(1, (300, 3), "float64")
    block = fnn.residual(fnn.serial(fnn.dense(3, 3), fnn.batch_norm(3), fnn.tanh))
    network = fnn.serial(fnn.batch_norm(3), fnn.repeat(block, 2), fnn.dense(3, 1))
    params = spread_params(network, 0, "float64")
    calibrated = fnn.calibrate(network, params, x)
    # on the data that the statistics were set from, evaluation and training are the same function
    assert_close(network.forward(calibrated, x)[0], network.forward(params, x, key)[0], "float64")
    np.testing.assert_allclose(calibrated[0].mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(calibrated[0].var, x.var(0), rtol=1e-12)
    assert_same_structure(calibrated, params)
    np.testing.assert_array_equal(calibrated[2].w, params[2].w)


def test_calibrate_leaves_other_networks_alone(key):
    network = fnn.mlp([3, 4, 2])
    params = network.init(key)
    assert fnn.calibrate(network, params, jnp.ones((5, 3))) is params


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 3, 6)])
def test_layer_norm_sees_each_example_alone(shape, key):
    x = normal(1, shape, "float32")
    layer = fnn.layer_norm(6)
    y, _ = layer.forward(layer.init(key), x)
    np.testing.assert_allclose(y[:1], layer.forward(layer.init(key), x[:1])[0], rtol=1e-6)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
