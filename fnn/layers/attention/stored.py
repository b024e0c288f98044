"""Softmax attention that keeps its probabilities, for short sequences. Its backward is under its forward.

Q is (batch, groups, queries, time, d): each group of heads shares the keys and values of one head, K and V
(batch, groups, keys, d). S, P and O have one row for each position of Q, and

    S = Q Kᵀ / √d, -∞ where a key is not visible; P = softmax(S) over the keys; O = P V

    D = rowsum(dO ∘ O), dV = Pᵀ dO, dP = dO Vᵀ, dS = P ∘ (dP - D), dQ = dS K / √d, dK = dSᵀ Q / √d

where dV and dK are sums over the heads of a group, too. S, its log-sum-exp ℓ and D are in float32 at least.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fnn.dtypes import contract, wide, widened, widest

Queries = Float[Array, "batch groups queries time d"]
Keys = Float[Array, "batch groups keys d"]
Probabilities = Float[Array, "batch groups queries time keys"]
RowSums = Float[Array, "batch groups queries time 1"]
Visible = Bool[Array, "time keys"] | None
"""Which keys a position sees. None: all of them."""


def product(spec: str, a: Array, b: Array) -> Array:
    """Return einsum(spec, a, b), accumulated and returned in float32 at least."""
    return contract(spec, a, b, like=jnp.zeros((), wide(widest(a, b))))


def up_to(positions: Int[Array, " time"], keys: int) -> Bool[Array, "time keys"]:
    """Return which keys the positions see in causal attention: those at or before them."""
    return jnp.arange(keys, dtype=positions.dtype)[None, :] <= positions[:, None]


def scores(q: Queries, k: Keys, visible: Visible) -> Probabilities:
    """S = Q Kᵀ / √d, -∞ where a key is not visible"""
    s = product("bgqtd,bgkd->bgqtk", q, k) * (1 / math.sqrt(q.shape[-1]))
    return s if visible is None else jnp.where(visible[None, None, None], s, -jnp.inf)


def exponentials(s: Probabilities) -> tuple[Probabilities, RowSums, RowSums]:
    """Return E = e^(S - m) with m the largest entry of a row, Σ E, and ℓ = m + log Σ E.

    P = E / Σ E = e^(S - ℓ). For a row without a visible key they are 0, 1 and ∞, so that P = 0.
    """
    m = jnp.max(s, -1, keepdims=True)
    e = jnp.exp(s - jnp.where(m == -jnp.inf, 0, m))
    total = jnp.sum(e, -1, keepdims=True)
    lse = jnp.where(total == 0, jnp.inf, m + jnp.log(total))
    return e, jnp.where(total == 0, 1, total), lse


def attend(q: Queries, k: Keys, v: Keys, visible: Visible = None) -> tuple[Queries, Probabilities]:
    """P = softmax(S), O = P V; returns O, P. A row without a visible key is 0."""
    e, total, _ = exponentials(scores(q, k, visible))
    p = (e / total).astype(q.dtype)
    return product("bgqtk,bgkd->bgqtd", p, v).astype(q.dtype), p


def attend_backward(
    q: Queries, k: Keys, v: Keys, o: Queries, p: Probabilities, do: Queries
) -> tuple[Queries, Keys, Keys]:
    """D = rowsum(dO ∘ O), dV = Pᵀ dO, dS = P ∘ (dO Vᵀ - D), dQ = dS K / √d, dK = dSᵀ Q / √d

    Returns dQ, dK, dV in float32 at least.
    """
    scale = 1 / math.sqrt(q.shape[-1])
    d = jnp.sum(widened(do) * widened(o), -1, keepdims=True)
    dv = product("bgqtk,bgqtd->bgkd", p, do)
    dp = product("bgqtd,bgkd->bgqtk", do, v)
    ds = (widened(p) * (dp - d) * scale).astype(q.dtype)
    return product("bgqtk,bgkd->bgqtd", ds, k), product("bgqtk,bgqtd->bgkd", ds, q), dv
