"""Rows of examples in several processes: which process holds which rows, and global arrays assembled from them."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, ArrayLike

from fnn import checks
from fnn.sharding import agreement
from fnn.sharding.layout import DATA, Layout, batch_sharding, describe, num_batch_shards


class ProcessShards(NamedTuple):
    """How the shards of a batch are distributed over the processes.

    Attributes:
      num_shards: the number of shards.
      ranges: for each process, the range [start, stop) of its shards.
    """

    num_shards: int
    ranges: dict[int, tuple[int, int]]


def _process_shards(layout: Layout) -> ProcessShards:
    mesh = layout.mesh
    indices: dict[int, set[int]] = {}
    for position, device in np.ndenumerate(mesh.devices):
        shard = position[mesh.axis_names.index(DATA)] if DATA in mesh.axis_names else 0
        indices.setdefault(device.process_index, set()).add(shard)
    for process, own in indices.items():
        if max(own) - min(own) + 1 != len(own):
            expected = f"one in which the devices of a process are adjacent along {DATA!r} (see fnn.sharding.devices)"
            came = f"shards {sorted(own)} in process {process}"
            raise checks.fail("rows_of_process", "the mesh", expected, came=came)
    return ProcessShards(
        num_batch_shards(layout), {process: (min(own), max(own) + 1) for process, own in indices.items()}
    )


def shard_ranges(layout: Layout) -> dict[int, range]:
    """Return for each process the shards of a batch that it holds."""
    return {process: range(*own) for process, own in _process_shards(layout).ranges.items()}


def _row_slice(shards: ProcessShards, n: int, process: int) -> slice:
    """Return which of n rows a process holds."""
    start, stop = shards.ranges.get(process, (0, 0))
    rows_per_shard = -(-n // shards.num_shards)
    return slice(min(n, start * rows_per_shard), min(n, stop * rows_per_shard))


def devices() -> np.ndarray:
    """Return all devices, ordered by process.

    A Mesh of them shards rows over the processes in their order. `jax.make_mesh` may choose another order: on TPU pods
    it follows the wiring.

    Returns:
      An array of shape (number of devices,).

    >>> jax.sharding.Mesh(devices().reshape(-1, 1), ("data", "model")).axis_names
    ('data', 'model')
    """
    return np.array(sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))


def spans_processes(layout: Layout | None) -> bool:
    """Return True if the mesh contains devices of other processes."""
    return layout is not None and any(d.process_index != jax.process_index() for d in layout.mesh.devices.flat)


def min_rows(layout: Layout | None) -> int:
    """Return how many examples a process must have at least.

    It is 0 if the mesh contains devices of other processes, otherwise 1.
    """
    return 1 - spans_processes(layout)


def rows_of_process(layout: Layout, n: int) -> slice:
    """Return which of n examples this process holds.

    The process passes these rows to `fit`, `evaluate` or `predict` with this layout. Shards have
    ⌈n / devices along "data"⌉ rows, the last one maybe fewer. A process holds the shards of its own devices. A single
    process holds all rows.

    Args:
      layout: the layout to train with.
      n: the number of examples in all processes.

    Raises:
      ValueError: if the devices of a process are not adjacent along "data"; `devices` orders them.

    >>> from fnn import sharding
    >>> rows_of_process(sharding.data_parallel(jax.make_mesh((1,), ("data",))), 1797)
    slice(0, 1797, None)
    """
    return _row_slice(_process_shards(layout), checks.positive_int("rows_of_process", "n", n), jax.process_index())


def global_rows(layout: Layout, arrays: Sequence[ArrayLike]) -> tuple[tuple[Array, ...], int]:
    """Make arrays over all devices from the rows of each process.

    The arrays are padded with zeros at the end.

    Returns:
      The arrays, and the number of rows without the padding.

    Raises:
      ValueError: in every process, if the processes pass different layouts, dtypes or shapes of rows, or numbers of
        rows that differ from `rows_of_process`; the message lists the number of rows in every process.
    """
    own = [np.asarray(array) for array in arrays]
    kinds = ", ".join(f"{array.dtype} rows {array.shape[1:]}" for array in own)
    report = {"rows": len(own[0]), "the layout": describe(layout), "the arrays' rows": kinds}
    reports = agreement.all_gather_json(report)
    for name in ("the layout", "the arrays' rows"):
        values = {given[name]: i for i, given in reversed([*enumerate(reports)])}
        if len(values) > 1:
            came = "; ".join(f"{value} in process {i}" for value, i in reversed(values.items()))
            raise checks.fail("place", name, "the same in every process", came=came)
    shards, counts = _process_shards(layout), [given["rows"] for given in reports]
    n = sum({own_range: counts[process] for process, own_range in shards.ranges.items()}.values())
    if not n:
        raise checks.fail("place", "the arrays", "of at least one row in all processes", came="none")
    expected = [len(range(n)[_row_slice(shards, n, process)]) for process in range(len(counts))]
    if counts != expected:
        text = f"{expected} in the processes, as rows_of_process(layout, {n}) says"
        raise checks.fail("place", "the numbers of rows", text, came=f"{counts}")
    start, stop = shards.ranges[jax.process_index()]
    rows_per_shard = -(-n // shards.num_shards)
    padded_size, sharding = (stop - start) * rows_per_shard, batch_sharding(layout)
    result = []
    for array in own:
        padded = np.pad(array, [(0, padded_size - len(array))] + [(0, 0)] * (array.ndim - 1))
        shape = (shards.num_shards * rows_per_shard, *array.shape[1:])
        result.append(jax.make_array_from_process_local_data(sharding, padded, shape))
    return tuple(result), n


def local_rows(layout: Layout, array: Array, n: int) -> np.ndarray:
    """Return this process's rows of an array over all devices.

    They are those of `rows_of_process`, of n rows in all.
    """
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    rows = rows_of_process(layout, n)
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])[: rows.stop - rows.start]


def fingerprint_rows(layout: Layout, array: Array, n: int) -> str:
    """Return a hash of n sharded rows, the same for any number of processes.

    Every process must call it.
    """
    ranges, first = _process_shards(layout).ranges, rows_of_process(layout, n).start
    total = 0
    for i, row in enumerate(local_rows(layout, array, n), first):
        total += int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, salt=i.to_bytes(16, "little")).digest())
    totals = agreement.all_gather(f"{total % 2**64:016x}")
    # processes with the same range hold the same rows, which count once
    distinct = {own_range: int(totals[process], 16) for process, own_range in ranges.items()}
    return f"{sum(distinct.values()) % 2**64:016x}"[:12]


def check_processes(function: str, layout: Layout | None) -> None:
    """Check that the layout has devices of all processes.

    A single process needs no layout.

    Raises:
      ValueError: otherwise.
    """
    count = jax.process_count()
    processes = {0} if layout is None else {device.process_index for device in layout.mesh.devices.flat}
    if count > 1 and processes != set(range(count)):
        came = "None" if layout is None else f"a mesh over {len(processes)}"
        raise checks.fail(function, "sharding", f"a layout over the devices of all {count} processes", came=came)
