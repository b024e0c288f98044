"""Rows over several processes: which are whose, from each one's own to global arrays, and back."""

import hashlib
import json
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, ArrayLike

from fnn import checks
from fnn.sharding import agreement
from fnn.sharding.layout import DATA, Layout, batch_sharding, describe, num_batch_shards


def _parts(layout: Layout) -> tuple[int, dict[int, tuple[int, int]]]:
    """Into how many parts rows are split, and which of them, first..last-1, lie in each process."""
    mesh = layout.mesh
    indices: dict[int, set[int]] = {}
    for place, device in np.ndenumerate(mesh.devices):
        part = place[mesh.axis_names.index(DATA)] if DATA in mesh.axis_names else 0
        indices.setdefault(device.process_index, set()).add(part)
    for process, own in indices.items():
        if max(own) - min(own) + 1 != len(own):
            expected = f"such that each process's devices are neighbours along {DATA!r} (see fnn.sharding.devices)"
            raise checks.fail("rows_of_process", "the mesh", expected, came=f"parts {sorted(own)} in process {process}")
    return num_batch_shards(layout), {process: (min(own), max(own) + 1) for process, own in indices.items()}


def _rows(parts: tuple[int, dict[int, tuple[int, int]]], n: int, process: int) -> slice:
    count, own = parts
    first, last = own.get(process, (0, 0))
    each = -(-n // count)
    return slice(min(n, first * each), min(n, last * each))


def devices() -> np.ndarray:
    """All devices, those of a process side by side: for a Mesh whose rows are split over the processes in their order.

    `jax.make_mesh` orders them as they are wired, which on TPU pods is another order.

    >>> jax.sharding.Mesh(devices().reshape(-1, 1), ("data", "model")).axis_names
    ('data', 'model')
    """
    return np.array(sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))


def spans_processes(layout: Layout | None) -> bool:
    """Whether other processes have devices of it."""
    return layout is not None and any(d.process_index != jax.process_index() for d in layout.mesh.devices.flat)


def min_rows(layout: Layout | None) -> int:
    """How many examples a process must have at least: where several share them, it may be none."""
    return 1 - spans_processes(layout)


def rows_of_process(layout: Layout, n: int) -> slice:
    """Which of n examples this process holds, and passes to `fit`, `evaluate` or `predict` with this layout.

    With parts of r = ⌈n / devices along "data"⌉ rows those of its own devices; in one process, all of them.

    >>> from fnn import sharding
    >>> rows_of_process(sharding.data_parallel(jax.make_mesh((1,), ("data",))), 1797)
    slice(0, 1797, None)
    """
    return _rows(_parts(layout), checks.positive_int("rows_of_process", "n", n), jax.process_index())


def global_rows(layout: Layout, arrays: Sequence[ArrayLike]) -> tuple[tuple[Array, ...], int]:
    """Each process's rows as arrays over all devices, filled up with zeros at the end; how many rows are real.

    ValueError in every process, with the counts of all of them, unless each has what `rows_of_process` says.
    """
    own = [np.asarray(array) for array in arrays]
    kind = ", ".join(f"{array.dtype} rows {array.shape[1:]}" for array in own)
    about = {"rows": len(own[0]), "the layout": describe(layout), "the arrays' rows": kind}
    told = [json.loads(text) for text in agreement.all_gather(json.dumps(about))]
    for name in ("the layout", "the arrays' rows"):
        values = {one[name]: i for i, one in reversed([*enumerate(told)])}
        if len(values) > 1:
            came = "; ".join(f"{value} in process {i}" for value, i in reversed(values.items()))
            raise checks.fail("place", name, "the same in every process", came=came)
    parts, counts = _parts(layout), [one["rows"] for one in told]
    n = sum({own: counts[process] for process, own in parts[1].items()}.values())
    if not n:
        raise checks.fail("place", "the arrays", "of at least one row in all processes", came="none")
    expected = [len(range(n)[_rows(parts, n, process)]) for process in range(len(counts))]
    if counts != expected:
        text = f"{expected} in the processes, as rows_of_process(layout, {n}) says"
        raise checks.fail("place", "the numbers of rows", text, came=f"{counts}")
    first, last = parts[1][jax.process_index()]
    room, sharding = (last - first) * -(-n // parts[0]), batch_sharding(layout)
    placed = []
    for array in own:
        padded = np.pad(array, [(0, room - len(array))] + [(0, 0)] * (array.ndim - 1))
        shape = (parts[0] * -(-n // parts[0]), *array.shape[1:])
        placed.append(jax.make_array_from_process_local_data(sharding, padded, shape))
    return tuple(placed), n


def local_rows(layout: Layout, array: Array, n: int) -> np.ndarray:
    """Back: of an array whose rows are split over all devices, those of `rows_of_process`."""
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    rows = rows_of_process(layout, n)
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])[: rows.stop - rows.start]


def fingerprint_rows(layout: Layout, array: Array, n: int) -> str:
    """A hash of the n rows of a global array, the same however many processes hold them; all of them call it."""
    parts, first = _parts(layout)[1], rows_of_process(layout, n).start
    number = 0
    for i, row in enumerate(local_rows(layout, array, n), first):
        number += int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8, salt=i.to_bytes(16, "little")).digest())
    told = agreement.all_gather(f"{number % 2**64:016x}")
    return f"{sum({own: int(told[process], 16) for process, own in parts.items()}.values()) % 2**64:016x}"[:12]


def check_processes(function: str, layout: Layout | None) -> None:
    """ValueError unless one process trains alone, or all of them together."""
    count = jax.process_count()
    there = {0} if layout is None else {device.process_index for device in layout.mesh.devices.flat}
    if count > 1 and there != set(range(count)):
        came = "None" if layout is None else f"a mesh over {len(there)}"
        raise checks.fail(function, "sharding", f"a layout over the devices of all {count} processes", came=came)
