"""What attention remembers of a sequence that it reads in pieces: the keys and the values so far."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Keys = Float[Array, "batch groups keys d"]


class AttentionMemory(NamedTuple):
    """Keys and values (batch, kv_heads, length, d / heads), and the number of positions read."""

    k: Keys
    v: Keys
    position: Int[Array, ""]


def positions_of(position: Array | None, time: int) -> Int[Array, " time"]:
    """Return the positions of the next `time` rows, from `position` or from 0 on."""
    rows = jnp.arange(time, dtype=jnp.int32)
    return rows if position is None else position + rows


def write(memory: Keys, new: Float[Array, "batch groups time d"], position: Array) -> Keys:
    """Return the memory with `new` from `position` on. What lies past its end is dropped."""
    time, most = new.shape[2], memory.shape[2] - new.shape[2]
    past = jnp.maximum(position - most, 0)  # rows of `new` that do not fit
    old = jax.lax.dynamic_slice_in_dim(memory, position, time, axis=2)  # clamped to the end, as the update below
    rows = jnp.arange(time, dtype=past.dtype) - past
    moved = jnp.take(new, jnp.maximum(rows, 0), axis=2).astype(memory.dtype)
    update = jnp.where((rows >= 0)[None, None, :, None], moved, old)
    return jax.lax.dynamic_update_slice_in_dim(memory, update, position, axis=2)


def read(memory: Keys, time: int, position: Array) -> Float[Array, "batch groups time d"]:
    """Return the part of `memory` that `write` has written: `time` rows from `position` on, 0 past the end."""
    rows = position + jnp.arange(time, dtype=position.dtype)
    return memory.at[:, :, rows].get(mode="fill", fill_value=0)
