"""Dropout with a traced rate, so that a sweep can vary it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.oracles import assert_close, by_autodiff, by_hand, cotangent, normal


@jax.jit
def traced(rate, x, key):
    y, mask = fnn.dropout(rate).forward((), x, key)
    return y, fnn.dropout(rate).backward((), mask, jnp.ones_like(y))[1]


def test_a_traced_rate_draws_the_masks_of_a_concrete_one(key):
    x = normal(0, (50, 40))
    for rate in (0.25, 0.5):
        expected, mask = fnn.dropout(rate).forward((), x, key)
        y, dx = traced(jnp.float32(rate), x, key)
        np.testing.assert_array_equal(y == 0, expected == 0)
        np.testing.assert_allclose(y, expected, rtol=3e-7)
        np.testing.assert_allclose(dx, fnn.dropout(rate).backward((), mask, jnp.ones((50, 40)))[1], rtol=3e-7)


def test_a_traced_rate_of_zero_changes_no_bit(key):
    x = normal(0, (50, 40))
    y, dx = traced(jnp.float32(0), x, key)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, np.ones_like(x))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_gradient_with_a_traced_rate(dtype, key, x64):
    x = normal(0, (9, 8), dtype)

    def check(rate):
        layer = fnn.dropout(rate)
        dy = cotangent(fnn.identity, (), x)
        return by_hand(layer, (), x, dy, key), by_autodiff(layer, (), x, dy, key)

    got, expected = jax.jit(check)(jnp.float32(0.4))
    assert_close(got, expected, dtype)


def test_without_a_key_a_traced_rate_is_the_identity():
    x = normal(0, (5, 4))
    np.testing.assert_array_equal(jax.jit(lambda rate: fnn.dropout(rate).forward((), x)[0])(0.5), x)


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (jnp.ones(3), ValueError, r"dropout: rate must be of shape \(\), got float32 of shape \(3,\)"),
        (jnp.int32(0), TypeError, "dropout: rate must be floating point"),
    ],
)
def test_a_traced_rate_must_be_a_floating_point_scalar(rate, error, message):
    with pytest.raises(error, match=message):
        jax.jit(lambda rate: fnn.dropout(rate).forward((), jnp.ones((2, 2)))[0])(rate)
