"""Standardization: each feature with mean 0 and standard deviation 1."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fnn import checks
from fnn.checks.host_values import refuse_masked
from fnn.dtypes import wide, widened


class Standardization(NamedTuple):
    """Mean and standard deviation of each feature of the training data.

    Those of a NumPy array in float64 are NumPy arrays in float64 too, those of any other are JAX arrays.
    """

    mean: Float[ArrayLike, " n"]
    std: Float[ArrayLike, " n"]


def _wider_than_jax(x: Any) -> np.ndarray | None:
    """Return x as a NumPy array if JAX would round its floating point numbers to a narrower dtype, else None."""
    if isinstance(x, jax.Array):
        return None
    try:
        refuse_masked(x)
        found = np.asarray(x)
        wider = found.dtype.kind == "f" and found.dtype.itemsize > jnp.zeros((), float).dtype.itemsize
    except (TypeError, ValueError):  # the checks of the caller say what is wrong
        return None
    return found.astype(np.float64) if wider else None


def fit_standardization(x: ArrayLike, weight: ArrayLike | None = None) -> Standardization:
    """Estimate the mean and the standard deviation of each feature.

    μ = Σ x / N, σ² = Σ (x - μ)² / N; with weights μ = Σ w x / Σ w, σ² = Σ w (x - μ)² / Σ w

    A constant feature gets σ = 1, so that `standardize` makes it 0 and not NaN. A feature that is constant but for
    rounding errors gets at least σ = 1, so that `standardize` does not enlarge them.

    Args:
      x: training inputs (examples, …), floating point, with at least one example.
      weight: one weight per example, not negative and not all 0. An example of weight 0 counts for nothing, whatever
        it holds. Default: each example counts once.

    Returns:
      Standardization(mean, std), each of the shape of one example.

    Raises:
      ValueError, TypeError: if x is not floating point with at least one example, or if the weights are invalid.

    >>> fit_standardization(jnp.array([[1.0, 5.0], [3.0, 5.0]]))
    Standardization(mean=Array([2., 5.], dtype=float32), std=Array([1., 1.], dtype=float32))
    """
    on_host = _wider_than_jax(x)
    x = checks.floating("fit_standardization", "x", x) if on_host is None else on_host
    if x.ndim < 2 or x.shape[0] < 1:
        raise checks.fail("fit_standardization", "x", "of shape (examples, ...) with at least one example", x)
    if weight is not None:
        weight = _checked_weight(weight, x.shape[0])
        x, weight = x[weight != 0], weight[weight != 0]
    if isinstance(x, np.ndarray):
        return _fit_on_host(x, weight)
    values: Array = widened(x)
    scaled, power = _scaled(values)
    if weight is None:
        mean, std = jnp.mean(scaled, axis=0), jnp.std(scaled, axis=0)
    else:
        w = jnp.asarray(weight, values.dtype)
        mean = jnp.average(scaled, axis=0, weights=w)
        std = jnp.sqrt(jnp.average(jnp.square(scaled - mean[None]), axis=0, weights=w))
    return Standardization(*_statistics(values, mean, std, power))


def _checked_weight(weight: ArrayLike, size: int) -> np.ndarray:
    """Return the weights as a NumPy array, if they are one number per example, not negative, and not all 0."""
    found = np.asarray(checks.on_host("fit_standardization", "weight", weight))
    if found.shape != (size,):
        raise checks.fail("fit_standardization", "weight", f"of shape ({size},)", found)
    if found.dtype.kind not in "fiub" or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise checks.fail("fit_standardization", "weight", "numbers that are finite, not negative and not all 0", found)
    return found


@jax.jit
def _scaled(x: Array) -> tuple[Array, Array]:
    """x 2^-p with |x| 2^-p < 1 for each feature, so that no square underflows or overflows; returns this and p"""
    power = jnp.frexp(jnp.max(jnp.abs(x), axis=0))[1]
    return jnp.ldexp(x, -power[None]), power


@jax.jit
def _statistics(x: Array, mean: Array, std: Array, power: Array) -> tuple[Array, Array]:
    """Return the statistics of x from those of `_scaled` x. The mean of a constant feature is exactly its value."""
    equal = jnp.all(x == x[:1], axis=0)
    mean, std = jnp.where(equal, x[0], jnp.ldexp(mean, power)), jnp.ldexp(std, power)
    rounding = 4 * jnp.finfo(x.dtype).eps * jnp.abs(mean)
    return mean, jnp.where(equal, 1, jnp.where(std <= rounding, jnp.maximum(1, rounding), std))


def _fit_on_host(x: np.ndarray, weight: np.ndarray | None) -> Standardization:
    """`fit_standardization` in NumPy."""
    power = np.frexp(np.abs(x).max(axis=0))[1]
    with np.errstate(invalid="ignore"):  # infinite values give NaN, as those of JAX arrays do
        scaled = np.ldexp(x, -power)
        mean = np.average(scaled, axis=0, weights=weight)
        std = np.ldexp(np.sqrt(np.average(np.square(scaled - mean), axis=0, weights=weight)), power)
        equal = (x == x[0]).all(axis=0)
    mean = np.where(equal, x[0], np.ldexp(mean, power))
    rounding = 4 * np.finfo(x.dtype).eps * np.abs(mean)
    return Standardization(mean, np.where(equal, 1, np.where(std <= rounding, np.maximum(1, rounding), std)))


def standardize(x: ArrayLike, fitted: Standardization | None = None) -> Array:
    """Standardize each feature: x̃ = (x - μ) / σ.

    A NumPy array in float64 is standardized in float64, and only the result gets the dtype of JAX's arrays.

    Args:
      x: inputs (examples, …), floating point.
      fitted: the result of `fit_standardization` on the training data. Default: that of x itself.

    Returns:
      A JAX array of the shape of x, in the dtype that JAX has for x (float32 for float64, unless `jax_enable_x64`).

    >>> standardize(jnp.array([[4.0, 5.0]]), fit_standardization(jnp.array([[1.0, 5.0], [3.0, 5.0]])))
    Array([[2., 0.]], dtype=float32)
    """
    on_host = _wider_than_jax(x)
    x = checks.floating("standardize", "x", x) if on_host is None else on_host
    fitted = fit_standardization(x) if fitted is None else fitted
    mean, std = fitted.mean, fitted.std
    if x.shape[1:] != np.shape(mean):
        raise checks.fail("standardize", "x", f"of shape (examples, {', '.join(map(str, np.shape(mean)))})", x)
    if isinstance(x, np.ndarray):
        with np.errstate(invalid="ignore"):
            deviation = x - np.asarray(mean, x.dtype)
        return jnp.asarray(deviation / np.where(np.asarray(std) == 0, 1, np.asarray(std, x.dtype)))
    dtype = wide(x)
    constant_safe = jnp.where(std == 0, 1, std).astype(dtype)
    return ((x.astype(dtype) - jnp.asarray(mean, dtype)[None]) / constant_safe[None]).astype(x.dtype)
