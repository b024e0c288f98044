"""Losses: a value per example, and under it the gradient for the prediction.

a is the prediction (z if it is a logit), y the target, and L the value of one example. `backward` takes the gradient
dL (batch,) of the cost with respect to the values. The mean over the batch is taken in `fnn.backprop`. For the two
losses on logits, the gradient of the mean is dZ = (A - Y) / m. Values are computed in float32 at least. Losses on
classes also take one class per position of a sequence: the value of an example is then the mean over its positions.

>>> values, residuals = squared_error.forward(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]]))
>>> values, squared_error.backward(residuals, jnp.ones(1))
(Array([2.5], dtype=float32), Array([[1., 2.]], dtype=float32))
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from fnn import checks
from fnn.checks.targets import between_0_and_1, labels_in_range
from fnn.dtypes import at_least_int32, widest
from fnn.metrics import Values, accuracy, binary_accuracy
from fnn.types import Loss


def _prediction(function: str, prediction: ArrayLike) -> Array:
    prediction = checks.floating(function, "prediction", prediction)
    if prediction.ndim < 1:
        raise checks.fail(function, "prediction", "of shape (batch, ...)", prediction)
    return prediction


def _same_shape(function: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """Return prediction and target in one dtype; their shapes must be equal."""
    prediction, target = _prediction(function, prediction), checks.array(function, "target", target)
    if prediction.shape != target.shape:
        expected = f"of the prediction's shape {tuple(prediction.shape)}"
        raise checks.fail(function, "target", expected, target)
    if jnp.issubdtype(target.dtype, jnp.complexfloating):
        raise checks.fail(function, "target", "real", target, TypeError)
    dtype = widest(prediction, jnp.float32)
    return prediction.astype(dtype), target.astype(dtype)


def _distribution(function: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """Return both as (batch, …, k). A label out of range becomes a row of NaN."""
    prediction, target = _prediction(function, prediction), checks.array(function, "target", target)
    if prediction.ndim < 2:
        raise checks.fail(function, "prediction", "of shape (batch, ..., k)", prediction)
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


def _sum(values: Array) -> Values:
    """Sum over all axes but the first."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def _as_column(dvalue: Values, like: Array) -> Array:
    """Reshape (batch,) to (batch, 1, …, 1), in the rank and dtype of `like`."""
    return dvalue.astype(like.dtype).reshape(dvalue.shape + (1,) * (like.ndim - 1))


def _mean(values: Array) -> Values:
    """Average over the positions, all axes but the first. Without positions, these are the values themselves."""
    return values if values.ndim == 1 else jnp.mean(values, axis=tuple(range(1, values.ndim)))


def _mean_backward(dvalue: Values, like: Array) -> Array:
    """Return dL / T in the shape (batch, 1, …, 1) and the dtype of `like` (batch, …, k), of T positions"""
    dvalue = _as_column(dvalue, like)
    return dvalue if like.ndim == 2 else dvalue / math.prod(like.shape[1:-1])


def _scale(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL · ∂L/∂a in the prediction's dtype, for losses whose forward keeps ∂L/∂a"""
    slope, like = residuals
    return (_as_column(dvalue, slope) * slope).astype(like.dtype)


def _squared_error(a: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = ½ ‖a - y‖²"""
    difference, target = _same_shape("squared_error", a, y)
    difference = difference - target
    return 0.5 * _sum(difference * difference), (difference, jnp.asarray(a)[:0])


def _squared_error_backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL (a - y)"""
    return _scale(residuals, dvalue)


def _sigmoid_cross_entropy(z: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = -Σ_k [y_k ln σ(z_k) + (1 - y_k) ln(1 - σ(z_k))] = Σ_k [max(z_k, 0) - y_k z_k + ln(1 + e^-|z_k|)]"""
    like, (z, y) = jnp.asarray(z)[:0], _same_shape("sigmoid_cross_entropy", z, y)
    e = jnp.exp(-jnp.maximum(z, -z))  # |z| by jnp.abs would have the derivative 1 at 0 under autodiff
    values = _sum(jnp.maximum(z, 0) - y * z + jnp.log1p(e))
    return values, (z >= 0, e, y, like)


def _sigmoid_cross_entropy_backward(residuals: tuple[Array, Array, Array, Array], dvalue: Values) -> Array:
    """dz = dL (σ(z) - y), σ(z) = 1 / (1 + e^-|z|) where z >= 0, else e^-|z| / (1 + e^-|z|)"""
    positive, e, y, like = residuals
    dvalue = _as_column(dvalue, e)
    return (jnp.where(positive, dvalue, dvalue * e) / (1 + e) - dvalue * y).astype(like.dtype)


def _softmax_cross_entropy(z: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = mean_t -Σ_k y_k ln p_k with p = softmax(z), ln p_k = z_k - max z - ln Σ_j e^(z_j - max z)"""
    like, labels = jnp.asarray(z)[:0], y if jnp.ndim(y) == jnp.ndim(z) - 1 else None
    z, y = _distribution("softmax_cross_entropy", z, y)
    z = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    e = jnp.exp(z)
    total = jnp.sum(e, axis=-1, keepdims=True)
    values = jnp.sum(jnp.where(y == 0, 0, y * (jnp.log(total) - z)), axis=-1)
    mass = jnp.sum(y, axis=-1, keepdims=True) if labels is None else 1
    return _mean(values), (e, mass / total, y, like)


def _softmax_cross_entropy_backward(residuals: tuple[Array, Array, Array, Array], dvalue: Values) -> Array:
    """dz = dL / T (p Σ_k y_k - y), p = e^z / Σ_j e^z_j; this is dL / T (p - y) if y is a distribution"""
    e, scale, y, like = residuals
    dvalue = _mean_backward(dvalue, e)
    return (e * (dvalue * scale) - dvalue * y).astype(like.dtype)


def _log(a: Array) -> tuple[Array, Array]:
    """Return ln a and its slope 1 / max(a, ε), both finite at a = 0.

    Below ε = eps² (5e-32 in float64, 1e-14 in float32) ln is replaced by its tangent at ε, ln ε + (a - ε) / ε.
    """
    epsilon = jnp.finfo(a.dtype).eps ** 2
    safe = jnp.maximum(a, epsilon)
    return jnp.where(a > epsilon, jnp.log(safe), jnp.log(epsilon).astype(a.dtype) + (a / epsilon - 1)), 1 / safe


def _binary_cross_entropy(a: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = -Σ_k [y_k ln a_k + (1 - y_k) ln(1 - a_k)]"""
    like, (a, y) = jnp.asarray(a)[:0], _same_shape("binary_cross_entropy", a, y)
    (log_a, slope_a), (log_b, slope_b) = _log(a), _log(1 - a)
    return -_sum(y * log_a + (1 - y) * log_b), ((1 - y) * slope_b - y * slope_a, like)


def _binary_cross_entropy_backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL ((1 - y) / (1 - a) - y / a)"""
    return _scale(residuals, dvalue)


def _negative_log_likelihood(a: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = mean_t -Σ_k y_k ln a_k, which is -ln a_y if y is a label"""
    like, (a, y) = jnp.asarray(a)[:0], _distribution("negative_log_likelihood", a, y)
    log_a, slope = _log(a)
    return _mean(-jnp.sum(y * log_a, axis=-1)), (-y * slope, like)


def _negative_log_likelihood_backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = -dL / T y / a"""
    slope, like = residuals
    return (_mean_backward(dvalue, slope) * slope).astype(like.dtype)


squared_error = Loss(_squared_error, _squared_error_backward, name="squared_error")
"""Squared error, also called quadratic cost, for regression.

L = ½ ‖a - y‖², da = dL (a - y)

Prediction and target have the same shape (batch, …).
"""

sigmoid_cross_entropy = Loss(
    _sigmoid_cross_entropy,
    _sigmoid_cross_entropy_backward,
    between_0_and_1("sigmoid_cross_entropy"),
    (("accuracy", binary_accuracy(0.0)),),
    "sigmoid_cross_entropy",
)
"""Binary cross-entropy from logits, summed over the labels of an example.

L = -Σ_k [y_k ln σ(z_k) + (1 - y_k) ln(1 - σ(z_k))], dz = dL (σ(z) - y)

Logits and targets have the same shape (batch, k) for k independent labels; targets are in [0, 1].
"""

softmax_cross_entropy = Loss(
    _softmax_cross_entropy,
    _softmax_cross_entropy_backward,
    labels_in_range("softmax_cross_entropy"),
    (("accuracy", accuracy),),
    "softmax_cross_entropy",
)
"""Cross-entropy from logits, for classification.

L = -Σ_k y_k ln p_k with p = softmax(z), dz = dL (p - y)

Logits have shape (batch, k). Targets are integer labels (batch,) in 0..k-1 or distributions (batch, k). With logits
(batch, …, k), such as those of a sequence of T positions, targets are labels (batch, …) or distributions (batch, …, k).
L is then the mean over the positions, and dz = dL / T (p - y).
"""

binary_cross_entropy = Loss(
    _binary_cross_entropy,
    _binary_cross_entropy_backward,
    between_0_and_1("binary_cross_entropy"),
    (("accuracy", binary_accuracy(0.5)),),
    "binary_cross_entropy",
)
"""Binary cross-entropy from probabilities, for networks that end in `sigmoid`.

L = -Σ_k [y_k ln a_k + (1 - y_k) ln(1 - a_k)], da = dL ((1 - y) / (1 - a) - y / a)

Shapes are those of `sigmoid_cross_entropy`, which is more accurate. The logarithm is replaced by its tangent near 0.
"""

negative_log_likelihood = Loss(
    _negative_log_likelihood,
    _negative_log_likelihood_backward,
    labels_in_range("negative_log_likelihood"),
    (("accuracy", accuracy),),
    "negative_log_likelihood",
)
"""Negative log-likelihood of the true class, for networks that end in `softmax`.

L = -Σ_k y_k ln a_k, da = -dL y / a

Shapes are those of `softmax_cross_entropy`, which is more accurate. The logarithm is replaced by its tangent near 0.
"""
