"""Rows of arrays that lie on the host or in a file: their order in an epoch, and copies of some of them.

Where the window holds all rows the order is that of data on the device. Where it does not, blocks of neighbours come
in random order and what a window of them holds is shuffled: a file is read in stretches, and examples that lie
together do not stay together.
"""

import itertools
import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks

Form = jax.ShapeDtypeStruct
HostRows = tuple[np.ndarray, ...]
Validate = Callable[[np.ndarray], None]

NAMES = "x", "y", "weight"
_CACHED_BYTES = 2**18  # what is copied at a time where rows lie apart
_HELD_BYTES = 2**21  # how much of a file a process holds on to at most
_ALIGNMENT = 64  # what the CPU takes over as it is, without a copy


def on_host(argument: str, value: Any) -> Any:
    """What NumPy indexes, or what is indexed like it and lies in a file, as it is; anything else as NumPy's."""
    alike = all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__"))
    if isinstance(value, np.ndarray) or (
        alike and isinstance(value.dtype, np.dtype) and not isinstance(value, jax.Array)
    ):
        return value
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        raise checks.fail("fit", argument, "an array of numbers", error=TypeError, came=type(value).__name__) from None


def shapes_of_rows(argument: str, arrays: Sequence[Any]) -> tuple[Form, ...]:
    """The form of one example of x, y and weight, in the dtypes that JAX has for them."""
    found = []
    for name, array in zip(NAMES, arrays, strict=False):
        numbers = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == np.bool_
        if not numbers or not array.shape:
            raise checks.fail("fit", f"{argument}: {name}", "an array of numbers, (examples, …)", array, TypeError)
        if name != "y" and not jnp.issubdtype(array.dtype, jnp.floating):
            expected = "floating point (a stream, epoch -> iterator of batches, can cast what it reads)"
            raise checks.fail("fit", f"{argument}: {name}", expected, array, TypeError)
        found.append(Form(array.shape[1:], jax.dtypes.canonicalize_dtype(array.dtype)))
    return tuple(found)


def row_bytes(like: Sequence[Form]) -> int:
    """Of one example."""
    return sum(form.size * form.dtype.itemsize for form in like)


def allocate(like: Sequence[Form], rows: int) -> HostRows:
    """Memory for so many examples, as a device that is the host takes it over without a copy."""
    out = []
    for form in like:
        shape, dtype = (rows, *form.shape), np.dtype(form.dtype)
        raw = np.empty(rows * form.size * dtype.itemsize + _ALIGNMENT, np.uint8)
        begin = -raw.ctypes.data % _ALIGNMENT
        out.append(raw[begin : begin + raw.size - _ALIGNMENT].view(dtype).reshape(shape))
    return tuple(out)


def allocate_two(like: Sequence[Form], rows: int) -> Iterator[HostRows]:
    """Two of them, in turn: for what is computed on, and for what is read meanwhile."""
    return itertools.cycle([allocate(like, rows), allocate(like, rows)])


def read(array: Any, index: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out[:n] = array[index], n = len(index), index ascending: stretches of neighbours one by one, or a bit at a time.

    A file that is mapped into memory is let go of meanwhile: its pages stay with the system, not with the process.
    """
    begins, held = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1), 0
    together = 8 * len(begins) <= len(index)
    if not together:
        begins = np.arange(0, len(index), max(1, _CACHED_BYTES // max(1, out[:1].nbytes)))
    for a, b in itertools.pairwise([*begins.tolist(), len(index)]):
        out[a:b] = array[index[a] : index[a] + b - a] if together else array[index[a:b]]
        held += out[a:b].nbytes
        if held > _HELD_BYTES:
            _let_go(array)
            held = 0
    _let_go(array)
    return out[: len(index)]


def _let_go(array: Any) -> None:
    if isinstance(array, np.memmap) and array.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        mapped = getattr(array, "_mmap", None)
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)


def check_values(arrays: Sequence[np.ndarray], validate: Validate, where: Callable[[int], str]) -> None:
    """Raises unless all is finite, weights are not negative and targets can be meant; `where` names a row."""
    for name, array in zip(NAMES, arrays, strict=False):
        if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array).all():
            bad = int(np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
            raise checks.fail("fit", f"data: {name}", "finite", came=f"NaN or infinity, first in {where(bad)}")
    if len(arrays) == 3 and (arrays[2] < 0).any():
        bad = int(np.argmax(arrays[2] < 0))
        raise checks.fail("fit", "data: weight", "non-negative", came=f"a negative weight, first in {where(bad)}")
    validate(arrays[1])
