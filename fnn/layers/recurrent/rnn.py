"""The simple recurrent layer. Its backward is under its forward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import contract, widest
from fnn.init import Initializer, lecun_normal, orthogonal, zeros
from fnn.layers.activations import tanh
from fnn.layers.recurrent.products import memory_of, previous, project, project_backward, swap
from fnn.types import Layer, PRNGKey, Residuals, Stream


class RNN(NamedTuple):
    """The parameters of `rnn`: input weights W, recurrent weights U and biases b."""

    w: Float[Array, "n_in n"]
    u: Float[Array, "n n"]
    b: Float[Array, " n"]


def rnn(
    n_in: int,
    n: int,
    activation: Layer = tanh,
    w_init: Initializer = lecun_normal,
    u_init: Initializer = orthogonal,
    b_init: Initializer = zeros,
) -> Layer:
    """A simple recurrent layer (Elman 1990).

    z_t = x_t W + h_{t-1} U + b, h_t = g(z_t), y_t = h_t, h_0 = 0

    dh_t = dy_t + dz_{t+1} Uᵀ, dz_t = dh_t ∘ g'(z_t)

    dW = Σ_t x_tᵀ dz_t, dU = Σ_t h_{t-1}ᵀ dz_t, db = Σ_t dz_t, dx_t = dz_t Wᵀ

    Gradients vanish or explode over many positions (Bengio, Simard and Frasconi 1994); `gru` and `lstm` remember
    longer. With `activation=fnn.relu` and U = 1 (`u_init`) this is the IRNN (Le, Jaitly and Hinton 2015).

    Args:
      n_in: number of inputs per position.
      n: number of units, and so of outputs per position.
      activation: g, a layer without parameters that acts on each entry, such as `fnn.relu`.
      w_init: initialiser of W.
      u_init: initialiser of U.
      b_init: initialiser of b.

    Returns:
      A Layer with parameters `RNN(w, u, b)`, from x (batch, time, n_in) to y (batch, time, n). Its memory (see
      `fnn.Stream`) is h (batch, n).

    Raises:
      ValueError: if a size is not positive, or x, a parameter or the memory has another shape.
      TypeError: if `activation` is not a Layer.

    >>> layer = rnn(3, 4)
    >>> y, residuals = layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 7, 3)))
    >>> y.shape
    (5, 7, 4)
    """
    n_in, n = checks.positive_int("rnn", "n_in", n_in), checks.positive_int("rnn", "n", n)
    activation = checks.layer("rnn", "activation", activation)

    def init(key: PRNGKey) -> RNN:
        w_key, u_key, b_key = jax.random.split(key, 3)
        return RNN(w_init(w_key, (n_in, n)), u_init(u_key, (n, n)), b_init(b_key, (n,)))

    def start(params: RNN, batch: int) -> Array:
        """h_0 = 0"""
        checks.fields("rnn", params, RNN)
        return jnp.zeros((batch, n), params.u.dtype)

    def advance(params: RNN, memory: Array, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Array]:
        """z_t = x_t W + h_{t-1} U + b, h_t = g(z_t)"""
        w, u, b = checks.fields("rnn", params, RNN, w=(n_in, n), u=(n, n), b=(n,))
        x = checks.shaped("rnn", "x", x, ("batch", "time", n_in))
        dtype = widest(x, w, u, b, memory)
        h0, u, b = memory_of("rnn", memory, x, n, dtype), u.astype(dtype), b.astype(dtype)[None, :]

        def step(h: Array, a: Array) -> tuple[Array, tuple[Array, Residuals]]:
            h, r = activation.forward((), a + b + h @ u)
            return h, (h, r)

        h, (hs, r) = jax.lax.scan(step, h0, project(x, w, dtype))
        y = swap(hs)
        return y, (x, h0, y, r), h.astype(memory.dtype)

    def forward(params: RNN, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y_t = h_t, from h_0 = 0"""
        x = checks.shaped("rnn", "x", x, ("batch", "time", n_in))
        return advance(params, start(params, x.shape[0]), x)[:2]

    def backward(params: RNN, residuals: Residuals, dy: Array) -> tuple[RNN, Array]:
        """dz_t = (dy_t + dz_{t+1} Uᵀ) ∘ g'(z_t), dU = Σ_t h_{t-1}ᵀ dz_t, and the rest by `project_backward`"""
        x, h0, y, r = residuals
        u_transposed = params.u.astype(dy.dtype).T

        def step(dh: Array, xs: tuple[Array, Residuals]) -> tuple[Array, Array]:
            dy, r = xs
            dz = activation.backward((), r, dy + dh)[1]
            return dz @ u_transposed, dz

        _, dz = jax.lax.scan(step, jnp.zeros_like(dy[:, 0]), (swap(dy), r), reverse=True)
        dw, db, dx = project_backward(params.w, params.b, x, dz)
        du = contract("abi,abo->io", previous(h0, y), dz, like=params.u)
        return RNN(dw, du, db), dx

    return Layer(init, forward, backward, name=f"rnn({n_in}, {n})", stream=Stream(start, advance))
