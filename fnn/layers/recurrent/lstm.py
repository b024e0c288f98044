"""Long short-term memory. Its backward is under its forward."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import contract, wide, widened, widest
from fnn.init import Initializer, lecun_normal, orthogonal
from fnn.layers.recurrent.products import each_gate, memory_of, previous, project, project_backward, swap
from fnn.types import Layer, PRNGKey, Residuals, Stream


class LSTM(NamedTuple):
    """The parameters of `lstm`, with the columns of its gates i, f, g, o side by side."""

    w: Float[Array, "n_in 4*n"]
    u: Float[Array, "n 4*n"]
    b: Float[Array, " 4*n"]


class LSTMMemory(NamedTuple):
    """What `lstm` remembers: the output h and the cell c, each (batch, n)."""

    h: Float[Array, "batch n"]
    c: Float[Array, "batch n"]


def lstm(
    n_in: int,
    n: int,
    forget_bias: float = 1.0,
    w_init: Initializer = lecun_normal,
    u_init: Initializer = orthogonal,
) -> Layer:
    """Long short-term memory (Hochreiter and Schmidhuber 1997).

    It has a forget gate (Gers, Schmidhuber and Cummins 2000):

    z_t = x_t W + h_{t-1} U + b; i, f, o = σ(z_i), σ(z_f), σ(z_o), g = tanh(z_g)

    c_t = f ∘ c_{t-1} + i ∘ g, h_t = o ∘ tanh(c_t), y_t = h_t, h_0 = c_0 = 0

    With τ = tanh(c_t), from the last position to the first:

    dh_t = dy_t + dz_{t+1} Uᵀ, dc_t = f_{t+1} ∘ dc_{t+1} + dh_t ∘ o (1 - τ²)

    dz_i = dc_t ∘ g i (1 - i), dz_f = dc_t ∘ c_{t-1} f (1 - f), dz_g = dc_t ∘ i (1 - g²), dz_o = dh_t ∘ τ o (1 - o)

    dW = Σ_t x_tᵀ dz_t, dU = Σ_t h_{t-1}ᵀ dz_t, db = Σ_t dz_t, dx_t = dz_t Wᵀ

    The gates are in the order i, f, g, o, which is PyTorch's; there, b is the sum of two biases.

    Args:
      n_in: number of inputs per position.
      n: number of units, and so of outputs per position.
      forget_bias: the initial bias of the forget gate. At 1 the cell remembers from the start (Jozefowicz, Zaremba and
        Sutskever 2015). All other biases begin at 0.
      w_init: initialiser of W, (n_in, 4 n).
      u_init: initialiser of the part (n, n) of U of each gate.

    Returns:
      A Layer with parameters `LSTM(w, u, b)`, from x (batch, time, n_in) to y (batch, time, n). Its memory (see
      `fnn.Stream`) is the pair (h, c), each (batch, n); c is in float32 at least.

    Raises:
      ValueError: if a size is not positive, or x, a parameter or the memory has another shape.

    >>> layer = lstm(3, 4)
    >>> y, residuals = layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 7, 3)))
    >>> y.shape
    (5, 7, 4)
    """
    n_in, n = checks.positive_int("lstm", "n_in", n_in), checks.positive_int("lstm", "n", n)
    checks.number("lstm", "forget_bias", forget_bias)

    def init(key: PRNGKey) -> LSTM:
        w_key, u_key = jax.random.split(key)
        w, u = w_init(w_key, (n_in, 4 * n)), each_gate(u_init, u_key, n, 4)
        return LSTM(w, u, jnp.zeros(4 * n, w.dtype).at[n : 2 * n].set(forget_bias))

    def start(params: LSTM, batch: int) -> LSTMMemory:
        """h_0 = c_0 = 0"""
        checks.fields("lstm", params, LSTM)
        return LSTMMemory(jnp.zeros((batch, n), params.u.dtype), jnp.zeros((batch, n), wide(params.u)))

    def advance(
        params: LSTM, memory: LSTMMemory, x: Array, key: PRNGKey | None = None
    ) -> tuple[Array, Residuals, LSTMMemory]:
        """c_t = f ∘ c_{t-1} + i ∘ g, h_t = o ∘ tanh(c_t)"""
        w, u, b = checks.fields("lstm", params, LSTM, w=(n_in, 4 * n), u=(n, 4 * n), b=(4 * n,))
        x = checks.shaped("lstm", "x", x, ("batch", "time", n_in))
        h, c = memory
        dtype = widest(x, w, u, b, h)
        h0, c0 = memory_of("lstm", h, x, n, dtype), memory_of("lstm", c, x, n, widest(c, wide(dtype)))
        u, b = u.astype(dtype), b.astype(dtype)[None, :]

        def step(memory: LSTMMemory, a: Array) -> tuple[LSTMMemory, tuple[Array, Residuals]]:
            z = (a + b + memory.h @ u).astype(c0.dtype)
            i, f, g, o = (squash(z_gate) for squash, z_gate in zip(_SQUASH, jnp.split(z, 4, axis=1), strict=True))
            c = f * memory.c + i * g
            h = (o * jnp.tanh(c)).astype(dtype)
            return LSTMMemory(h, c), (h, tuple(r.astype(dtype) for r in (i, f, g, o, memory.c)))

        end, (hs, gates) = jax.lax.scan(step, LSTMMemory(h0, c0), project(x, w, dtype))
        y = swap(hs)
        after = LSTMMemory(end.h.astype(h.dtype), end.c.astype(c.dtype))
        return y, (x, h0, y, gates, end.c), after

    def forward(params: LSTM, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y_t = h_t, from h_0 = c_0 = 0"""
        x = checks.shaped("lstm", "x", x, ("batch", "time", n_in))
        return advance(params, start(params, x.shape[0]), x)[:2]

    def backward(params: LSTM, residuals: Residuals, dy: Array) -> tuple[LSTM, Array]:
        """dh_t = dy_t + dz_{t+1} Uᵀ, dc_t = f_{t+1} ∘ dc_{t+1} + dh_t ∘ o (1 - τ²), and dz as above"""
        x, h0, y, gates, last_c = residuals
        u_transposed = params.u.astype(dy.dtype).T

        def step(carry: tuple[Array, Array, Array], xs: tuple[Array, Residuals]):
            dh, dc, c = carry
            dy, gates = xs
            i, f, g, o, previous_c = widened(gates)
            dh = widened(dy) + dh
            tau = jnp.tanh(c)
            dc = dc + dh * o * (1 - tau * tau)
            dz = (dc * g * i * (1 - i), dc * previous_c * f * (1 - f), dc * i * (1 - g * g), dh * tau * o * (1 - o))
            dz = jnp.concatenate(dz, axis=1).astype(dy.dtype)
            return ((dz @ u_transposed).astype(dh.dtype), f * dc, previous_c), dz

        last_c = last_c.astype(wide(dy))
        carry = jnp.zeros_like(last_c), jnp.zeros_like(last_c), last_c
        _, dz = jax.lax.scan(step, carry, (swap(dy), gates), reverse=True)
        dw, db, dx = project_backward(params.w, params.b, x, dz)
        du = contract("abi,abo->io", previous(h0, y), dz, like=params.u)
        return LSTM(dw, du, db), dx

    return Layer(init, forward, backward, name=f"lstm({n_in}, {n})", stream=Stream(start, advance))


_SQUASH = (jax.nn.sigmoid, jax.nn.sigmoid, jnp.tanh, jax.nn.sigmoid)
"""The functions of the gates i, f, g, o."""
