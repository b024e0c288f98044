"""Gated recurrent units. Each backward is under its forward."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import contract, wide, widened, widest
from fnn.init import Initializer, lecun_normal, orthogonal
from fnn.layers.recurrent.products import (
    each_gate,
    memory_of,
    previous,
    project,
    project_backward,
    sum_positions,
    swap,
)
from fnn.types import Layer, PRNGKey, Residuals, Stream


class GRU(NamedTuple):
    """The parameters of `gru`, with the columns of r, z, n side by side. c is None if `reset_after` is False."""

    w: Float[Array, "n_in 3*n"]
    u: Float[Array, "n 3*n"]
    b: Float[Array, " 3*n"]
    c: Float[Array, " n"] | None = None


def gru(
    n_in: int,
    n: int,
    reset_after: bool = True,
    w_init: Initializer = lecun_normal,
    u_init: Initializer = orthogonal,
) -> Layer:
    """Gated recurrent units (Cho et al. 2014).

    a_t = x_t W + b; r = σ(a_r + h_{t-1} U_r), z = σ(a_z + h_{t-1} U_z)

    h_t = (1 - z) ∘ m + z ∘ h_{t-1}, y_t = h_t, h_0 = 0

    with the candidate m = tanh(a_n + r ∘ q), q = h_{t-1} U_n + c, or with `reset_after=False`
    m = tanh(a_n + (r ∘ h_{t-1}) U_n). From the last position to the first:

    da_n = dh_t ∘ (1 - z)(1 - m²), da_z = dh_t ∘ (h_{t-1} - m) z (1 - z), da_r = da_n ∘ q r (1 - r)

    dv = [da_r, da_z, da_n ∘ r], dh_{t-1} = dy_{t-1} + dh_t ∘ z + dv Uᵀ, dU = Σ_t h_{t-1}ᵀ dv, dc = Σ_t da_n ∘ r

    or, with `reset_after=False` and e = da_n U_nᵀ: da_r = e ∘ h_{t-1} r (1 - r), dU_n = Σ_t (r ∘ h_{t-1})ᵀ da_n,
    dh_{t-1} = dy_{t-1} + dh_t ∘ z + e ∘ r + [da_r, da_z] [U_r U_z]ᵀ

    dW = Σ_t x_tᵀ da_t, db = Σ_t da_t, dx_t = da_t Wᵀ

    The gates are in the order r, z, n, which is PyTorch's; there, b has the sum of the two biases of r and z. Other
    texts swap z and 1 - z.

    Args:
      n_in: number of inputs per position.
      n: number of units, and so of outputs per position.
      reset_after: apply the reset gate r after the product with U_n, as PyTorch and cuDNN do. Otherwise before it, as
        the paper does.
      w_init: initialiser of W, (n_in, 3 n).
      u_init: initialiser of the part (n, n) of U of each gate.

    Returns:
      A Layer with parameters `GRU(w, u, b, c)`, from x (batch, time, n_in) to y (batch, time, n). Its memory (see
      `fnn.Stream`) is h (batch, n), in float32 at least. Biases begin at 0.

    Raises:
      ValueError: if a size is not positive, or x, a parameter or the memory has another shape.

    >>> layer = gru(3, 4)
    >>> y, residuals = layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 7, 3)))
    >>> y.shape
    (5, 7, 4)
    """
    n_in, n = checks.positive_int("gru", "n_in", n_in), checks.positive_int("gru", "n", n)
    if not isinstance(reset_after, bool):
        raise checks.fail("gru", "reset_after", "True or False", reset_after, TypeError)
    shapes = {"w": (n_in, 3 * n), "u": (n, 3 * n), "b": (3 * n,)}
    cell, cell_backward = (_after, _after_backward) if reset_after else (_before, _before_backward)

    def init(key: PRNGKey) -> GRU:
        w_key, u_key = jax.random.split(key)
        w, u = w_init(w_key, (n_in, 3 * n)), each_gate(u_init, u_key, n, 3)
        return GRU(w, u, jnp.zeros(3 * n, w.dtype), jnp.zeros(n, w.dtype) if reset_after else None)

    def check(params: GRU) -> None:
        c = checks.fields("gru", params, GRU, **shapes).c
        if reset_after and c is not None:
            checks.shaped("gru", "params.c", c, (n,))
        elif reset_after:
            raise checks.fail("gru", "params.c", f"of shape ({n},)", came="None")
        elif c is not None:
            raise checks.fail("gru", "params.c", "None if reset_after is False", c)

    def start(params: GRU, batch: int) -> Array:
        """h_0 = 0"""
        checks.fields("gru", params, GRU)
        return jnp.zeros((batch, n), wide(params.u))

    def advance(params: GRU, memory: Array, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Array]:
        """h_t = (1 - z) ∘ m + z ∘ h_{t-1}"""
        check(params)
        x = checks.shaped("gru", "x", x, ("batch", "time", n_in))
        dtype = widest(x, *jax.tree.leaves(params))
        h0 = memory_of("gru", memory, x, n, widest(memory, wide(dtype)))
        u, b = params.u.astype(dtype), params.b.astype(dtype)[None, :]
        c = None if params.c is None else params.c.astype(dtype)

        def step(h: Array, a: Array) -> tuple[Array, tuple[Array, Residuals]]:
            h, r = cell(u, c, h, a + b)
            return h, (h.astype(dtype), jax.tree.map(lambda leaf: leaf.astype(dtype), r))

        h, (hs, r) = jax.lax.scan(step, h0, project(x, params.w, dtype))
        y = swap(hs)
        return y, (x, h0.astype(dtype), y, r), h.astype(memory.dtype)

    def forward(params: GRU, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y_t = h_t, from h_0 = 0"""
        x = checks.shaped("gru", "x", x, ("batch", "time", n_in))
        return advance(params, start(params, x.shape[0]), x)[:2]

    def backward(params: GRU, residuals: Residuals, dy: Array) -> tuple[GRU, Array]:
        """dh_{t-1} by the backward of the cell; dW, db, dX, dU and dc as products over all positions"""
        x, h0, y, r = residuals
        u_transposed = params.u.astype(dy.dtype).T
        h = previous(h0, y)

        def step(dh: Array, xs: tuple[Array, Array, Residuals]) -> tuple[Array, tuple[Array, Array]]:
            dy, h, r = xs
            dh, dgates, dn = cell_backward(u_transposed, widened(h), widened(r), widened(dy) + dh, dy.dtype)
            return dh, (dgates, dn)

        dh = jnp.zeros_like(dy[:, 0], wide(dy))
        _, (dgates, dn) = jax.lax.scan(step, dh, (swap(dy), h, r), reverse=True)
        if reset_after:  # dgates is dv, dn is da_n
            assert params.c is not None
            da = jnp.concatenate([dgates[..., : 2 * n], dn], axis=-1)
            du = contract("abi,abo->io", h, dgates, like=params.u)
            dc = sum_positions(dgates[..., 2 * n :], params.c)
        else:  # dgates is [da_r, da_z]
            da, dc = jnp.concatenate([dgates, dn], axis=-1), None
            du_n = contract("abi,abo->io", r[0] * h, dn, like=params.u)
            du = jnp.concatenate([contract("abi,abo->io", h, dgates, like=params.u), du_n], axis=1)
        dw, db, dx = project_backward(params.w, params.b, x, da)
        return GRU(dw, du, db, dc), dx

    return Layer(init, forward, backward, name=f"gru({n_in}, {n})", stream=Stream(start, advance))


def _gates(a: Array, v: Array) -> tuple[Array, Array]:
    """r, z = σ(a_r + v_r), σ(a_z + v_z)"""
    r, z = jnp.split(jax.nn.sigmoid(a[:, : v.shape[1]] + v), 2, axis=1)
    return r, z


def _after(u: Array, c: Any, h: Array, a: Array) -> tuple[Array, Residuals]:
    """v = h_{t-1} U, q = v_n + c, m = tanh(a_n + r ∘ q), h_t = (1 - z) ∘ m + z ∘ h_{t-1}"""
    n = h.shape[1]
    v = (h.astype(u.dtype) @ u).astype(h.dtype)
    a = a.astype(h.dtype)
    r, z = _gates(a, v[:, : 2 * n])
    q = v[:, 2 * n :] + c.astype(h.dtype)[None, :]
    m = jnp.tanh(a[:, 2 * n :] + r * q)
    return (1 - z) * m + z * h, (r, z, m, q)


def _after_backward(
    u_transposed: Array, h: Array, residuals: Residuals, dh: Array, dtype: Any
) -> tuple[Array, Array, Array]:
    """da_n = dh ∘ (1 - z)(1 - m²), dv = [da_r, da_z, da_n ∘ r]; returns dh_{t-1} = dh ∘ z + dv Uᵀ, dv, da_n"""
    r, z, m, q = residuals
    dn = dh * (1 - z) * (1 - m * m)
    dz = dh * (h - m) * z * (1 - z)
    dr = dn * q * r * (1 - r)
    dv = jnp.concatenate([dr, dz, dn * r], axis=1).astype(dtype)
    return dh * z + (dv @ u_transposed).astype(dh.dtype), dv, dn.astype(dtype)


def _before(u: Array, c: Any, h: Array, a: Array) -> tuple[Array, Residuals]:
    """m = tanh(a_n + (r ∘ h_{t-1}) U_n), h_t = (1 - z) ∘ m + z ∘ h_{t-1}"""
    n = h.shape[1]
    a = a.astype(h.dtype)
    r, z = _gates(a, (h.astype(u.dtype) @ u[:, : 2 * n]).astype(h.dtype))
    m = jnp.tanh(a[:, 2 * n :] + ((r * h).astype(u.dtype) @ u[:, 2 * n :]).astype(h.dtype))
    return (1 - z) * m + z * h, (r, z, m)


def _before_backward(
    u_transposed: Array, h: Array, residuals: Residuals, dh: Array, dtype: Any
) -> tuple[Array, Array, Array]:
    """e = da_n U_nᵀ; returns dh_{t-1} = dh ∘ z + e ∘ r + [da_r, da_z] [U_r U_z]ᵀ, [da_r, da_z], da_n"""
    r, z, m = residuals
    n = h.shape[1]
    dn = (dh * (1 - z) * (1 - m * m)).astype(dtype)
    dz = dh * (h - m) * z * (1 - z)
    e = (dn @ u_transposed[2 * n :]).astype(dh.dtype)
    dgates = jnp.concatenate([e * h * r * (1 - r), dz], axis=1).astype(dtype)
    return dh * z + e * r + (dgates @ u_transposed[: 2 * n]).astype(dh.dtype), dgates, dn
