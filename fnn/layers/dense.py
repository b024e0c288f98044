"""Dense layers, and flatten. Each backward is under its forward.

X (batch, n_in) has one example per row, W is (n_in, n_out), b (n_out,). dX is the gradient of the cost with respect
to X, and so on. On sequences X (batch, time, n_in) a dense layer acts on each position alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.layers.activations import parameterless
from fnn.layers.matmul import column_sum, matmul, weight_gradient
from fnn.layers.streams import per_position
from fnn.types import Layer, PRNGKey


class Dense(NamedTuple):
    """The parameters of a dense layer: the weights W and the biases b."""

    w: Float[Array, "n_in n_out"]
    b: Float[Array, " n_out"]


def dense(n_in: int, n_out: int, w_init: Initializer = lecun_normal, b_init: Initializer = zeros) -> Layer:
    """A dense (fully connected) layer: Z = X W + b.

    dW = Xᵀ dZ, db = Σ_batch dZ, dX = dZ Wᵀ

    The sums of dW and db are over the batch and all other axes but the last.

    Args:
      n_in: number of inputs, the size of the last axis of x.
      n_out: number of outputs, the size of the last axis of z.
      w_init: initialiser of W, such as `fnn.init.he_normal`.
      b_init: initialiser of b.

    Returns:
      A Layer with parameters `Dense(w, b)`, from x (batch, …, n_in) to z (batch, …, n_out), of two axes or more.

    Raises:
      ValueError: if a size is not positive, or x or a parameter has another shape.

    >>> layer = dense(3, 2)
    >>> z, residuals = layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 3)))
    >>> z.shape
    (5, 2)
    """
    n_in, n_out = checks.positive_int("dense", "n_in", n_in), checks.positive_int("dense", "n_out", n_out)

    def init(key: PRNGKey) -> Dense:
        w_key, b_key = jax.random.split(key)
        return Dense(w_init(w_key, (n_in, n_out)), b_init(b_key, (n_out,)))

    def forward(params: Dense, x: Array, key: PRNGKey | None = None) -> tuple[Array, Array]:
        """Z = X W + b"""
        checks.fields("dense", params, Dense, w=(n_in, n_out), b=(n_out,))
        w, b = params.w, params.b
        x = checks.shaped("dense", "x", x, ("batch", "...", n_in))
        dtype = widest(x, w, b)
        return matmul(x.astype(dtype), w.astype(dtype)) + jnp.expand_dims(b.astype(dtype), range(x.ndim - 1)), x

    def backward(params: Dense, x: Array, dz: Array) -> tuple[Dense, Array]:
        """dW = Xᵀ dZ, db = Σ_batch dZ, dX = dZ Wᵀ"""
        w, b = params.w, params.b
        dw = weight_gradient(x, dz, w)
        db = column_sum(dz.astype(widest(dz, b)), w).astype(b.dtype)
        dx = matmul(dz, w.astype(dz.dtype).T).astype(x.dtype)
        return Dense(dw, db), dx

    return per_position(Layer(init, forward, backward, name=f"dense({n_in}, {n_out})"), features=True)


def _flatten(x: Array) -> tuple[Array, Array]:
    """y = x in the shape (batch, n); the residual is an empty slice of x"""
    if x.ndim < 2:
        raise checks.fail("flatten", "x", "of shape (batch, ...)", x)
    return x.reshape(x.shape[0], -1), x[:0]


def _flatten_backward(like: Array, dy: Array) -> Array:
    """dx = dy in the shape of x"""
    return dy.reshape(dy.shape[0], *like.shape[1:])


flatten = parameterless("flatten", _flatten, _flatten_backward)
"""Reshape each example to a vector: x (batch, …) to y (batch, n), as between convolutions and dense layers."""
