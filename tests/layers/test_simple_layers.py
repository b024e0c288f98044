"""Activations, dense layers and dropout against formulas and `jax.nn`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.layers.test_layers import ACTIVATIONS
from tests.support.oracles import assert_close, normal

each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.mark.claim("C092")
def test_relu_has_slope_zero_at_zero():
    x = jnp.array([[-1.0, -0.0, 0.0, 1.0]])
    for layer, slopes in ((fnn.relu, [0.0, 0.0, 0.0, 1.0]), (fnn.leaky_relu(0.5), [0.5, 0.5, 0.5, 1.0])):
        dx = layer.backward((), layer.forward((), x)[1], jnp.ones_like(x))[1]
        np.testing.assert_array_equal(dx[0], slopes)


@pytest.mark.parametrize("name", ACTIVATIONS)
@each_dtype
def test_activations_are_finite_far_out(name, dtype, x64):
    x = jnp.array([[-1e4, -800.0, -37.0, 0.0, 17.0, 88.0, 1e4]], dtype)
    layer = ACTIVATIONS[name]
    y, residuals = layer.forward((), x)
    assert bool(jnp.all(jnp.isfinite(y)))
    assert bool(jnp.all(jnp.isfinite(layer.backward((), residuals, jnp.ones_like(y))[1])))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sigmoid", jax.nn.sigmoid),
        ("tanh", jnp.tanh),
        ("relu", jax.nn.relu),
        ("softplus", jax.nn.softplus),
        ("silu", jax.nn.silu),
        ("gelu", functools.partial(jax.nn.gelu, approximate=False)),
        ("gelu_tanh", functools.partial(jax.nn.gelu, approximate=True)),
        ("softmax", jax.nn.softmax),
    ],
)
@each_dtype
def test_activations_equal_jax_nn(name, reference, dtype, key, x64):
    x = 3 * normal(1, (50, 7), dtype)
    assert_close(ACTIVATIONS[name].forward((), x)[0], reference(x), dtype)


@pytest.mark.claim("C042", "C054")
def test_dense_is_x_w_plus_b():
    params = fnn.Dense(w=jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), b=jnp.array([10.0, 20.0]))
    z, _ = fnn.dense(3, 2).forward(params, jnp.array([[1.0, 0.0, -1.0]]))
    np.testing.assert_array_equal(z, [[6.0, 16.0]])


def test_dropout_zeroes_its_rate_and_keeps_the_mean(key):
    x = jnp.ones((100, 1000))
    y, mask = fnn.dropout(0.3).forward((), x, key)
    assert abs(float(jnp.mean((y == 0).astype(jnp.float32))) - 0.3) < 0.01
    assert abs(float(jnp.mean(y)) - 1) < 0.01
    np.testing.assert_array_equal(y == 0, ~mask)
    assert not np.array_equal(y, fnn.dropout(0.3).forward((), x, jax.random.fold_in(key, 1))[0])


def test_dropout_without_a_key_or_a_rate_is_the_identity(key):
    x = normal(1, (4, 5), "float32")
    for layer, k in ((fnn.dropout(0.9), None), (fnn.dropout(0.0), key)):
        y, residuals = layer.forward((), x, k)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(layer.backward((), residuals, x)[1], x)
