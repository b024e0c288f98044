"""Root mean square normalization. Its backward is under its forward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import wide, widened, widest
from fnn.layers.streams import per_position
from fnn.types import Layer, PRNGKey, Residuals


class RMSNorm(NamedTuple):
    """The parameters of `rms_norm`: the scale γ."""

    gamma: Float[Array, " n"]


def rms_norm(n: int, epsilon: float = 1e-5) -> Layer:
    """Root mean square normalization (Zhang and Sennrich 2019).

    y = γ ∘ x̂, x̂ = x / s, s = √(mean(x²) + ε), with the mean over the last axis

    dγ = Σ dy ∘ x̂, dx̂ = dy ∘ γ, dx = (dx̂ - x̂ mean(dx̂ ∘ x̂)) / s

    Unlike `layer_norm` it subtracts no mean and has no shift. It is computed in float32 at least.

    Args:
      n: number of features, the size of the last axis of x.
      epsilon: ε, added to the mean square.

    Returns:
      A Layer with parameters `RMSNorm(gamma)`. x and y have shape (batch, …, n).

    Raises:
      ValueError: if an argument is invalid, or x or a parameter has another shape.

    >>> layer = rms_norm(2)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.array([[3.0, -3.0]]))[0].round(1)
    Array([[ 1., -1.]], dtype=float32)
    """
    n = checks.positive_int("rms_norm", "n", n)
    checks.number("rms_norm", "epsilon", epsilon, minimum=0.0)

    def init(key: PRNGKey) -> RMSNorm:
        return RMSNorm(jnp.ones(n, jnp.float32))

    def forward(params: RMSNorm, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = γ ∘ x̂, x̂ = x / √(mean(x²) + ε)"""
        (gamma,) = checks.fields("rms_norm", params, RMSNorm, gamma=(n,))
        x = checks.shaped("rms_norm", "x", x, ("batch", "...", n))
        dtype = widest(x, gamma)
        z = x.astype(wide(dtype))
        inverse = jax.lax.rsqrt(jnp.mean(z * z, -1, keepdims=True) + epsilon)
        xhat = z * inverse
        y = jnp.expand_dims(gamma.astype(z.dtype), range(z.ndim - 1)) * xhat
        return y.astype(dtype), (xhat.astype(dtype), inverse, x[:0])

    def backward(params: RMSNorm, residuals: Residuals, dy: Array) -> tuple[RMSNorm, Array]:
        """dγ = Σ dy ∘ x̂, dx̂ = dy ∘ γ, dx = (dx̂ - x̂ mean(dx̂ ∘ x̂)) / s"""
        (gamma,) = params
        xhat, inverse, like = residuals
        xhat, dy = widened(xhat), widened(dy)
        dgamma = jnp.sum(dy * xhat, tuple(range(dy.ndim - 1)), dtype=wide(widest(dy, gamma)))
        dxhat = dy * jnp.expand_dims(gamma.astype(dy.dtype), range(dy.ndim - 1))
        dx = (dxhat - xhat * jnp.mean(dxhat * xhat, -1, keepdims=True)) * inverse
        return RMSNorm(dgamma.astype(gamma.dtype)), dx.astype(like.dtype)

    return per_position(Layer(init, forward, backward, name=f"rms_norm({n})"), features=True)
