"""Few numbers of rows: prediction and evaluation pad their rows, so that many numbers share a compiled program.

XLA compiles a program for each shape. A caller that predicts for 1, 2, 3, … rows would wait for a compilation at each
call. The arrays are padded with copies of their last row to one of a few numbers of rows, and what is computed for the
copies is left out of the results.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from fnn.training.compiled import compiled

_SMALL = 1024  # up to here the numbers are powers of two: the rows cost less than a program
_KEPT = 8  # programs that cut or pad, which only platforms other than the CPU need


def few_rows(size: int, batch_size: int | None = None) -> int:
    """The number of rows to compute in place of `size`: at least as many, and one of a few numbers.

    Up to 1024 it is a power of two, above at most a quarter more than `size`. If `batch_size` is smaller than that, it
    is `batch_size` or a multiple of it.

    >>> [few_rows(size) for size in (1, 3, 100, 1000, 1025, 10_000)]
    [1, 4, 128, 1024, 1280, 10240]
    >>> [few_rows(size, 100) for size in (1, 60, 70, 100, 101, 800, 801)]
    [1, 64, 100, 100, 200, 800, 1000]
    """
    rows = _round_up(size, 1 if size <= _SMALL else 4)
    if batch_size is None or rows <= batch_size:
        return rows
    return batch_size * _round_up(-(-size // batch_size), 4)


def _round_up(n: int, numbers: int) -> int:
    """Round up to one of so many numbers between a power of two and the next."""
    unit = max(1, (1 << (n - 1).bit_length()) // (2 * numbers))
    return -(-n // unit) * unit


def may_pad(trees: PyTree) -> bool:
    """Return whether all leaves are values on one device each: not traced, and not on the devices of a mesh."""
    leaves = jax.tree.leaves(trees)
    on_one_device = lambda a: not isinstance(a, Tracer) and len(a.devices()) == 1
    return all(on_one_device(a) for a in leaves if isinstance(a, jax.Array))


def pad_rows(array: Array, rows: int) -> Array:
    """The array padded with copies of its last row to `rows` rows.

    >>> pad_rows(np.array([1, 2]), 4)
    array([1, 2, 2, 2])
    """
    missing = rows - array.shape[0]
    if missing == 0:
        return array
    if not _on_host(array):
        return _pad_rows(rows, array)
    values = np.asarray(array)
    padded = np.concatenate([values, np.broadcast_to(values[-1:], (missing, *values.shape[1:]))])
    return _placed_like(array, padded) if isinstance(array, jax.Array) else padded


def first_rows(array: Array, rows: int) -> Array:
    """The first `rows` rows of an array."""
    if rows == array.shape[0]:
        return array
    return _placed_like(array, np.asarray(array)[:rows]) if _on_host(array) else _first_rows(rows, array)


def _on_host(array: Array) -> bool:
    """Whether NumPy can cut and pad the array without a transfer, and without a program for each shape."""
    return isinstance(array, np.ndarray) or all(device.platform == "cpu" for device in array.devices())


def _placed_like(array: Array, values: np.ndarray) -> Array:
    return jax.device_put(values, array.sharding if array.committed else None)


@compiled(static=1, kept=_KEPT)
def _pad_rows(rows: int, array: Array) -> Array:
    missing = rows - array.shape[0]
    return jnp.concatenate([array, jnp.broadcast_to(array[-1:], (missing, *array.shape[1:]))])


@compiled(static=1, kept=_KEPT)
def _first_rows(rows: int, array: Array) -> Array:
    return array[:rows]
