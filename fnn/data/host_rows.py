"""Rows of arrays on the host or in a file: their shapes and dtypes, copies of some of them, and checks of values.

`fnn.data.order` has the order in which they are read.
"""

import bisect
import itertools
import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.checks.host_values import UnfitError, host_dtype, narrowed, refuse_masked
from fnn.checks.targets import inputs
from fnn.row_weights import replace_rows_on_host

Form = jax.ShapeDtypeStruct
HostRows = tuple[np.ndarray, ...]
Validate = Callable[[np.ndarray], None]

NAMES = "x", "y", "weight"
_CACHED_BYTES = 2**18  # copied at a time if the rows are scattered
_HELD_BYTES = 2**21  # of a mapped file, at most this much stays in the memory of the process
_ALIGNMENT = 64  # JAX's CPU device uses memory of this alignment without a copy


def on_host(argument: str, value: Any) -> Any:
    """Return NumPy arrays and array-like objects on disk (h5py) unchanged; convert anything else to a NumPy array."""
    alike = all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__"))
    try:
        refuse_masked(value)
        numpy_like = alike and isinstance(value.dtype, np.dtype) and not isinstance(value, jax.Array)
        return value if isinstance(value, np.ndarray) or numpy_like else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise checks.not_an_array("fit", argument, value, error) from None


def shapes_of_rows(argument: str, arrays: Sequence[Any], ids: bool = False) -> tuple[Form, ...]:
    """Shape and dtype of one example of x, y and weight, in the dtypes that JAX has for them.

    If `ids`, x must be integers, else floating point.
    """
    found = []
    for name, array in zip(NAMES, arrays, strict=False):
        if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != np.bool_:
            raise checks.not_an_array("fit", f"{argument}: {name}", array, TypeError())
        if not array.shape:
            raise checks.fail("fit", f"{argument}: {name}", "an array of numbers, (examples, …)", array, TypeError)
        if ids and name == "x":
            if not jnp.issubdtype(array.dtype, jnp.integer):
                raise checks.fail("fit", f"{argument}: x", "integer ids", array, TypeError)
        elif name != "y" and not jnp.issubdtype(array.dtype, jnp.floating):
            expected = "floating point (a stream, epoch -> iterator of batches, can cast what it reads)"
            raise checks.fail("fit", f"{argument}: {name}", expected, array, TypeError)
        found.append(Form(array.shape[1:], host_dtype(array.dtype)))
    return tuple(found)


def row_bytes(like: Sequence[Form]) -> int:
    """The bytes of one example."""
    return sum(form.size * form.dtype.itemsize for form in like)


def allocate(like: Sequence[Form], rows: int) -> HostRows:
    """Memory for this many examples, aligned so that JAX's CPU device uses it without a copy."""
    out = []
    for form in like:
        shape, dtype = (rows, *form.shape), np.dtype(form.dtype)
        raw = np.empty(rows * form.size * dtype.itemsize + _ALIGNMENT, np.uint8)
        begin = -raw.ctypes.data % _ALIGNMENT
        out.append(raw[begin : begin + raw.size - _ALIGNMENT].view(dtype).reshape(shape))
    return tuple(out)


def allocate_two(like: Sequence[Form], rows: int) -> Iterator[HostRows]:
    """Two buffers in turn: one for the chunk in use, one for the chunk that is read meanwhile."""
    return itertools.cycle([allocate(like, rows), allocate(like, rows)])


def read(array: Any, index: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out[:n] = array[index], n = len(index), for an ascending index.

    Integers that the dtype of `out` cannot hold raise UnfitError, with the number of the row.

    Stretches of neighbouring rows are read one by one, scattered rows a few at a time. Pages of a mapped file are
    released meanwhile: they stay in the cache of the system, not in the memory of the process.
    """
    begins, held = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1), 0
    together = 8 * len(begins) <= len(index)
    if not together:
        begins = np.arange(0, len(index), max(1, _CACHED_BYTES // max(1, out[:1].nbytes)))
    for a, b in itertools.pairwise([*begins.tolist(), len(index)]):
        part = array[index[a] : index[a] + b - a] if together else array[index[a:b]]
        out[a:b] = narrow(part, index[a:b]) if array.dtype != out.dtype else part
        held += out[a:b].nbytes
        if held > _HELD_BYTES:
            _release(array)
            held = 0
    _release(array)
    return out[: len(index)]


def narrow(array: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the array as `host_values.narrowed` does. A mask must be empty (netCDF4 gives one with every read)."""
    if np.ma.is_masked(array):
        refuse_masked(array)
    return narrowed(np.asarray(array), rows)


def read_all(arrays: Sequence[Any], index: np.ndarray, buffer: HostRows) -> list[np.ndarray]:
    """`read` for x, y and weight."""
    found = []
    for name, array, out in zip(NAMES, arrays, buffer, strict=False):
        try:
            found.append(read(array, index, out))
        except UnfitError as error:
            raise checks.not_an_array("fit", f"data: {name}", array, error) from None
    return found


def _release(array: Any) -> None:
    if isinstance(array, np.memmap) and array.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        mapped = getattr(array, "_mmap", None)
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)


def check_values(
    arrays: Sequence[np.ndarray], validate: Validate, where: Callable[[int], str], vocabulary: int | None = None
) -> None:
    """Raise if values are not finite, weights negative, targets or ids invalid; `where` names a row.

    Rows of weight 0 may hold anything.
    """
    weight = arrays[2] if len(arrays) == 3 else None
    for name, array in zip(NAMES, arrays, strict=False):
        if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array).all():
            finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            finite = finite if weight is None else finite | (weight == 0)
            if not finite.all():
                came = f"NaN or infinity, first in {where(int(np.argmin(finite)))}"
                raise checks.fail("fit", f"data: {name}", "finite", came=came)
    if len(arrays) == 3 and (arrays[2] < 0).any():
        bad = int(np.argmax(arrays[2] < 0))
        raise checks.fail("fit", "data: weight", "non-negative", came=f"a negative weight, first in {where(bad)}")
    if vocabulary is not None:
        inputs("fit", "data: x", arrays[0], vocabulary, weight, where)
    validate_targets(validate, arrays[1], weight, where)


def validate_targets(validate: Validate, targets: np.ndarray, weight: Any, where: Callable[[int], str]) -> None:
    """Let `validate` check the targets that have weight. Its error gets the first bad row, as `where` names it."""
    if weight is not None:
        weight = np.asarray(weight)
        if not weight.any():
            return
        targets = replace_rows_on_host(targets, weight)
    try:
        validate(targets)
    except ValueError as error:
        if targets.ndim > 1 and _is_refused(validate, targets[:0]):
            raise  # for their shape, which is that of every row
        row = bisect.bisect(range(len(targets)), False, key=lambda row: _is_refused(validate, targets[: row + 1]))
        if row == len(targets):
            raise
        if weight is not None and weight[row] == 0:
            row = int(np.argmax(weight != 0))  # the row that took its place
        value = f": {targets[row]}" if targets.ndim == 1 else ""
        raise ValueError(f"{error}, first in {where(row)}{value}") from None


def _is_refused(validate: Validate, targets: np.ndarray) -> bool:
    try:
        validate(targets)
    except ValueError:
        return True
    return False
