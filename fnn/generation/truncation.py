"""Truncation of a distribution to its most probable ids, before one of them is drawn."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def truncate(
    logits: Float[Array, "batch k"], top_k: int | None, top_p: Float[Array, ""] | None
) -> Float[Array, "batch k"]:
    """Return the logits with -∞ for the ids that are left out.

    The `top_k` largest logits are kept (Fan, Lewis and Dauphin 2018), and of these the smallest set of the largest
    whose probabilities, renormalised, sum to at least `top_p` (Holtzman et al. 2020). Of equal logits, the smaller ids
    are kept first, so that exactly that many are kept.

    Args:
      logits: logits (batch, k).
      top_k: how many are kept at most. None, or a number of at least k: all.
      top_p: p in (0, 1], a scalar. None or 1: all.

    >>> logits = jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1]]))
    >>> jnp.exp(truncate(logits, 3, jnp.array(0.6))).round(1)
    Array([[0.4, 0.3, 0. , 0. ]], dtype=float32)
    """
    k = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
    if k == logits.shape[-1] and top_p is None:
        return logits
    largest = jax.lax.top_k(logits, k)[0]
    count = jnp.full((*logits.shape[:-1], 1), k, jnp.int32)
    if top_p is not None:
        p = jax.nn.softmax(largest, axis=-1)
        before = jnp.cumsum(p, axis=-1)[..., :-1]
        needed = 1 + jnp.sum(before < top_p.astype(p.dtype), axis=-1, keepdims=True, dtype=jnp.int32)
        count = jnp.where(top_p >= 1, count, needed)  # a sum of probabilities may reach 1 before the last, by rounding
    smallest = jnp.take_along_axis(largest, count - 1, axis=-1)
    above, equal = logits > smallest, logits == smallest
    room = count - jnp.sum(above, axis=-1, keepdims=True, dtype=jnp.int32)
    keep = above | (equal & (jnp.cumsum(equal, axis=-1, dtype=jnp.int32) <= room))
    return jnp.where(keep, logits, -jnp.inf)
