"""Sequences of tokens: how many of them count."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fnn import checks
from fnn.metrics import not_ignored


def token_weights(y: ArrayLike, ignore: int = -100) -> Float[Array, " batch"]:
    """Count the tokens of each sequence whose label is not `ignore`.

    As the weights of a batch `(x, y, weight)`, the counts make the cost the mean over all tokens of the batch, where
    the value of a sequence is the mean over its own tokens, as of `fnn.token_cross_entropy`. Metrics become means over
    all tokens too.

    Args:
      y: integer labels (batch, …).
      ignore: the label of tokens that do not count.

    Returns:
      float32 counts (batch,). A sequence without tokens has weight 0.

    Raises:
      TypeError: if y holds no integers, or `ignore` is not an integer.

    >>> token_weights(jnp.array([[3, 1, 2], [4, -100, -100]]))
    Array([3., 1.], dtype=float32)
    """
    y, ignore = checks.array("token_weights", "y", y), checks.integer("token_weights", "ignore", ignore)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise checks.fail("token_weights", "y", "integer labels", y, TypeError)
    if y.ndim < 1:
        raise checks.fail("token_weights", "y", "of shape (batch, ...)", y)
    return jnp.sum(not_ignored(y, ignore), axis=tuple(range(1, y.ndim)), dtype=jnp.float32)
