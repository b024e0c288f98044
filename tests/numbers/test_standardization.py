"""Standardization: float64 on the host, half precision in float32, extreme scales, constant features."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn.data import fit_standardization, standardize


def test_float64_is_standardized_in_float64():
    x = 1.6e9 + np.arange(100.0)[:, None]
    got = standardize(x)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, (x - x.mean(0)) / x.std(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(standardize(x + 1, fit_standardization(x))[0], got[1], rtol=1e-6)
    np.testing.assert_array_equal(standardize(np.full((50, 1), 1700000037.0)), 0)
    np.testing.assert_array_equal(standardize(np.full((50, 1), 0.1)), 0)
    np.testing.assert_allclose(standardize(x.tolist()), got)


def test_half_precision_is_standardized_in_float32():
    x = np.array([[-6e4], [6e4], [3e4]], "float16")
    got = standardize(jnp.asarray(x))
    assert got.dtype == jnp.float16
    np.testing.assert_allclose(got, (x.astype("f8") - x.astype("f8").mean(0)) / x.astype("f8").std(0), rtol=2e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-200, 1e200])
def test_features_of_any_scale_are_standardized(scale):
    """Squares of deviations below 1e-19 underflow in float32, as of those below 1e-154 in float64."""
    x = np.array([[1.0, 5.0], [3.0, 7.0], [8.0, 7.0]])
    wanted = (x - x.mean(0)) / x.std(0)
    for dtype in ("float32", "float64") if 1e-38 < scale < 1e38 else ("float64",):
        np.testing.assert_allclose(standardize((x * scale).astype(dtype)), wanted, rtol=1e-5)


def test_constant_features_become_exactly_zero():
    for value in (0.1, 3e-30, -7.7, 1700000037.0):
        column = np.full((50, 1), value, "float32")
        np.testing.assert_array_equal(standardize(column), 0)
        np.testing.assert_array_equal(fit_standardization(column).mean, column[0])


def test_features_at_the_limit_of_their_precision_stay_small():
    column = np.array([[1.7e9], [1.7e9 + 128], [1.7e9 + 256]], "float32")
    assert 0 < np.abs(standardize(column)).max() < 2
    jitter = np.array([[0.3], [0.1 + 0.2]])
    np.testing.assert_allclose(standardize(jitter), 0, atol=1e-15)
