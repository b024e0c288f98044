"""Arrays on the host or in files as elements: windows of their rows, in the order of training."""

import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from fnn import checks
from fnn.data.arrays import check_examples
from fnn.data.order import shuffled_windows
from fnn.data.prefetch import Place, Reader, same_settings
from fnn.data.values import NAMES
from fnn.sharding.tiles import Tiles, own_part
from fnn.types import PRNGKey

_READ = 2**23  # bytes of an element of `from_files`
_MARK = "fnn_from_files"  # an attribute of its datasets


def arrays_of(function: str, prefix: str, data: Sequence[Any]) -> list[Any]:
    """NumPy arrays and array-like objects on disk (h5py) unchanged; others as NumPy arrays."""
    on_disk = lambda part: hasattr(part, "__getitem__") and isinstance(getattr(part, "dtype", None), np.dtype)
    named = [(f"{prefix}{name}", part) for name, part in zip(NAMES, data, strict=True) if part is not None]
    kept = lambda part: on_disk(part) and not isinstance(part, jax.Array | np.ma.MaskedArray)
    return [part if kept(part) else checks.on_host(function, name, part) for name, part in named]


def _divide(
    size: int, row_bytes: int, window: int, most: int, key: PRNGKey
) -> tuple[int, Callable[[int], Int[np.ndarray, " rows"]]]:
    """Divide the rows of each epoch into elements: windows, or parts of them of about `most` rows.

    Returns: the number n of elements of an epoch, and e·n + i -> the rows of element i of epoch e in training order.
    """
    windows, rows_of = shuffled_windows(key, size, window, row_bytes)
    rows_of, parts = functools.lru_cache(maxsize=2)(rows_of), -(-min(window, size) // most)

    def rows_of_element(index: int) -> np.ndarray:
        epoch, number = divmod(index, windows * parts)
        return np.array_split(rows_of(epoch, number // parts), parts)[number % parts]

    return windows * parts, rows_of_element


def _read(arrays: Sequence[Any], rows: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """What arrays have in these rows, which are read in ascending order, and where each of them then is."""
    ascending = np.argsort(rows)
    order = np.empty_like(ascending)
    order[ascending] = np.arange(len(rows))
    return [array[rows[ascending]] if len(rows) else array[:0] for array in arrays], order


class Files(NamedTuple):
    """What a dataset of `from_files` reads: arrays, bytes per row, the window, rows per element, and the key."""

    arrays: Sequence[Any]
    row_bytes: int
    window: int
    most: int
    key: PRNGKey


def array_reader(
    arrays: Sequence[Any], row_bytes: int, window: int, most: int, own_key: PRNGKey | None, shared: Tiles
) -> Reader:
    """Return what reads this process's rows of each batch, in the order of `own_key` or of the training's key."""

    def divided(key: PRNGKey) -> tuple[int, Callable[[int], np.ndarray]]:
        return _divide(arrays[0].shape[0], row_bytes, window, most, key if own_key is None else own_key)

    def read(key: Any, epoch: int, place: Place, _: bool) -> Generator[tuple[Place, Any, np.ndarray], None, None]:
        count, rows_of = divided(key)
        begin = sum(len(rows_of(epoch * count + number)) for number in range(place.element))
        for number in range(place.element, count):
            rows = rows_of(epoch * count + number)
            own, order = own_part(shared, begin, len(rows)), np.full(len(rows), -1)
            parts, order[own] = _read(arrays, rows[own])
            begin += len(rows)
            yield Place(number), parts, order
            del parts

    def row(key: PRNGKey, epoch: int, place: Place) -> str:
        count, rows_of = divided(key)
        return f"row {rows_of(epoch * count + place.element)[place.rows]}"

    return Reader(read, lambda *_: "data", row)


def own_reader(data: Any, shared: Tiles) -> Reader | None:
    """Return what reads the rows of one of several processes from a dataset of `from_files`; None if the data are
    something else, such as a mapped one, whose function may need all rows.
    """
    files: Files | None = None if len(shared.own) == shared.shards else getattr(data, _MARK, None)
    return None if files is None else array_reader(*files, shared)


def from_files(x: Any, y: Any, weight: Any = None, *, window: int | None = None, key: PRNGKey | None = None) -> Any:
    """Read arrays from files or memory as a dataset of Grain, for `fit(data=…)`.

    Each element is a group of rows, (x, y) or (x, y, weight), in the order of training and of at most about 8 MiB, so
    that `.map(function)` works on many rows at once. Every row comes once per epoch, each epoch in another order.

    Args:
      x: inputs with one row per example: a memory map (`np.load(…, mmap_mode="r")`), a dataset of h5py, or an array.
      y: targets.
      weight: weights.
      window: number of rows shuffled together. Blocks of adjacent rows are read in random order. A window of all rows
        has the order of training in memory. Default: the rows of an element.
      key: PRNG key of the order. Default: `jax.random.key(0)`.

    Returns:
      A `grain.MapDataset`. Its length is the number of elements of an epoch.

    Raises:
      ImportError: if Grain is not installed (`pip install 'fnn[streams]'`).

    >>> import fnn
    >>> x, y = np.arange(600, dtype=np.uint8).reshape(100, 6), np.arange(100) % 3
    >>> dataset = from_files(x, y, window=100).map(lambda rows: (rows[0] / np.float32(255), rows[1]))
    >>> result = fnn.fit(fnn.dense(6, 3), fnn.softmax_cross_entropy, fnn.sgd(0.1), dataset,
    ...                  epochs=2, batch_size=10, key=jax.random.key(0), progress=False)
    >>> int(result.state.step)
    20
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError("from_files: needs Grain; install it with `pip install 'fnn[streams]'`") from error
    arrays = arrays_of("from_files", "", (x, y, weight))
    check_examples("from_files", arrays)
    each = max(1, sum(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays))
    most = max(1, _READ // each)
    window = most if window is None else checks.positive_int("from_files", "window", window)
    key = jax.random.key(0) if key is None else checks.key("from_files", key)
    count, rows_of = _divide(arrays[0].shape[0], each, window, most, key)
    settings = same_settings()

    def element(index: int, _: Any) -> tuple[np.ndarray, ...] | None:
        with settings():
            parts, order = _read(arrays, rows_of(index))
        return tuple(part[order] for part in parts) if len(order) else None

    dataset = grain.MapDataset.range(count).map_with_index(element)
    setattr(dataset, _MARK, Files(arrays, each, window, most, key))
    return dataset


def files_of(data: Any) -> Files | None:
    """What a dataset of `from_files`, perhaps mapped, reads: the same in every process. None for other data."""
    found = map(files_of, getattr(data, "parents", ()))
    return getattr(data, _MARK, None) or next(filter(None, found), None)
