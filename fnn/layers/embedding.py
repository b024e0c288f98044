"""Embeddings of ids. The backward is under its forward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fnn import checks
from fnn.checks.targets import inputs
from fnn.dtypes import at_least_int32, wide, widest
from fnn.init import Initializer, normal
from fnn.layers.streams import per_position
from fnn.types import Layer, PRNGKey

_standard_normal = normal(1.0)


class Embedding(NamedTuple):
    """The parameters of `embedding`: W, with one row for each id."""

    w: Float[Array, "n d"]


def embedding(n: int, d: int, w_init: Initializer = _standard_normal) -> Layer:
    """An embedding (Bengio et al. 2003): y = row x of W, for integer ids x in 0..n-1.

    dW_k = Σ_{t: x_t = k} dy_t

    The ids have no gradient: dx is zeros of the dtype `jax.dtypes.float0`, as `jax.vjp` returns them. An id out of
    range is an error where the layer sees its value, on the host. Inside a compiled program its output is NaN, and it
    changes no row of dW.

    Args:
      n: number of ids, the size of the vocabulary.
      d: number of features of each id.
      w_init: initialiser of W.

    Returns:
      A Layer with parameters `Embedding(w)`, from ids x (batch, …) of any integer dtype to y (batch, …, d).

    Raises:
      ValueError: if a size is not positive, a parameter has another shape, or an id is out of range.
      TypeError: if x is not an array of integers.

    >>> layer = embedding(5, 2)
    >>> params = Embedding(w=jnp.arange(10.0).reshape(5, 2))
    >>> y, ids = layer.forward(params, jnp.array([[4, 0]]))
    >>> y
    Array([[[8., 9.],
            [0., 1.]]], dtype=float32)
    """
    n, d = checks.positive_int("embedding", "n", n), checks.positive_int("embedding", "d", d)

    def init(key: PRNGKey) -> Embedding:
        return Embedding(w_init(key, (n, d)))

    def forward(params: Embedding, x: Array, key: PRNGKey | None = None) -> tuple[Array, Array]:
        """y_t = row x_t of W"""
        (w,) = checks.fields("embedding", params, Embedding, w=(n, d))
        x = inputs("embedding", "x", checks.array("embedding", "x", x), n)
        if x.ndim < 1:
            raise checks.fail("embedding", "x", "ids of shape (batch, ...)", x)
        return jnp.asarray(w).at[in_range_or_n(x)].get(mode="fill", fill_value=jnp.nan), x

    def backward(params: Embedding, x: Array, dy: Array) -> tuple[Embedding, np.ndarray]:
        """dW_k = Σ_{t: x_t = k} dy_t"""
        dtype = wide(widest(dy, params.w))
        dw = jnp.zeros((n, d), dtype).at[in_range_or_n(x)].add(dy.astype(dtype), mode="drop")
        return Embedding(dw.astype(params.w.dtype)), np.zeros(x.shape, jax.dtypes.float0)

    def in_range_or_n(x: Int[Array, "..."]) -> Int[Array, "..."]:
        """Return the ids with n, which is out of range, for negative ones: JAX would count those from the end."""
        x = x.astype(at_least_int32(x))
        return jnp.where(x < 0, jnp.asarray(n, x.dtype), x)

    layer = Layer(init, forward, backward, name=f"embedding({n}, {d})", vocabulary=n)
    return per_position(layer)
