"""Losses: a value per example beside its gradient with respect to the prediction.

a is the prediction (z if it is a logit), y the target, L the value of one example; `backward` takes dL per example
(batch,): the mean over the batch is taken in one place, `fnn.backprop`. The backward of the two losses on logits is
the notes' "dZ = A - Y". Values are computed in float32 at least.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fnn import checks
from fnn.dtypes import widest
from fnn.types import Loss

Values = Float[Array, " batch"]


def _prediction(function: str, prediction: ArrayLike) -> Array:
    prediction = checks.floating(function, "prediction", prediction)
    if prediction.ndim < 1:
        raise checks.fail(function, "prediction", "of shape (batch, ...)", prediction)
    return prediction


def _same_shape(function: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """Prediction and target in one dtype; (n,) against (n, 1) is refused, never broadcast."""
    prediction, target = _prediction(function, prediction), checks.array(function, "target", target)
    if prediction.shape != target.shape:
        expected = f"of the prediction's shape {tuple(prediction.shape)}"
        raise checks.fail(function, "target", expected, target)
    if jnp.issubdtype(target.dtype, jnp.complexfloating):
        raise checks.fail(function, "target", "real", target, TypeError)
    dtype = widest(prediction, jnp.float32)
    return prediction.astype(dtype), target.astype(dtype)


def _distribution(function: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """Prediction and target (batch, k); integer labels (batch,) become one-hot rows, NaN where out of range."""
    prediction, target = _prediction(function, prediction), checks.array(function, "target", target)
    if prediction.ndim != 2:
        raise checks.fail(function, "prediction", "of shape (batch, k)", prediction)
    batch, k = prediction.shape
    dtype = widest(prediction, jnp.float32)
    if target.ndim == 1:
        if not jnp.issubdtype(target.dtype, jnp.integer):
            expected = f"integer labels ({batch},) or distributions ({batch}, {k})"
            raise checks.fail(function, "target", expected, target, TypeError)
        if target.shape[0] != batch:
            raise checks.fail(function, "target", f"of shape ({batch},)", target)
        target = target.astype(jnp.int32)
        valid = (target >= 0) & (target < k)
        return prediction.astype(dtype), jnp.where(valid[:, None], jax.nn.one_hot(target, k, dtype=dtype), jnp.nan)
    if target.shape != prediction.shape:
        raise checks.fail(function, "target", f"labels ({batch},) or distributions ({batch}, {k})", target)
    if not jnp.issubdtype(target.dtype, jnp.floating):
        raise checks.fail(function, "target", "floating point if it holds distributions", target, TypeError)
    return prediction.astype(dtype), target.astype(dtype)


def _sum(values: Array) -> Values:
    """Σ over all axes but the first."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def _spread(dvalue: Values, like: Array) -> Array:
    """(batch,) as (batch, 1, …, 1)."""
    return dvalue.astype(like.dtype).reshape(dvalue.shape + (1,) * (like.ndim - 1))


def _scale(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL · ∂L/∂a, for the losses whose forward keeps ∂L/∂a; in the prediction's dtype."""
    slope, like = residuals
    return (_spread(dvalue, slope) * slope).astype(like.dtype)


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
    e = jnp.exp(-jnp.maximum(z, -z))  # not jnp.abs, whose derivative at 0 autodiff takes for 1
    values = _sum(jnp.maximum(z, 0) - y * z + jnp.log1p(e))
    return values, (z >= 0, e, y, like)


def _sigmoid_cross_entropy_backward(residuals: tuple[Array, Array, Array, Array], dvalue: Values) -> Array:
    """dz = dL (σ(z) - y), σ(z) = 1 / (1 + e^-|z|) where z >= 0, else e^-|z| / (1 + e^-|z|)"""
    positive, e, y, like = residuals
    dvalue = _spread(dvalue, e)
    return (jnp.where(positive, dvalue, dvalue * e) / (1 + e) - dvalue * y).astype(like.dtype)


def _softmax_cross_entropy(z: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = -Σ_k y_k ln p_k with p = softmax(z), ln p_k = z_k - max z - ln Σ_j e^(z_j - max z); y one-hot of a label"""
    like, labels = jnp.asarray(z)[:0], y if jnp.ndim(y) == 1 else None
    z, y = _distribution("softmax_cross_entropy", z, y)
    z = z - jax.lax.stop_gradient(jnp.max(z, axis=1, keepdims=True))
    e = jnp.exp(z)
    total = jnp.sum(e, axis=1, keepdims=True)
    values = jnp.sum(jnp.where(y == 0, 0, y * (jnp.log(total) - z)), axis=1)
    mass = jnp.sum(y, axis=1, keepdims=True) if labels is None else 1
    return values, (e, mass / total, y, like)


def _softmax_cross_entropy_backward(residuals: tuple[Array, Array, Array, Array], dvalue: Values) -> Array:
    """dz = dL (p Σ_k y_k - y), which is dL (p - y) for a distribution y; p Σ_k y_k = e^z (Σ_k y_k / Σ_j e^z_j)"""
    e, scale, y, like = residuals
    dvalue = _spread(dvalue, e)
    return (e * (dvalue * scale) - dvalue * y).astype(like.dtype)


def _log(a: Array) -> tuple[Array, Array]:
    """ln a and its slope 1 / max(a, ε), finite at 0: below ε = eps² (5e-32 in float64, 1e-14 in float32), where ln
    would fall without bound, its tangent at ε goes on instead, ln ε + (a - ε) / ε.
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
    """L = -Σ_k y_k ln a_k, which is -ln a_y for a label y"""
    like, (a, y) = jnp.asarray(a)[:0], _distribution("negative_log_likelihood", a, y)
    log_a, slope = _log(a)
    return -_sum(y * log_a), (-y * slope, like)


def _negative_log_likelihood_backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = -dL y / a"""
    return _scale(residuals, dvalue)


def accuracy(prediction: ArrayLike, target: ArrayLike) -> Values:
    """1 where the largest entry of the prediction (batch, k) is at the label (or at the target's largest entry)."""
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    labels = target if target.ndim == 1 else jnp.argmax(target, axis=-1)
    if prediction.ndim != 2 or target.shape not in (prediction.shape[:1], prediction.shape):
        expected = f"labels (batch,) or rows (batch, k) for a prediction (batch, k), {tuple(prediction.shape)}"
        raise checks.fail("accuracy", "target", expected, target)
    return (jnp.argmax(prediction, axis=-1).astype(labels.dtype) == labels).astype(jnp.float32)


def binary_accuracy(threshold: float) -> Callable[[Array, Array], Values]:
    """The share of entries on the target's side: prediction > threshold against target > ½ (0 for logits)."""

    def share(prediction: ArrayLike, target: ArrayLike) -> Values:
        prediction, target = jnp.asarray(prediction), jnp.asarray(target)
        if prediction.shape != target.shape:
            raise checks.fail("accuracy", "target", f"of the prediction's shape {tuple(prediction.shape)}", target)
        right = (prediction > threshold) == (target > 0.5)
        return jnp.mean(right.astype(jnp.float32), axis=tuple(range(1, right.ndim)))

    return share


def _labels_in_range(function: str):
    def validate(prediction_shape: tuple[int, ...], target: ArrayLike) -> None:
        """Labels must be 0..k-1, distributions non-negative."""
        values, k = np.asarray(target), prediction_shape[-1]
        if values.ndim == 1 and values.size and not (values.min() >= 0 and values.max() < k):
            raise checks.fail(function, "target", f"labels in 0..{k - 1}", came=f"{values.min()}..{values.max()}")
        if values.ndim == 2 and values.size and values.min() < 0:
            raise checks.fail(function, "target", "distributions without negative entries", came=f"{values.min()}")
        if values.ndim == 2 and values.size and np.abs(values.sum(axis=1) - 1).max() > 1e-3:
            sums = values.sum(axis=1)
            raise checks.fail(function, "target", "distributions that sum to 1", came=f"{sums.min()}..{sums.max()}")

    return validate


def _between_0_and_1(function: str):
    def validate(prediction_shape: tuple[int, ...], target: ArrayLike) -> None:
        """Each label is 0 or 1, or a probability between."""
        values = np.asarray(target)
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise checks.fail(function, "target", "labels in 0..1", came=f"{values.min()}..{values.max()}")

    return validate


squared_error = Loss(_squared_error, _squared_error_backward, name="squared_error")
"""½ ‖a - y‖² per example, the quadratic cost of the notes. a and y (batch, …)."""

sigmoid_cross_entropy = Loss(
    _sigmoid_cross_entropy,
    _sigmoid_cross_entropy_backward,
    _between_0_and_1("sigmoid_cross_entropy"),
    (("accuracy", binary_accuracy(0.0)),),
    "sigmoid_cross_entropy",
)
"""Binary cross-entropy from logits, summed over labels. z and y (batch, k): one label, or several independent ones."""

softmax_cross_entropy = Loss(
    _softmax_cross_entropy,
    _softmax_cross_entropy_backward,
    _labels_in_range("softmax_cross_entropy"),
    (("accuracy", accuracy),),
    "softmax_cross_entropy",
)
"""Cross-entropy from logits z (batch, k); y integer labels (batch,) or distributions (batch, k)."""

binary_cross_entropy = Loss(
    _binary_cross_entropy,
    _binary_cross_entropy_backward,
    _between_0_and_1("binary_cross_entropy"),
    (("accuracy", binary_accuracy(0.5)),),
    "binary_cross_entropy",
)
"""Binary cross-entropy from probabilities, the textbook form, for networks that end in sigmoid."""

negative_log_likelihood = Loss(
    _negative_log_likelihood,
    _negative_log_likelihood_backward,
    _labels_in_range("negative_log_likelihood"),
    (("accuracy", accuracy),),
    "negative_log_likelihood",
)
"""-ln of the true class's probability, the textbook form, for networks that end in softmax."""
