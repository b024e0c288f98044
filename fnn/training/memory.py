"""Memory of the devices: whether data fit before they are sent, and how much a training took at most.

The runtimes of GPUs and TPUs say how much memory a device has for JAX and how much is in use. A CPU's says neither:
nothing is then refused or reported.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.core import Tracer

from fnn import checks
from fnn.checks.host_values import host_dtype
from fnn.layers.devices import default_device
from fnn.sharding.layout import Layout, num_batch_shards
from fnn.sharding.rows import is_replicated

TO_TRAIN = (
    "Pass device_memory, or less of it, to send data in chunks; or sharding, to share them over several devices. "
    "micro_batch_size and fnn.remat reduce what a step takes besides."
)
"""What helps if the data of `fit` do not fit."""

TO_EVALUATE = "Pass fewer rows at a time, or sharding to share them over several devices."
"""What helps if the data of `predict` and `evaluate` do not fit."""

TO_SWEEP = "Pass fewer examples. fnn.fit can send data in chunks (device_memory)."
"""What helps if the data of `make_run` do not fit."""


PaddedRows: TypeAlias = Callable[[int], int]


def statistics(device: Any) -> Mapping[str, int]:
    """Return what the runtime says of a device's memory, in bytes by name; nothing for a CPU."""
    return device.memory_stats() or {}


def check_fits(
    function: str,
    layout: Layout | None = None,
    *,
    advice: str = TO_TRAIN,
    chunks: int = 0,
    placed: bool = False,
    padded_rows: PaddedRows | None = None,
    **data: Any,
) -> None:
    """Raise ValueError if data take more memory than is free on a device that they are to be sent to.

    Arrays that are on a device already are not sent again, unless there is a layout: the checks of their values then
    copy them to the host.

    Args:
      function: the public function.
      layout: the layout by which the data are sent; None for one device.
      advice: what would help.
      chunks: bytes of the chunks of a stream, which are sharded.
      placed: whether `data` is sent by `fnn.sharding.place`, as `fit` does. Otherwise rows are sharded.
      padded_rows: rows -> the rows to which the device pads a copy of the arrays. None: there is no such copy.
      data: the arguments by name, each (x, …), (x, y), (x, y, weight) or None.
    """
    free = _least_free(layout)
    if free is None:
        return
    device, room, limit = free
    needed = {"its chunks": -(-chunks // (1 if layout is None else num_batch_shards(layout)))} if chunks else {}
    for name, parts in data.items():
        needed[name] = _bytes_on_device(parts, layout, placed and name == "data")
        if padded_rows is not None and layout is None:
            needed[f"{name} with padding"] = _bytes_of_copies(parts, padded_rows)
    total = sum(needed.values())
    if total > room:
        expected = f"small enough for the {format_bytes(room)} that are free on {device} (of {format_bytes(limit)})"
        parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in needed.items() if size)
        came = format_bytes(total) + (" for each device" if layout else "")
        names = " and ".join(name for name, given in data.items() if given is not None)
        raise checks.fail(function, names, expected, came=f"{came} ({parts})", advice=advice)


def _least_free(layout: Layout | None) -> tuple[Any, int, int] | None:
    """The device of this process with the least free memory, its free bytes and its limit. None if no device says."""
    found = []
    for device in [default_device()] if layout is None else layout.mesh.local_devices:
        numbers = statistics(device)
        if "bytes_limit" in numbers:
            limit = numbers["bytes_limit"]
            found.append((limit - numbers.get("bytes_in_use", 0), limit, device))
    if not found:
        return None
    free, limit, device = min(found, key=lambda entry: entry[0])
    return device, max(free, 0), limit


def _bytes_on_device(parts: Any, layout: Layout | None, placed: bool) -> int:
    """The bytes that each device gets of arrays with one row per example."""
    arrays = _arrays(parts)
    if layout is None:
        return sum(_size(array)[1] for array in arrays if not isinstance(array, jax.Array))
    sizes = [_size(array) for array in arrays]
    total = sum(num_bytes for _, num_bytes in sizes)
    if placed and is_replicated(layout, total):
        return total
    rows = max((rows for rows, _ in sizes), default=0)
    return -(-rows // _shards(layout)) * -(-total // max(rows, 1))


def _bytes_of_copies(parts: Any, padded_rows: PaddedRows) -> int:
    """The bytes of the copies with more rows that a device makes of arrays."""
    size = 0
    for rows, num_bytes in (_size(array) for array in _arrays(parts) if not isinstance(array, Tracer)):
        padded = padded_rows(rows) if rows else 0
        size += padded * (num_bytes // rows) if padded != rows else 0
    return size


def _arrays(parts: Any) -> list[Any]:
    return [part for part in parts if part is not None] if isinstance(parts, tuple | list) else []


def _shards(layout: Layout | None) -> int:
    """The number of shards of this process's rows."""
    if layout is None:
        return 1
    processes = {device.process_index for device in layout.mesh.devices.flat}
    return -(-num_batch_shards(layout) // len(processes))


def _size(array: Any) -> tuple[int, int]:
    """Return the rows of an array and its bytes in the dtype that JAX has for it.

    Both are 0 for what is no array of numbers. The checks of the data refuse it.
    """
    try:
        array = array if hasattr(array, "shape") and hasattr(array, "dtype") else np.asarray(array)
        num_bytes = int(np.prod(array.shape, dtype=np.int64)) * host_dtype(array.dtype).itemsize
        return array.shape[0] if array.shape else 0, num_bytes
    except (TypeError, ValueError):
        return 0, 0


def peak_note(array: jax.Array) -> str | None:
    """Say how much memory the devices of an array have used at most; None if they do not say.

    It counts from the start of the process, and everything that JAX has held on the fullest of these devices.
    """
    numbers = [statistics(device) for device in array.sharding.addressable_devices]
    known = [entry for entry in numbers if "peak_bytes_in_use" in entry]
    if not known:
        return None
    fullest = max(known, key=lambda entry: entry["peak_bytes_in_use"])
    peak, limit = format_bytes(fullest["peak_bytes_in_use"]), fullest.get("bytes_limit")
    of_all = "" if limit is None else f" of {format_bytes(limit)}"
    return f"device memory: at most {peak}{of_all}" + (f", on the fullest of {len(known)} devices" * (len(known) > 1))


def format_bytes(size: int) -> str:
    """Write a number of bytes in the largest unit that keeps it at 1 or above.

    >>> format_bytes(512), format_bytes(1536), format_bytes(85 * 10**9)
    ('512 B', '1.50 KiB', '79.16 GiB')
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(max(size.bit_length() - 1, 0) // 10, len(units) - 1)
    return f"{size} B" if power == 0 else f"{size / 1024**power:.2f} {units[power]}"
