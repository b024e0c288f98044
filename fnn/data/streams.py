"""Data larger than the device: arrays in files, or a function epoch -> iterator of batches, read chunk by chunk."""

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.checks.host_values import UnfitError
from fnn.data import host_rows
from fnn.data.arrays import check_batch_size, check_examples, unpack_batch
from fnn.data.host_rows import NAMES, Form, HostRows, Validate
from fnn.data.identity import describe_array
from fnn.data.order import host_generator, rechunk, shuffled_windows
from fnn.data.prefetch import Piece
from fnn.types import Batch, Data, PRNGKey

_MEMORY = 2**27  # bytes of device memory for a stream without `device_memory`

Stream = Callable[[int], Iterable[Data]]
"""epoch -> an iterator of its batches: (x, y) or (x, y, weight)."""

Pieces = Callable[[PRNGKey, int, int, Validate | None], Generator[Piece, None, None]]


class Source(NamedTuple):
    """Where the examples of a training come from, epoch after epoch.

    Attributes:
      like: shape and dtype of one example: of x, y and, if there is one, weight.
      size: number of examples of an epoch; None for a stream, whose length is known only at its end.
      steps: number of batches that a chunk has room for.
      pieces: (key, epoch, position, validate) -> the pieces from that step of that epoch to its end, one for each
        chunk. Two buffers alternate, so the memory of a piece is overwritten two pieces later. If `validate` is given,
        it checks the targets, and all values are checked.
      about: () -> the fingerprint of the data, which may read all of them.
    """

    like: tuple[Form, ...]
    size: int | None
    steps: int
    pieces: Pieces
    about: Callable[[], list[str]]


def source(
    data: Any, batch_size: int, device_memory: int | None, window: int | None, vocabulary: int | None = None
) -> Source | None:
    """The data of `fit` as a Source; None if they are arrays for the device."""
    memory = None if device_memory is None else checks.positive_int("fit", "device_memory", device_memory)
    window = None if window is None else checks.positive_int("fit", "window", window)
    if callable(data):
        return _of_batches(data, batch_size, _MEMORY if memory is None else memory, window, vocabulary)
    if hasattr(data, "__next__"):
        expected = "arrays, or a function epoch -> iterator of batches (an iterator serves one epoch only)"
        raise checks.fail("fit", "data", expected, error=TypeError, came=type(data).__name__)
    if memory is None:
        if window is not None:
            raise checks.fail(
                "fit", "device_memory", "given if `window` is (without it all rows are shuffled)", came="None"
            )
        return None
    arrays = _parts("data", unpack_batch("fit", data))
    size, like = check_examples("fit", arrays), host_rows.shapes_of_rows("data", arrays, vocabulary is not None)
    check_batch_size("fit", batch_size, size)
    if size * host_rows.row_bytes(like) <= memory and (window is None or window >= size):
        return None
    return _of_arrays(arrays, like, batch_size, memory, window, vocabulary)


def blank(like: Sequence[Form], rows: int) -> Batch:
    """`rows` examples of zeros."""
    return tuple(jnp.zeros((rows, *form.shape), form.dtype) for form in like)


def _parts(argument: str, data: Sequence[Any]) -> list[Any]:
    named = zip(NAMES, data, strict=False)
    return [host_rows.on_host(f"{argument}: {name}", part) for name, part in named if part is not None]


def chunk_bytes(source: Source | None, batch_size: int) -> int:
    """The bytes of the two chunks that are on the device at a time, without their indices. 0 without a source."""
    return 0 if source is None else 2 * source.steps * batch_size * host_rows.row_bytes(source.like)


def _steps(like: Sequence[Form], batch_size: int, memory: int) -> int:
    """Return the largest number of batches per chunk for which two chunks and their indices fit into `memory`."""
    batch = batch_size * (host_rows.row_bytes(like) + 4)
    if 2 * batch > memory:
        raise checks.fail("fit", "device_memory", f"at least {2 * batch} (two chunks of one batch)", memory)
    return memory // (2 * batch)


def _of_arrays(
    arrays: list[Any], like: Any, batch_size: int, memory: int, window: int | None, vocabulary: int | None
) -> Source:
    size, row_bytes = arrays[0].shape[0], host_rows.row_bytes(like)
    steps = min(_steps(like, batch_size, memory), -(-size // batch_size))
    window = steps * batch_size if window is None else window

    def pieces(key: PRNGKey, epoch: int, position: int, validate: Validate | None) -> Generator[Piece, None, None]:
        skip, count = position * batch_size, steps * batch_size
        left, buffers = size - skip, host_rows.allocate_two(like, count)
        for index in rechunk(shuffled_windows(key, epoch, size, window, row_bytes), skip, count):
            order = np.argsort(index)
            index, buffer = index[order], next(buffers)
            read = host_rows.read_all(arrays, index, buffer)
            if validate is not None:
                host_rows.check_values(read, validate, lambda bad, index=index: f"row {index[bad]}", vocabulary)
            rank = np.empty(len(order), np.int32)
            rank[order] = np.arange(len(order), dtype=np.int32)
            left -= len(order)
            yield Piece(buffer, rank, left == 0)

    def about() -> list[str]:
        return [*map(describe_array, arrays, like), f"window {min(window, size)}"]

    return Source(like, size, steps, pieces, about)


def _of_batches(
    stream: Callable[[int], Any], batch_size: int, memory: int, window: int | None, vocabulary: int | None
) -> Source:
    first, ids = _batches(stream, 0, None), vocabulary is not None
    like, given = host_rows.shapes_of_rows("data", next(_checked(first, 0, batch_size, None, ids)), ids), first
    steps = _steps(like, batch_size, memory)
    if isinstance(given, Generator):
        given.close()

    def pieces(key: PRNGKey, epoch: int, position: int, validate: Validate | None) -> Generator[Piece, None, None]:
        batches = _checked(_batches(stream, epoch, given), epoch, batch_size, like, ids)
        if window is not None:
            batches = _shuffle_within(batches, key, epoch, batch_size, max(1, window // batch_size))
        buffers, filled = host_rows.allocate_two(like, steps * batch_size), 0
        buffer = next(buffers)
        for number, batch in itertools.islice(enumerate(batches), position, None):
            if validate is not None:
                where = f"of batch {number + 1} of epoch {epoch + 1}"
                host_rows.check_values(batch, validate, lambda bad, where=where: f"row {bad} {where}", vocabulary)
            if filled == steps * batch_size:
                yield Piece(buffer, np.arange(filled, dtype=np.int32), False)
                buffer, filled = next(buffers), 0
            for out, part in zip(buffer, batch, strict=True):
                out[filled : filled + len(part)] = part
            filled += len(batch[0])
        if not filled:
            expected = f"a stream with more than {position} batches in epoch {epoch + 1}, as before"
            raise checks.fail("fit", "data", expected, came="its end")
        yield Piece(buffer, np.arange(filled, dtype=np.int32), True)

    name = getattr(stream, "__qualname__", type(stream).__qualname__)
    about = [f"stream {name}", *(f"{form.dtype} {form.shape}" for form in like), f"window {window}"]
    return Source(like, None, steps, pieces, lambda: about)


def _batches(stream: Callable[[int], Any], epoch: int, earlier: Any) -> Iterator[Any]:
    """The stream's iterator for this epoch, which must not be the earlier one."""
    given = stream(epoch)
    if not hasattr(given, "__iter__"):
        expected = "a function epoch -> iterator of batches"
        raise checks.fail("fit", "data", expected, error=TypeError, came=f"one that returns {checks.describe(given)}")
    iterator = iter(given)
    if iterator is earlier:
        expected = "a function that returns a new iterator at each call"
        raise checks.fail("fit", "data", expected, came="the same one again")
    return iterator


def _checked(
    batches: Iterator[Any], epoch: int, batch_size: int, like: tuple[Form, ...] | None, ids: bool = False
) -> Iterator[HostRows]:
    """The batches as NumPy arrays, checked: shapes as in the first one, and only the last one smaller."""
    short: int | None = None
    number = 0
    for number, batch in enumerate(batches, 1):
        name = f"data: batch {number} of epoch {epoch + 1}"
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            came = type(batch).__name__
            raise checks.fail("fit", name, "(x, y) or (x, y, weight)", error=TypeError, came=came)
        arrays = _parts(name, batch)
        found = host_rows.shapes_of_rows(name, arrays, ids)
        like = found if like is None else like
        if len(found) != len(like):
            raise checks.fail("fit", name, f"of {len(like)} arrays, as the first one", came=f"{len(found)}")
        for part, array, form, wanted in zip(NAMES, arrays, found, like, strict=False):
            if form != wanted:
                expected = (
                    f"{wanted.dtype} of shape ({', '.join(['rows', *map(str, wanted.shape)])}), as in the first batch"
                )
                raise checks.fail(
                    "fit", f"{name}: {part}", expected, array, TypeError if form.shape == wanted.shape else ValueError
                )
        rows = sorted({len(array) for array in arrays})
        if short is not None or len(rows) > 1 or not 1 <= rows[0] <= batch_size:
            came = " and ".join(map(str, rows))
            if short is not None:
                name, came = f"data: batch {number - 1} of epoch {epoch + 1}", f"{short} and another batch after it"
            raise checks.fail("fit", name, f"of {batch_size} rows (fewer only if it is the last one)", came=came)
        short = len(arrays[0]) if len(arrays[0]) < batch_size else None
        yield tuple(itertools.starmap(functools.partial(_narrow, name), zip(NAMES, arrays, strict=False)))
    if not number:
        raise checks.fail("fit", "data", f"a stream of at least one batch in epoch {epoch + 1}", came="none")


def _narrow(name: str, part: str, array: Any) -> np.ndarray:
    try:
        return host_rows.narrow(array)
    except UnfitError as error:
        raise checks.not_an_array("fit", f"{name}: {part}", array, error) from None


def _shuffle_within(
    batches: Iterator[HostRows], key: PRNGKey, epoch: int, batch_size: int, count: int
) -> Iterator[HostRows]:
    """Shuffle together the examples of every `count` batches."""
    rng = host_generator(key, epoch)
    copies = (tuple(map(np.array, batch)) for batch in batches)  # the stream may reuse the memory of its batches
    while held := list(itertools.islice(copies, count)):
        joined = [np.concatenate(parts) for parts in zip(*held, strict=True)]
        order = rng.permutation(len(joined[0]))
        for begin in range(0, len(order), batch_size):
            yield tuple(part[order[begin : begin + batch_size]] for part in joined)
