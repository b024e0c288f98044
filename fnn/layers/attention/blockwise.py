"""Softmax attention that recomputes its probabilities, for long sequences. Its backward is under its forward.

It saves Q, K, V, O and the log-sum-exp ℓ of each row of S, and computes P = e^(S - ℓ) again in the backward pass (Dao
et al. 2022). Memory is linear in time. The positions are cut into blocks, whose scores are computed one after the other
in a scan; and the blocks into segments, whose keys end where they end: scores past the diagonal are computed inside a
segment only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn.dtypes import wide
from fnn.layers.attention import stored
from fnn.layers.attention.stored import Keys, Queries, RowSums, exponentials, product, scores, up_to
from fnn.layers.devices import default_device

BLOCK, LONG_BLOCK = 64, 256
"""Positions of a block, on the CPU, whose caches hold its scores, and on accelerators, which need larger products."""

SEGMENTS = 4
"""Largest number of segments; more of them compute fewer scores, but compile for longer."""


class Segment(NamedTuple):
    """The positions start..stop-1, and how many keys they see."""

    start: int
    stop: int
    keys: int


def block_length() -> int:
    """Return the number of positions of a block."""
    return BLOCK if default_device().platform == "cpu" else LONG_BLOCK


def cut(time: int, keys: int, skip: bool) -> list[Segment]:
    """Return the segments: one with all keys, or if keys past the diagonal are skipped, several of whole blocks."""
    if not skip:
        return [Segment(0, time, keys)]
    length = -(-time // (block_length() * SEGMENTS)) * block_length()
    return [Segment(i, min(i + length, time), min(i + length, time)) for i in range(0, time, length)]


def scan_blocks(step: Callable, carry: Any, segment: Segment, *arrays: Array) -> tuple[Any, Any]:
    """Run step: carry, first, *blocks -> carry, y over the blocks of a segment, which begin at position `first`.

    Arrays and y are (batch, groups, queries, time, ...). What no block divides is a shorter last block.
    """
    length = block_length()
    n, rest = divmod(segment.stop - segment.start, length)
    whole, parts = segment.start + n * length, []
    if n:
        split = lambda a: jnp.moveaxis(
            a[:, :, :, segment.start : whole].reshape(*a.shape[:3], n, length, *a.shape[4:]), 3, 0
        )
        first = segment.start + length * jnp.arange(n, dtype=jnp.int32)
        carry, ys = jax.lax.scan(lambda c, xs: step(c, *xs), carry, (first, *map(split, arrays)))
        join = lambda y: jnp.moveaxis(y, 0, 3).reshape(*y.shape[1:4], n * length, *y.shape[5:])
        parts.append(jax.tree.map(join, ys))
    if rest:
        carry, y = step(carry, jnp.int32(whole), *(a[:, :, :, whole : segment.stop] for a in arrays))
        parts.append(y)
    return carry, concatenate(parts)


def concatenate(parts: list[Any]) -> Any:
    """Join trees of arrays (batch, groups, queries, time, ...) along time."""
    return jax.tree.map(lambda leaf, *more: jnp.concatenate([leaf, *more], axis=3) if more else leaf, *parts)


def attend(q: Queries, k: Keys, v: Keys, causal: bool, position: Array | None = None) -> tuple[Queries, RowSums]:
    """S = Q Kᵀ / √d, P = e^(S - ℓ), O = P V; returns O, ℓ.

    Args:
      q, k, v: Q, K, V.
      causal: whether a position sees the keys up to it alone.
      position: the position of the first row of Q among the keys; None for 0.
    """

    def block(segment: Segment) -> Any:
        ks, vs = k[:, :, : segment.keys], v[:, :, : segment.keys]

        def step(carry: Any, first: Array, q: Queries) -> tuple[Any, tuple[Queries, Array]]:
            e, total, lse = exponentials(scores(q, ks, visible(causal, position, first, q, ks)))
            o = product("bgqtk,bgkd->bgqtd", e.astype(v.dtype), vs) / total
            return (), (o.astype(q.dtype), lse)

        return scan_blocks(step, (), segment, q)[1]

    return concatenate([block(segment) for segment in cut(q.shape[3], k.shape[2], causal and position is None)])


def visible(causal: bool, position: Array | None, first: Array, q: Queries, k: Keys) -> Array | None:
    """Return which keys the rows of a block see, which begins at row `first` of Q."""
    if not causal:
        return None
    rows = first + jnp.arange(q.shape[3], dtype=jnp.int32)
    return up_to(rows if position is None else position + rows, k.shape[2])


def attend_backward(
    q: Queries, k: Keys, v: Keys, o: Queries, lse: Array, do: Queries, causal: bool, position: Array | None = None
) -> tuple[Queries, Keys, Keys]:
    """P = e^(S - ℓ), and dQ, dK, dV as in `stored.attend_backward`, with sums of dK and dV over the blocks"""
    dtype = wide(q)

    def block(segment: Segment) -> tuple[tuple[Keys, Keys], Queries]:
        ks, vs = k[:, :, : segment.keys], v[:, :, : segment.keys]

        def step(
            carry: tuple[Keys, Keys], first: Array, q: Queries, o: Queries, lse: Array, do: Queries
        ) -> tuple[tuple[Keys, Keys], Queries]:
            s = scores(q, ks, visible(causal, position, first, q, ks))
            p = jnp.exp(jnp.minimum(s - lse, 0)).astype(q.dtype)  # P <= 1 also where S is rounded differently now
            dq, dk, dv = stored.attend_backward(q, ks, vs, o, p, do)
            return (carry[0] + dk, carry[1] + dv), dq

        return scan_blocks(step, (jnp.zeros_like(ks, dtype), jnp.zeros_like(vs, dtype)), segment, q, o, lse, do)

    dk, dv, dqs = jnp.zeros_like(k, dtype), jnp.zeros_like(v, dtype), []
    for segment in cut(q.shape[3], k.shape[2], causal and position is None):
        (more_dk, more_dv), dq = block(segment)
        dk, dv = dk.at[:, :, : segment.keys].add(more_dk), dv.at[:, :, : segment.keys].add(more_dv)
        dqs.append(dq)
    return concatenate(dqs), dk, dv
