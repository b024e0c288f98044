"""Batches over the devices of one or several processes: which rows lie where.

The rows of a batch are sharded in their order: with B rows and D shards, a tile of t = ⌈B / D⌉ rows per shard, the row
at position j on shard j // t. The batches of a chunk are an array (steps, D · t, …), sharded along its second axis.
Each process makes its part of that array from the rows of its own tiles, and puts it on its own devices: no row is sent
twice, and a step takes its batch from what each device already holds. What a step communicates is what it does for data
in memory that every device holds: the sums of the gradient and of the cost. Only the smaller batch that ends an epoch,
whose tiles are smaller, is communicated.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int

from fnn.sharding.layout import Layout, batch_sharding, num_batch_shards, with_auto_axes
from fnn.sharding.process_rows import shard_ranges
from fnn.sharding.rows import Rows


class Tiles(NamedTuple):
    """How batches are shared.

    Attributes:
      batch_size: rows per batch.
      shards: number of shards.
      own: the shards of this process.
    """

    batch_size: int
    shards: int
    own: range

    @property
    def rows(self) -> int:
        """Rows per tile."""
        return -(-self.batch_size // self.shards)

    @property
    def width(self) -> int:
        """The rows of each batch that this process has room for."""
        return len(self.own) * self.rows


def tiles_of(layout: Layout | None, batch_size: int) -> Tiles:
    """Return the tiles of batches over a layout; a single one if it is None.

    >>> tiles_of(None, 32)
    Tiles(batch_size=32, shards=1, own=range(0, 1))
    """
    if layout is None:
        return Tiles(batch_size, 1, range(1))
    return Tiles(batch_size, num_batch_shards(layout), shard_ranges(layout)[jax.process_index()])


class OwnRows(NamedTuple):
    """Which of some rows in the order of training are this process's, and where each is in its memory."""

    which: Int[np.ndarray, " rows"]
    slots: Int[np.ndarray, " rows"]


def own_rows(tiles: Tiles, begin: int, until: int) -> OwnRows:
    """Return this process's part of the rows begin, …, until - 1, counted from the first row of a batch.

    `which` counts from `begin`. The slots are those of an array (steps · width, …).

    >>> own_rows(Tiles(4, 2, range(1, 2)), 1, 8)
    OwnRows(which=array([1, 2, 5, 6]), slots=array([0, 1, 2, 3]))
    """
    step, position = np.divmod(np.arange(begin, until), tiles.batch_size)
    column = position - tiles.own.start * tiles.rows
    which = np.flatnonzero((column >= 0) & (column < tiles.width))
    return OwnRows(which, step[which] * tiles.width + column[which])


def own_part(tiles: Tiles, begin: int, size: int) -> Any:
    """Return an index of this process's part of `size` rows that come after `begin` others of an epoch."""
    return slice(None) if len(tiles.own) == tiles.shards else own_rows(tiles, begin, begin + size).which


def send(layout: Layout, arrays: Sequence[np.ndarray], tiles: Tiles) -> Rows:
    """Make the batches of a chunk over all devices from what each process has of them, without communication.

    Args:
      layout: the layout.
      arrays: x, y and perhaps weight: this process's part (steps, rows, …), with as many rows for each of its shards.
        That number and the steps must be the same in every process.
      tiles: the tiles of a batch.
    """
    spec = PartitionSpec(None, *batch_sharding(layout).spec)
    sharding = NamedSharding(batch_sharding(layout).mesh, spec)

    def make(array: np.ndarray) -> jax.Array:
        rows = array.shape[1] // len(tiles.own) * tiles.shards
        return jax.make_array_from_process_local_data(sharding, array, (len(array), rows, *array.shape[2:]))

    return Rows(tuple(map(make, arrays)), tiles.batch_size, with_auto_axes(layout))


def write(tiles: Tiles, out: np.ndarray, begin: int, rows: np.ndarray, order: np.ndarray) -> None:
    """Write this process's part of rows[order], which the chunk has from row `begin`, into its memory of the chunk."""
    if tiles.shards == 1:
        np.take(rows, order, 0, out[begin : begin + len(order)], mode="clip")
    else:
        own = own_rows(tiles, begin, begin + len(order))
        out[own.slots] = rows[order[own.which]]
