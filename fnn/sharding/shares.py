"""Batches of which every process brings a share: how many rows of each came from where.

The shares of a step, in the order of the shards that the processes hold, make its batch. No process knows how many rows
the others have read, so they exchange the numbers once for each chunk, in the main thread. A share that fills the tiles
of its process (`fnn.sharding.tiles`) is trained on where it is. If any does not, the rows of the chunk's batches are
communicated, each when it is trained on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from fnn import checks
from fnn.sharding import agreement
from fnn.sharding.layout import Layout
from fnn.sharding.process_rows import shard_ranges
from fnn.sharding.tiles import Tiles, own_rows


class Joined(NamedTuple):
    """What all processes have of a chunk.

    Attributes:
      columns: for each row of the chunk, in the order of training, the column that holds it in the array
        (steps, shards · capacity, …).
      capacity: the rows of each shard for each batch.
      tiled: whether each row is on the shard of its tile.
      ends: whether the epoch ends with the chunk.
    """

    columns: Int[np.ndarray, " rows"]
    capacity: int
    tiled: bool
    ends: bool


class Where(NamedTuple):
    """For errors: the epoch, from 0, and the batch of it with which a chunk begins."""

    epoch: int
    batch: int


def join(
    layout: Layout, tiles: Tiles, counts: Sequence[int], ends: bool, steps: int, capacity: int, where: Where
) -> Joined:
    """Exchange what each process has of a chunk. Every process must call it.

    Args:
      layout: the layout.
      tiles: the tiles of a batch.
      counts: how many rows this process has of each batch of the chunk.
      ends: whether it has nothing of the batches after them in this epoch.
      steps: the number of batches that a chunk has room for.
      capacity: the rows of each shard for each batch that this process has room for.
      where: which chunk it is.

    Raises:
      ValueError: in every process, if the shares of a batch are not `batch_size` rows in all, unless it is the last.
    """
    own = [len(counts), ends, capacity, *counts, *[0] * (steps - len(counts))]
    gathered = agreement.all_gather_numbers(np.asarray(own, np.int32))
    last, all_end, brought = int(gathered[:, 0].max()), bool(gathered[:, 1].all()), gathered[:, 3:]
    brought, capacity = brought[:, :last], int(gathered[:, 2].max())
    ranges = shard_ranges(layout)
    holders = _holders(ranges, brought)
    _check(brought, holders, tiles.batch_size, all_end, where)
    columns = [ranges[p].start * capacity + np.arange(n) for row in brought.T for p in holders for n in (row[p],)]
    tiled = capacity == tiles.rows and all(_is_tiled(tiles, ranges, holders, row) for row in brought.T)
    return Joined(np.concatenate(columns).astype(np.int32), capacity, tiled, all_end)


def _is_tiled(tiles: Tiles, ranges: dict[int, range], holders: list[int], row: np.ndarray) -> bool:
    size = int(row[holders].sum())
    return all(len(own_rows(tiles._replace(own=ranges[p]), 0, size).which) == row[p] for p in holders)


def _holders(ranges: dict[int, range], brought: np.ndarray) -> list[int]:
    """One process for each range of shards, in their order. Those that share a range must bring the same rows."""
    holders: dict[range, int] = {}
    for process in sorted(ranges, key=lambda process: (ranges[process].start, process)):
        first = holders.setdefault(ranges[process], process)
        if (brought[first] != brought[process]).any():
            expected = f"the same in processes {first} and {process}, whose devices take the same rows"
            came = f"shares of {brought[first].tolist()} and of {brought[process].tolist()} rows"
            raise checks.fail("fit", "data", expected, came=came)
    return list(holders.values())


def _check(brought: np.ndarray, holders: list[int], batch_size: int, ends: bool, where: Where) -> None:
    """Raise unless each batch has its rows."""
    totals = brought[holders].sum(axis=0)
    if not totals.size:
        expected = f"a stream with more than {where.batch} batches in epoch {where.epoch + 1}"
        raise checks.fail("fit", "data", expected, came="its end in every process")
    wrong = totals != batch_size
    if ends and 0 < totals[-1] < batch_size:
        wrong[-1] = False
    if not wrong.any():
        return
    bad, count = int(np.argmax(wrong)), len(brought)
    name = f"data: batch {where.batch + bad + 1} of epoch {where.epoch + 1}"
    expected = f"of {batch_size} rows in all processes together (fewer only if it is the last one)"
    came = f"{' + '.join(map(str, brought[:, bad].tolist()))}"
    advice = (
        f"Each process yields its share of every batch: dataset[process::{count}] of a dataset of rows, in batches of "
        f"{-(-batch_size // count)}."
        if batch_size % count == 0
        else f"Each process yields its share of every batch: a batch_size that {count} divides makes them equal."
    )
    raise checks.fail("fit", name, expected, came=came, advice=advice)
