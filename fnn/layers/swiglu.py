"""The gated feed-forward layer of transformers. Its backward is under its forward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal
from fnn.layers.matmul import weight_gradient
from fnn.layers.streams import per_position
from fnn.types import Layer, PRNGKey, Residuals


class SwiGLU(NamedTuple):
    """The parameters of `swiglu`: W₁ with the columns of A and B side by side, and W₂."""

    w_1: Float[Array, "d two_hidden"]
    w_2: Float[Array, "hidden d"]


def swiglu(d: int, hidden: int, w_init: Initializer = lecun_normal) -> Layer:
    """A gated feed-forward layer (Shazeer 2020).

    y = (silu(A) ∘ B) W₂, [A, B] = x W₁, silu(a) = a σ(a)

    With h = silu(A) ∘ B: dh = dy W₂ᵀ, dB = dh ∘ silu(A), dA = dh ∘ B ∘ σ(A) (1 + A (1 - σ(A)))

    dW₁ = Σ xᵀ [dA, dB], dW₂ = Σ hᵀ dy, dx = [dA, dB] W₁ᵀ

    There are no biases.

    Args:
      d: number of inputs and of outputs, the size of the last axis of x and y.
      hidden: number of hidden units.
      w_init: initialiser of W₁ and W₂.

    Returns:
      A Layer with parameters `SwiGLU(w_1, w_2)`. x and y have shape (batch, …, d).

    Raises:
      ValueError: if a size is not positive, or x or a parameter has another shape.

    >>> layer = swiglu(3, 8)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 7, 3)))[0].shape
    (5, 7, 3)
    """
    d, hidden = checks.positive_int("swiglu", "d", d), checks.positive_int("swiglu", "hidden", hidden)

    def init(key: PRNGKey) -> SwiGLU:
        key_1, key_2 = jax.random.split(key)
        return SwiGLU(w_init(key_1, (d, 2 * hidden)), w_init(key_2, (hidden, d)))

    def forward(params: SwiGLU, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = (silu(A) ∘ B) W₂, [A, B] = x W₁"""
        w_1, w_2 = checks.fields("swiglu", params, SwiGLU, w_1=(d, 2 * hidden), w_2=(hidden, d))
        x = checks.shaped("swiglu", "x", x, ("batch", "...", d))
        dtype = widest(x, w_1, w_2)
        a, b = jnp.split(x.astype(dtype) @ w_1.astype(dtype), 2, axis=-1)
        return (a * jax.nn.sigmoid(a) * b) @ w_2.astype(dtype), (x, a, b)

    def backward(params: SwiGLU, residuals: Residuals, dy: Array) -> tuple[SwiGLU, Array]:
        """dh = dy W₂ᵀ, dB = dh ∘ silu(A), dA = dh ∘ B ∘ σ(A) (1 + A (1 - σ(A)))"""
        w_1, w_2 = params
        x, a, b = residuals
        s = jax.nn.sigmoid(a)
        dh = dy @ w_2.astype(dy.dtype).T
        da, db = dh * b * (s * (1 + a * (1 - s))), dh * (a * s)
        dab = jnp.concatenate([da, db], axis=-1)
        dw_1, dw_2 = weight_gradient(x, dab, w_1), weight_gradient(a * s * b, dy, w_2)
        return SwiGLU(dw_1, dw_2), (dab @ w_1.astype(dab.dtype).T).astype(x.dtype)

    return per_position(Layer(init, forward, backward, name=f"swiglu({d}, {hidden})"), features=True)
