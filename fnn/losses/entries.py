"""Losses on entries, each with a target of its own: regression, and independent labels."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from fnn.checks.targets import between_0_and_1
from fnn.losses.parts import as_column, finite_log, same_shape, scale_slope, sum_entries
from fnn.metrics import Values, binary_accuracy
from fnn.types import Loss


def _squared_error(a: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = ½ ‖a - y‖²"""
    difference, target = same_shape("squared_error", a, y)
    difference = difference - target
    return 0.5 * sum_entries(difference * difference), (difference, jnp.asarray(a)[:0])


def _squared_error_backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL (a - y)"""
    return scale_slope(residuals, dvalue)


def _sigmoid_cross_entropy(z: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = -Σ_k [y_k ln σ(z_k) + (1 - y_k) ln(1 - σ(z_k))] = Σ_k [max(z_k, 0) - y_k z_k + ln(1 + e^-|z_k|)]"""
    like, (z, y) = jnp.asarray(z)[:0], same_shape("sigmoid_cross_entropy", z, y)
    e = jnp.exp(-jnp.maximum(z, -z))  # |z| by jnp.abs would have the derivative 1 at 0 under autodiff
    values = sum_entries(jnp.maximum(z, 0) - y * z + jnp.log1p(e))
    return values, (z >= 0, e, y, like)


def _sigmoid_cross_entropy_backward(residuals: tuple[Array, Array, Array, Array], dvalue: Values) -> Array:
    """dz = dL (σ(z) - y), σ(z) = 1 / (1 + e^-|z|) where z >= 0, else e^-|z| / (1 + e^-|z|)"""
    positive, e, y, like = residuals
    dvalue = as_column(dvalue, e)
    return (jnp.where(positive, dvalue, dvalue * e) / (1 + e) - dvalue * y).astype(like.dtype)


def _binary_cross_entropy(a: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = -Σ_k [y_k ln a_k + (1 - y_k) ln(1 - a_k)]"""
    like, (a, y) = jnp.asarray(a)[:0], same_shape("binary_cross_entropy", a, y)
    (log_a, slope_a), (log_b, slope_b) = finite_log(a), finite_log(1 - a)
    return -sum_entries(y * log_a + (1 - y) * log_b), ((1 - y) * slope_b - y * slope_a, like)


def _binary_cross_entropy_backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL ((1 - y) / (1 - a) - y / a)"""
    return scale_slope(residuals, dvalue)


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
