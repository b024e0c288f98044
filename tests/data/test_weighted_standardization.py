"""fit_standardization with weights: rows repeated, rows left out, on the host and on the device."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn.data import fit_standardization

X = np.random.default_rng(0).normal(size=(6, 3)) * [1.0, 1e8, 0.0] + [0.0, 5e8, 7.0]
WEIGHT = np.array([1, 0, 2, 3, 1, 0])


@pytest.mark.parametrize(("convert", "rtol"), [(np.asarray, 1e-13), (lambda x: jnp.asarray(x, jnp.float32), 1e-5)])
def test_integer_weights_repeat_rows(convert, rtol):
    x = X.copy()
    x[1] = np.nan  # a row of weight 0 may hold anything
    weighted = fit_standardization(convert(x), WEIGHT)
    repeated = fit_standardization(convert(np.repeat(X, WEIGHT, axis=0)))
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=rtol)
    np.testing.assert_allclose(weighted.std, repeated.std, rtol=rtol)
    assert weighted.std[2] == 1, "a constant feature"


@pytest.mark.parametrize("weight", [np.ones(5), np.zeros(6), -np.ones(6), np.full(6, np.inf), np.ones((6, 1))])
def test_invalid_weights(weight):
    with pytest.raises(ValueError, match="fit_standardization: weight must be"):
        fit_standardization(X, weight)
