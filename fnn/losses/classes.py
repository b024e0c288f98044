"""Losses on classes: one for each example, or one for each position of a sequence."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from fnn import checks
from fnn.checks.targets import labels_in_range
from fnn.losses.parts import distribution, finite_log, mean_positions, mean_positions_backward
from fnn.metrics import Values, accuracy
from fnn.types import Loss


def _cross_entropy(function: str, z: ArrayLike, y: ArrayLike, epsilon: float) -> tuple[Values, Any]:
    """L = mean_t -Σ_k y'_k ln p_k with y' = (1 - ε) y + ε / k, ln p_k = z_k - max z - ln Σ_j e^(z_j - max z)"""
    like, labels = jnp.asarray(z)[:0], y if jnp.ndim(y) == jnp.ndim(z) - 1 else None
    z, y = distribution(function, z, y)
    y = y if epsilon == 0 else (1 - epsilon) * y + epsilon / y.shape[-1]
    z = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    e = jnp.exp(z)
    total = jnp.sum(e, axis=-1, keepdims=True)
    values = jnp.sum(jnp.where(y == 0, 0, y * (jnp.log(total) - z)), axis=-1)
    mass = jnp.sum(y, axis=-1, keepdims=True) if labels is None else 1
    return mean_positions(values), (e, mass / total, y, like)


def _softmax_cross_entropy(z: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = mean_t -Σ_k y_k ln p_k with p = softmax(z): ε = 0"""
    return _cross_entropy("softmax_cross_entropy", z, y, 0.0)


def _softmax_cross_entropy_backward(residuals: tuple[Array, Array, Array, Array], dvalue: Values) -> Array:
    """dz = dL / T (p Σ_k y_k - y), p = e^z / Σ_j e^z_j; this is dL / T (p - y) if y is a distribution"""
    e, scale, y, like = residuals
    dvalue = mean_positions_backward(dvalue, e)
    return (e * (dvalue * scale) - dvalue * y).astype(like.dtype)


def smoothed_cross_entropy(label_smoothing: float) -> Loss:
    """Cross-entropy from logits with label smoothing (Szegedy et al. 2016).

    It is `softmax_cross_entropy` of the target y' = (1 - ε) y + ε / k, with k classes: L = -Σ_k y'_k ln p_k with
    p = softmax(z), dz = dL (p - y')

    Args:
      label_smoothing: ε, in [0, 1). At 0 the loss is `softmax_cross_entropy`.

    Returns:
      A Loss. Shapes and targets, labels or distributions, are those of `softmax_cross_entropy`.

    Raises:
      ValueError: if `label_smoothing` is not in [0, 1).

    >>> loss = smoothed_cross_entropy(0.1)
    >>> loss.forward(jnp.array([[2.0, 0.0]]), jnp.array([0]))[0].round(4)
    Array([0.2269], dtype=float32)
    """
    epsilon = checks.fraction("smoothed_cross_entropy", "label_smoothing", label_smoothing)
    return _smoothed(epsilon)


@functools.lru_cache(maxsize=64)
def _smoothed(label_smoothing: float) -> Loss:
    """Return the same Loss for the same number, so that programs compiled for it are found again."""

    def forward(z: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
        """L = mean_t -Σ_k y'_k ln p_k with y' = (1 - ε) y + ε / k"""
        return _cross_entropy("smoothed_cross_entropy", z, y, label_smoothing)

    return softmax_cross_entropy._replace(
        forward=forward, validate=labels_in_range("smoothed_cross_entropy"), name="smoothed_cross_entropy"
    )


def _negative_log_likelihood(a: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = mean_t -Σ_k y_k ln a_k, which is -ln a_y if y is a label"""
    like, (a, y) = jnp.asarray(a)[:0], distribution("negative_log_likelihood", a, y)
    log_a, slope = finite_log(a)
    return mean_positions(-jnp.sum(y * log_a, axis=-1)), (-y * slope, like)


def _negative_log_likelihood_backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = -dL / T y / a"""
    slope, like = residuals
    return (mean_positions_backward(dvalue, slope) * slope).astype(like.dtype)


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
