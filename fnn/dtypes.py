"""Explicit dtypes, so that fnn's own code never relies on implicit promotion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike


def widest(*values: Array | DTypeLike) -> jnp.dtype:
    """The dtype that holds all of these without loss: float32 for bfloat16 and float16.

    >>> import jax.numpy as jnp
    >>> widest(jnp.bfloat16, jnp.zeros(2, jnp.float32))
    dtype('float32')
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*(getattr(value, "dtype", value) for value in values))


def contract(spec: str, a: Array, b: Array, like: Array) -> Array:
    """einsum(spec, a, b), accumulated in at least the dtype of `like` and returned in it."""
    dtype = widest(a, b)
    out = jnp.einsum(spec, a.astype(dtype), b.astype(dtype), preferred_element_type=widest(dtype, like))
    return out.astype(like.dtype)
