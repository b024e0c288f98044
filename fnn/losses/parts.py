"""What the losses share: checks of shapes, sums over entries, means over positions, a logarithm that is finite at 0."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from fnn import checks
from fnn.dtypes import at_least_int32, widest
from fnn.metrics import Values


def floating_prediction(function: str, prediction: ArrayLike) -> Array:
    prediction = checks.floating(function, "prediction", prediction)
    if prediction.ndim < 1:
        raise checks.fail(function, "prediction", "of shape (batch, ...)", prediction)
    return prediction


def same_shape(function: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """Return prediction and target in one dtype; their shapes must be equal."""
    prediction, target = floating_prediction(function, prediction), checks.array(function, "target", target)
    if prediction.shape != target.shape:
        expected = f"of the prediction's shape {tuple(prediction.shape)}"
        raise checks.fail(function, "target", expected, target)
    if jnp.issubdtype(target.dtype, jnp.complexfloating):
        raise checks.fail(function, "target", "real", target, TypeError)
    dtype = widest(prediction, jnp.float32)
    return prediction.astype(dtype), target.astype(dtype)


def distribution(function: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """Return both as (batch, …, k). A label out of range becomes a row of NaN."""
    prediction, target = floating_prediction(function, prediction), checks.array(function, "target", target)
    if prediction.ndim < 2:
        raise checks.fail(function, "prediction", "of shape (batch, ..., k)", prediction)
    if 0 in prediction.shape[1:-1]:
        raise checks.fail(function, "prediction", "of shape (batch, ..., k), of at least one position", prediction)
    *positions, k = prediction.shape
    rows = ", ".join(map(str, positions)) + ("," if len(positions) == 1 else "")
    dtype = widest(prediction, jnp.float32)
    if target.ndim == len(positions):
        if not jnp.issubdtype(target.dtype, jnp.integer):
            expected = f"integer labels ({rows}) or distributions {tuple(prediction.shape)}"
            raise checks.fail(function, "target", expected, target, TypeError)
        if target.shape != (*positions,):
            raise checks.fail(function, "target", f"of shape ({rows})", target)
        target = target.astype(at_least_int32(target))
        valid = (target >= 0) & (target < k)
        return prediction.astype(dtype), jnp.where(valid[..., None], jax.nn.one_hot(target, k, dtype=dtype), jnp.nan)
    if target.shape != prediction.shape:
        expected = f"labels ({rows}) or distributions {tuple(prediction.shape)}"
        raise checks.fail(function, "target", expected, target)
    if not jnp.issubdtype(target.dtype, jnp.floating):
        raise checks.fail(function, "target", "floating point if it holds distributions", target, TypeError)
    return prediction.astype(dtype), target.astype(dtype)


def sum_entries(values: Array) -> Values:
    """Sum over all axes but the first."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def as_column(dvalue: Values, like: Array) -> Array:
    """Reshape (batch,) to (batch, 1, …, 1), in the rank and dtype of `like`."""
    return dvalue.astype(like.dtype).reshape(dvalue.shape + (1,) * (like.ndim - 1))


def mean_positions(values: Array) -> Values:
    """Average over the positions, all axes but the first. Without positions, these are the values themselves."""
    return values if values.ndim == 1 else jnp.mean(values, axis=tuple(range(1, values.ndim)))


def mean_positions_backward(dvalue: Values, like: Array) -> Array:
    """Return dL / T in the shape (batch, 1, …, 1) and the dtype of `like` (batch, …, k), of T positions"""
    dvalue = as_column(dvalue, like)
    return dvalue if like.ndim == 2 else dvalue / math.prod(like.shape[1:-1])


def scale_slope(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL · ∂L/∂a in the prediction's dtype, for losses whose forward keeps ∂L/∂a"""
    slope, like = residuals
    return (as_column(dvalue, slope) * slope).astype(like.dtype)


def finite_log(a: Array) -> tuple[Array, Array]:
    """Return ln a and its slope 1 / max(a, ε), both finite at a = 0.

    Below ε = eps² (5e-32 in float64, 1e-14 in float32) ln is replaced by its tangent at ε, ln ε + (a - ε) / ε.
    """
    epsilon = jnp.finfo(a.dtype).eps ** 2
    safe = jnp.maximum(a, epsilon)
    return jnp.where(a > epsilon, jnp.log(safe), jnp.log(epsilon).astype(a.dtype) + (a / epsilon - 1)), 1 / safe
