"""What the optimizers share: moments and coefficients in float32 at least, and the step -α · direction."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fnn import checks
from fnn.checks.host_values import python_scalar, value_of
from fnn.dtypes import wide, widened
from fnn.types import Params

Schedule = Callable[[Int[Array, ""]], Any]
LearningRate = float | Float[Array, ""] | Schedule


def start() -> Int[Array, ""]:
    """Return the number of updates made before the first."""
    return jnp.zeros((), jnp.int32)


def zeros(params: Params) -> Params:
    """Return zeros in float32 at least: an average with β = 0.999 does not move in bfloat16."""
    return jax.tree.map(jnp.zeros_like, widened(params))


def rest(beta: float | Array) -> float | Array:
    """Return 1 - β, in float32 at least."""
    return 1 - (widened(beta) if hasattr(beta, "dtype") else beta)


def blend(a: float | Array, x: Params, b: float | Array, y: Params) -> Params:
    """Return a·x + b·y, leaf by leaf, in the dtype of each leaf of x."""
    return jax.tree.map(lambda p, q: jnp.asarray(a, p.dtype) * p + jnp.asarray(b, p.dtype) * q.astype(p.dtype), x, y)


def check_coefficients(function: str, learning_rate: LearningRate, **coefficients: Any) -> None:
    """Raise if the learning rate is negative or a coefficient is not in [0, 1). Traced values are not checked."""
    if not callable(learning_rate):
        checks.number(function, "learning_rate", learning_rate, minimum=0.0)
    for name, value in coefficients.items():
        checks.number(function, name, value, minimum=0.0)
        if value_of(value, 0) >= 1:
            raise checks.fail(function, name, "in [0, 1)", python_scalar(value))


def descend(learning_rate: LearningRate, step: Int[Array, ""], direction: Params, like: Params) -> Params:
    """Return -α · direction, in the dtypes of `like`. The direction may be None for leaves that are not trained."""
    alpha = learning_rate(step) if callable(learning_rate) else learning_rate

    def update(d: Array | None, p: Array) -> Array | None:
        if d is None:
            return None
        u = -jnp.asarray(alpha, d.dtype) * d
        return u.astype(p.dtype) if wide(p) == u.dtype else u

    return jax.tree.map(update, widened(direction), like, is_leaf=lambda d: d is None)


def updates_like(gradients: Params, params: Params | None) -> Params:
    """Return the tree whose dtypes the updates have."""
    return gradients if params is None else params
