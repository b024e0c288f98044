"""The Huber loss, for regression on targets with outliers."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from fnn import checks
from fnn.checks.host_values import python_scalar
from fnn.losses.parts import same_shape, scale_slope, sum_entries
from fnn.metrics import Values
from fnn.types import Loss


def huber(delta: float = 1.0) -> Loss:
    """Huber's loss: a squared error that grows linearly for large errors (Huber 1964).

    L = Σ_k h(e_k), e = a - y, with h(e) = ½ e² where |e| <= δ, else δ |e| - ½ δ²

    da = dL max(-δ, min(δ, e))

    Args:
      delta: δ, the largest error that counts as a square, in the units of the target; above 0.

    Returns:
      A Loss. Prediction and target have the same shape (batch, …).

    Raises:
      ValueError or TypeError: if `delta` is not a finite number above 0.

    >>> huber(1.0).forward(jnp.array([[0.5], [3.0]]), jnp.zeros((2, 1)))[0]
    Array([0.125, 2.5  ], dtype=float32)
    """
    checks.number("huber", "delta", delta, minimum=0.0)
    if float(delta) == 0:
        raise checks.fail("huber", "delta", "above 0", delta)
    return _huber(float(python_scalar(delta)))


@functools.lru_cache(maxsize=64)
def _huber(delta: float) -> Loss:
    """Return the same Loss for the same number, so that programs compiled for it are found again."""
    return Loss(functools.partial(_forward, delta), _backward, name=f"huber({delta:g})")


# functions of the module, which pickle can write, as estimators with a Huber loss are pickled
def _forward(delta: float, a: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
    """L = Σ_k h(e_k), h(e) = ½ e² where |e| <= δ, else δ |e| - ½ δ²"""
    prediction, target = same_shape("huber", a, y)
    e = prediction - target
    size = jnp.maximum(e, -e)
    values = sum_entries(jnp.where(size <= delta, 0.5 * e * e, delta * size - 0.5 * delta**2))
    return values, (jnp.clip(e, -delta, delta), jnp.asarray(a)[:0])


def _backward(residuals: tuple[Array, Array], dvalue: Values) -> Array:
    """da = dL max(-δ, min(δ, e))"""
    return scale_slope(residuals, dvalue)
