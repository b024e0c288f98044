"""Rotary positions. Their backward is under their forward."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fnn.dtypes import wide

BASE = 10000.0


def angles(positions: Int[Array, " time"], d: int, like: Array) -> Float[Array, "time half"]:
    """θ_ti = t ω_i with ω_i = 10000^(-2i/d), i in 0..d/2-1; in float32 at least"""
    dtype = wide(like)
    exponents = jnp.arange(0, d, 2, dtype=dtype) * (-1.0 / d)
    return positions.astype(dtype)[:, None] * jnp.power(jnp.asarray(BASE, dtype), exponents)[None, :]


def rotate(x: Float[Array, "... time d"], theta: Float[Array, "time half"]) -> Float[Array, "... time d"]:
    """(a, b) -> (a cos θ - b sin θ, b cos θ + a sin θ) for a, b the two halves of the last axis (Su et al. 2021)"""
    cos, sin = (jnp.expand_dims(f(theta), range(x.ndim - 2)) for f in (jnp.cos, jnp.sin))
    a, b = jnp.split(x.astype(theta.dtype), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


def rotate_backward(dy: Float[Array, "... time d"], theta: Float[Array, "time half"]) -> Float[Array, "... time d"]:
    """The transpose of a rotation is the rotation by -θ."""
    return rotate(dy, -theta)
