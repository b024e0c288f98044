"""Rows of arrays on the host or in files: their shapes and dtypes, and elements that are windows of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.checks.host_values import UnfitError, host_dtype, narrowed, refuse_masked
from fnn.data.arrays import check_examples
from fnn.data.order import shuffled_windows
from fnn.data.prefetch import Form, same_settings
from fnn.types import PRNGKey

_READ = 2**23  # bytes of an element of `from_files`

NAMES = "x", "y", "weight"


def row_bytes(like: Sequence[Form]) -> int:
    return sum(form.size * form.dtype.itemsize for form in like)


def parts(function: str, prefix: str, data: Sequence[Any]) -> list[Any]:
    """x, y and perhaps weight: NumPy arrays and array-like objects on disk (h5py) unchanged, others as NumPy arrays."""
    found = []
    for name, value in zip(NAMES, data, strict=False):
        if value is None:
            continue
        alike = all(hasattr(value, attribute) for attribute in ("shape", "dtype", "__getitem__"))
        try:
            refuse_masked(value)
            kept = alike and isinstance(value.dtype, np.dtype) and not isinstance(value, jax.Array)
            found.append(value if kept else np.asarray(value))
        except (TypeError, ValueError, RuntimeError) as error:
            raise checks.not_an_array(function, f"{prefix}{name}", value, error) from None
    return found


def forms(function: str, prefix: str, arrays: Sequence[Any], ids: bool | None = None) -> tuple[Form, ...]:
    """Shape and dtype of one example of x, y and weight, in the dtypes that JAX has for them.

    If `ids`, x must be integers; if that is False, floating point.
    """
    found = []
    for name, array in zip(NAMES, arrays, strict=False):
        if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != np.bool_:
            raise checks.not_an_array(function, f"{prefix}{name}", array, TypeError())
        if not array.shape:
            raise checks.fail(function, f"{prefix}{name}", "an array of numbers, (examples, …)", array, TypeError)
        if name == "x" and ids and not jnp.issubdtype(array.dtype, jnp.integer):
            raise checks.fail(function, f"{prefix}x", "integer ids", array, TypeError)
        if (name == "weight" or (name == "x" and ids is False)) and not jnp.issubdtype(array.dtype, jnp.floating):
            expected = (
                "floating point (fnn.data.from_files(…).map(…), or a function of batches, can cast what it reads)"
            )
            raise checks.fail(function, f"{prefix}{name}", expected, array, TypeError)
        found.append(Form(array.shape[1:], host_dtype(array.dtype)))
    return tuple(found)


def narrow(
    function: str, prefix: str, arrays: Sequence[Any], given: Sequence[Any], rows: Any = None
) -> list[np.ndarray]:
    """The arrays in dtypes that JAX has. An array's mask must be empty (netCDF4 gives one with every read)."""
    found = []
    for name, array, whole in zip(NAMES, arrays, given, strict=False):
        try:
            if np.ma.is_masked(array):
                refuse_masked(array)
            found.append(narrowed(np.asarray(array), rows))
        except UnfitError as error:
            raise checks.not_an_array(function, f"{prefix}{name}", whole, error) from None
    return found


def reader(
    function: str, prefix: str, arrays: Sequence[Any], like: Sequence[Form], key: PRNGKey, window: int, most: int
) -> tuple[int, Callable[[int], tuple[np.ndarray, np.ndarray, list[np.ndarray]]]]:
    """Divide the epochs of arrays into elements: windows, or parts of them of at most about `most` rows.

    Returns:
      The number n of elements of an epoch, and e·n + i -> element i of epoch e: the numbers of its rows, ascending; the
      order to train on them; and x, y and perhaps weight.
    """
    size = arrays[0].shape[0]
    windows, rows_of = shuffled_windows(key, size, window, row_bytes(like))
    rows_of, parts = functools.lru_cache(maxsize=2)(rows_of), -(-min(window, size) // most)

    def read(index: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        epoch, number = divmod(index, windows * parts)
        rows = np.array_split(rows_of(epoch, number // parts), parts)[number % parts]
        ascending = np.argsort(rows)
        order = np.empty_like(ascending)
        order[ascending] = np.arange(len(rows))
        rows = rows[ascending]
        return rows, order, narrow(function, prefix, [array[rows] for array in arrays], arrays, rows)

    return windows * parts, read


def from_files(x: Any, y: Any, weight: Any = None, *, window: int | None = None, key: PRNGKey | None = None) -> Any:
    """Read arrays from memory or files, as a dataset of Grain for `fit(data=…)`.

    Each element is a group of rows (x, y) or (x, y, weight), about 8 MiB of them, in the order of training, so that
    `.map(function)` works on many rows at once. Every row comes once per epoch, and epochs have different orders.

    Args:
      x: inputs with one row per example: NumPy arrays, memory maps (`np.load(..., mmap_mode="r")`) or HDF5 datasets.
      y: targets.
      weight: weights, or None.
      window: number of rows shuffled together; blocks of neighbouring rows come in random order. A window of all rows
        gives the order of training in memory. Default: the rows of an element.
      key: PRNG key of the order. Default: `jax.random.key(0)`.

    Returns:
      A `grain.MapDataset`. Its length is the number of elements of an epoch.

    Raises:
      ImportError: without Grain: `pip install 'fnn[streams]'`.
      ValueError, TypeError: if the arrays differ in length or hold no numbers.
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError("from_files: needs Grain; install it with `pip install 'fnn[streams]'`") from error
    arrays = parts("from_files", "", (x, y, weight))
    check_examples("from_files", arrays)
    like = forms("from_files", "", arrays)
    most = max(1, _READ // max(1, row_bytes(like)))
    window = most if window is None else checks.positive_int("from_files", "window", window)
    key = jax.random.key(0) if key is None else checks.key("from_files", key)
    count, read = reader("from_files", "", arrays, like, key, window, most)
    settings = same_settings()

    def element(index: int, _: Any) -> tuple[np.ndarray, ...] | None:
        with settings():
            _, order, found = read(index)
        return tuple(part[order] for part in found) if len(order) else None

    return grain.MapDataset.range(count).map_with_index(element)
