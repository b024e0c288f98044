"""Dropout. Its backward is under its forward."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from fnn import checks
from fnn.layers.streams import per_position
from fnn.types import Layer, Params, PRNGKey


def dropout(rate: float) -> Layer:
    """Inverted dropout: zero a random part of the entries (Srivastava et al. 2014).

    y = x ∘ mask / (1 - rate), dx = dy ∘ mask / (1 - rate)

    The division keeps the expected value of each entry. Without a key (evaluation mode) the layer is the identity.

    Args:
      rate: the probability that an entry is zeroed, in [0, 1).

    Returns:
      A Layer without parameters. x and y have any shape.

    Raises:
      ValueError: if `rate` is not in [0, 1).

    >>> y, _ = dropout(0.5).forward((), jnp.ones((1, 1000)), jax.random.key(0))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """
    rate = checks.fraction("dropout", "rate", rate)
    keep = 1.0 - rate

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Bool[Array, "..."] | None]:
        """y = x ∘ mask / (1 - rate)"""
        checks.no_params("dropout", params)
        x = checks.floating("dropout", "x", x)
        if key is None or rate == 0.0:
            return x, None
        mask = jax.random.bernoulli(key, keep, x.shape)
        return jnp.where(mask, x / keep, 0), mask

    def backward(params: Params, mask: Bool[Array, "..."] | None, dy: Array) -> tuple[Params, Array]:
        """dx = dy ∘ mask / (1 - rate)"""
        return (), dy if mask is None else jnp.where(mask, dy / keep, 0)

    return per_position(Layer(lambda key: (), forward, backward, name=f"dropout({rate})"))
