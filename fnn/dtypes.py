"""Explicit dtypes, so that fnn's own code never relies on implicit promotion."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike


def widest(*values: Array | DTypeLike) -> jnp.dtype:
    """Return the dtype that holds all of these without loss.

    For bfloat16 and float16, for example, that is float32.

    >>> import jax.numpy as jnp
    >>> widest(jnp.bfloat16, jnp.zeros(2, jnp.float32))
    dtype('float32')
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*(getattr(value, "dtype", value) for value in values))


def wide(value: Array | DTypeLike) -> jnp.dtype:
    """Return the dtype to accumulate in: float32 at least for floating point values, else that of the value.

    >>> wide(jnp.bfloat16), wide(jnp.int32)
    (dtype('float32'), dtype('int32'))
    """
    dtype = jnp.dtype(getattr(value, "dtype", value))
    return jnp.dtype(jnp.float32) if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32 else dtype


def at_least_int32(value: Array | DTypeLike) -> jnp.dtype:
    """Return the dtype to compare labels in: int32 for booleans and narrower integers, else that of the value.

    >>> at_least_int32(jnp.uint8), at_least_int32(jnp.uint32)
    (dtype('int32'), dtype('uint32'))
    """
    dtype = jnp.dtype(getattr(value, "dtype", value))
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.int32)


def widened(tree: Any) -> Any:
    """Return a tree with its floating point leaves in float32 at least. Wider leaves stay as they are."""
    return jax.tree.map(lambda leaf: leaf if wide(leaf) == leaf.dtype else leaf.astype(wide(leaf)), tree)


def contract(spec: str, a: Array, b: Array, like: Array) -> Array:
    """Return einsum(spec, a, b), accumulated in at least the dtype of `like`.

    The result has the dtype of `like`.

    On the CPU, narrow factors are widened first: XLA has no CPU kernel for some bfloat16 products with a float32
    result (jax 0.10).
    """
    dtype = widest(a, b)
    total = widest(dtype, like)
    product = lambda dtype: (
        lambda a, b: jnp.einsum(spec, a.astype(dtype), b.astype(dtype), preferred_element_type=total)
    )
    if dtype == total:
        return product(dtype)(a, b).astype(like.dtype)
    return jax.lax.platform_dependent(a, b, cpu=product(total), default=product(dtype)).astype(like.dtype)


def is_key(leaf: Any) -> bool:
    """Return True if this is an array of typed PRNG keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
