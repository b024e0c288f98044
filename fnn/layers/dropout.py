"""Dropout. Its backward is under its forward."""

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from fnn import checks
from fnn.layers.streams import per_position
from fnn.types import Layer, Params, PRNGKey


def dropout(rate: float | Float[Array, ""]) -> Layer:
    """Inverted dropout: zero a random part of the entries (Srivastava et al. 2014).

    y = x ∘ mask / (1 - rate), dx = dy ∘ mask / (1 - rate)

    The division keeps the expected value of each entry. Without a key (evaluation mode) the layer is the identity.

    Args:
      rate: the probability that an entry is zeroed, in [0, 1). It may be traced, so that a sweep can vary it; a traced
        rate is not checked to be in this range.

    Returns:
      A Layer without parameters. x and y have any shape.

    Raises:
      ValueError: if `rate` is not in [0, 1), or is traced and no scalar.
      TypeError: if it is no number, or is traced and not floating point.

    >>> y, _ = dropout(0.5).forward((), jnp.ones((1, 1000)), jax.random.key(0))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """
    if isinstance(rate, Tracer):
        rate = checks.shaped("dropout", "rate", rate, ())
    else:
        rate = checks.fraction("dropout", "rate", rate)
    keep = 1.0 - rate

    def scaled(mask: Bool[Array, "..."], values: Array) -> Array:
        return jnp.where(mask, values / (keep.astype(values.dtype) if isinstance(keep, Array) else keep), 0)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Bool[Array, "..."] | None]:
        """y = x ∘ mask / (1 - rate)"""
        checks.no_params("dropout", params)
        x = checks.floating("dropout", "x", x)
        if key is None or (not isinstance(rate, Tracer) and rate == 0.0):
            return x, None
        mask = jax.random.bernoulli(key, keep, x.shape)
        return scaled(mask, x), mask

    def backward(params: Params, mask: Bool[Array, "..."] | None, dy: Array) -> tuple[Params, Array]:
        """dx = dy ∘ mask / (1 - rate)"""
        return (), dy if mask is None else scaled(mask, dy)

    name = "dropout(rate)" if isinstance(rate, Tracer) else f"dropout({rate})"
    return per_position(Layer(lambda key: (), forward, backward, name=name))
