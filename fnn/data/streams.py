"""Data larger than the device: arrays in memory or in files, Grain datasets, iterables with a state, functions."""

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.arrays import check_batch_size, check_examples, unpack_batch
from fnn.data.files import array_reader, arrays_of, own_reader
from fnn.data.identity import describe_array
from fnn.data.iterables import iterable_reader
from fnn.data.order import host_generator
from fnn.data.prefetch import Element, Form, Place, Places, Reader, place_at, same_settings
from fnn.data.process_shares import agree_on_rows, is_shared
from fnn.data.values import NAMES, Validate, check_values, validate_targets
from fnn.sharding import agreement
from fnn.sharding.layout import Layout
from fnn.sharding.process_rows import rows_of_process
from fnn.sharding.tiles import tiles_of
from fnn.types import Batch, Data, PRNGKey

_MEMORY = 2**27  # bytes of device memory for a stream without `device_memory`
_TOGETHER = 2**20  # bytes of a stream's elements that are checked and sent on together
_PLAIN = np.ndarray, np.memmap  # types of arrays

Stream = Callable[[int], Iterable[Data]] | Iterable[Data]
"""A dataset or iterator of Grain or of its kind, or epoch -> an iterable; of elements (x, y) or (x, y, weight)."""


class Source(NamedTuple):
    """Where the examples of a training come from, epoch after epoch.

    Attributes:
      like: shape and dtype of one example: of x, y and, if there is one, weight.
      size: number of examples of an epoch; None for a stream, whose length is known only at its end.
      steps: number of batches that a chunk has room for.
      elements: (key, epoch, place, validate, record) -> the elements from that place of that epoch to its end. If
        `validate` is given, it checks the targets, and all values are checked. If `record`, places have states.
      about: () -> the fingerprint of the data, which may read all of them.
      shares: whether an element is this process's share of a batch.
    """

    like: tuple[Form, ...]
    size: int | None
    steps: int
    elements: Callable[[PRNGKey, int, Place, Validate | None, bool], Iterator[Element]]
    about: Callable[[], list[str]]
    shares: bool = False


def source(
    data: Any,
    batch_size: int,
    device_memory: int | None,
    window: int | None,
    vocabulary: int | None = None,
    layout: Layout | None = None,
) -> Source | None:
    """The data of `fit` as a Source; None if they are arrays for the device."""
    memory = None if device_memory is None else checks.positive_int("fit", "device_memory", device_memory)
    window = None if window is None else checks.positive_int("fit", "window", window)
    with agreement.fail_together("fit"):
        shares, shared = is_shared(data, window), tiles_of(layout, batch_size)
        own = own_reader(data, shared) if window is None else None
        reader = own or iterable_reader(data, shares)
        arrays, size, where = [], None, "data"
        if reader is not None:
            with same_settings()(), contextlib.closing(reader.read(None, 0, Place(), False)) as reads:
                _, parts, _ = next(reads, (None, None, None))
            where = reader.element(0, Place())
        elif memory is not None:
            arrays = arrays_of("fit", "data: ", unpack_batch("fit", data))
            size, parts = check_examples("fit", arrays), [array[:1] for array in arrays]
            check_batch_size("fit", batch_size, size)
        elif window is None:
            return None
        else:
            expected = "given if `window` is (without it all rows are shuffled)"
            raise checks.fail("fit", "device_memory", expected, came="None")
        first = None if parts is None else _converted(parts, where)
        if first is not None:
            check_values("fit", where, _named(first), vocabulary)
            first = tuple(Form(part.shape[1:], part.dtype) for part in first)
    like = agree_on_rows(first)
    memory, each = memory or _MEMORY, row_bytes(like)
    batch = max(1, batch_size * each)
    if size is not None and size * each <= memory and (window is None or window >= size):
        return None
    if 2 * batch > memory:
        raise checks.fail("fit", "device_memory", f"at least {2 * batch} (two chunks of one batch)", memory)
    steps = min(memory // (2 * batch), sys.maxsize if size is None else -(-size // batch_size))
    together, shuffle = -1, False  # a share of a batch, or a window of arrays, stays as it is
    if size is not None:
        window = min(size, steps * batch_size if window is None else window)
        reader = array_reader(arrays, each, window, steps * batch_size, None, shared)
    elif window is not None:
        together, shuffle = window - batch_size, True
    elif not shares and own is None:
        together = min(_TOGETHER // max(1, each), steps * batch_size // 8)
    assert reader is not None
    elements = functools.partial(_elements, reader, like, vocabulary, together, shuffle)
    order = f"window {window}" if window in (None, size) else f"shuffled within {window} rows"

    def about() -> list[str]:
        name = f"stream {getattr(data, '__qualname__', type(data).__qualname__)}"
        forms = [f"{form.dtype} {form.shape}" for form in like]
        return [*(map(describe_array, arrays) if arrays else [name, *forms]), order]

    return Source(like, size, steps, elements, about, shares)


def _elements(
    reader: Reader,
    like: Sequence[Form],
    vocabulary: int | None,
    together: int,
    shuffle: bool,
    key: PRNGKey,
    epoch: int,
    place: Place,
    validate: Validate | None,
    record: bool,
) -> Iterator[Element]:
    """The elements of a source: as many as make more than `together` rows are joined, and perhaps shuffled.

    Python takes about as long for the checks of ten rows as for those of a thousand.
    """

    def row_name(places: Places, order: np.ndarray | None, row: int) -> str:
        position = row if order is None else int(np.flatnonzero(order == row)[0])
        return reader.row(key, epoch, place_at(places, position))

    def converted() -> Iterator[Element]:
        for begin, parts, order in reader.read(key, epoch, place, record):
            if not _is_converted(parts, like):
                row = functools.partial(row_name, [(0, begin)], order)
                parts = _converted(parts, reader.element(epoch, begin), like, row)
            yield Element(tuple(parts), np.arange(len(parts[0])) if order is None else order, [(0, begin)])
            del parts

    for element in _joined(converted(), together):
        if validate is not None and len(element.arrays[0]):
            found, row = _named(element.arrays), functools.partial(row_name, element.places, element.order)
            check_values("fit", "data", found, vocabulary, row)
            validate_targets(validate, found["y"], found.get("weight"), row)
        if shuffle:
            _, begin = element.places[0]
            order = host_generator(key, epoch, begin.element + 1).permutation(element.order)
            element = Element(element.arrays, order, [(0, begin)])
        yield element
        del element


def _joined(elements: Iterator[Element], together: int) -> Iterator[Element]:
    """Join elements until they have more rows than `together`. Those held are copied: their memory may be reused."""
    held, rows = [], 0
    for element in elements:
        rows += len(element.order)
        if rows <= together:
            element = element._replace(arrays=tuple(map(np.array, element.arrays)))
        held.append(element)
        del element
        if rows > together:
            yield _join(held)
            held, rows = [], 0
    if held:
        yield _join(held)


def _join(held: list[Element]) -> Element:
    """The rows of these elements, in their order. Empties the list."""
    if len(held) == 1:
        return held.pop()
    begins = itertools.accumulate((len(element.order) for element in held), initial=0)
    places = [(begin, element.places[0][1]) for begin, element in zip(begins, held, strict=False)]
    arrays = tuple(map(np.concatenate, zip(*(element.arrays for element in held), strict=True)))
    held.clear()
    return Element(arrays, np.arange(len(arrays[0])), places)


def _named(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
    return dict(zip(NAMES, arrays, strict=False))


def blank(like: Sequence[Form], rows: int, layout: Layout | None = None) -> Batch:
    """`rows` examples of zeros; of several processes, those of this one."""
    rows = rows if layout is None else len(range(rows)[rows_of_process(layout, rows)])
    return tuple(jnp.zeros((rows, *form.shape), form.dtype) for form in like)


def row_bytes(like: Sequence[Form]) -> int:
    """The bytes of one example."""
    return sum(form.size * form.dtype.itemsize for form in like)


def chunk_bytes(source: Source | None, batch_size: int) -> int:
    """The bytes of the two chunks that are on the device at a time. 0 without a source."""
    return 0 if source is None else 2 * source.steps * batch_size * row_bytes(source.like)


def _is_converted(parts: Any, like: Sequence[Form]) -> bool:
    """Whether `_converted` would return these parts as they are, and would refuse nothing."""
    plain = isinstance(parts, tuple | list) and len(parts) == len(like) and all(type(p) in _PLAIN for p in parts)
    rows = parts[0].shape[:1] if plain else ()
    same = lambda part, form: part.dtype == form.dtype and part.shape == rows + form.shape
    return rows != () and all(map(same, parts, like))


def _converted(
    parts: Any, where: str, like: Sequence[Form] = (), row: Callable[[int], str] = "row {}".format
) -> tuple[np.ndarray, ...]:
    """x, y and perhaps weight in dtypes that JAX has, checked: as many rows, each like those of the first element."""
    is_empty = lambda part: isinstance(part, np.ma.MaskedArray) and not np.ma.is_masked(part)
    parts = [part.data if is_empty(part) else part for part in unpack_batch("fit", parts, where)]  # as netCDF4 reads
    named = [(name, part) for name, part in zip(NAMES, parts, strict=True) if part is not None]
    found = tuple(checks.on_host("fit", f"{where}: {name}", part, row) for name, part in named)
    check_examples("fit", found, 0, where)
    if like and [(part.dtype, part.shape[1:]) for part in found] != [(form.dtype, form.shape) for form in like]:
        describe = lambda dtype, *shape: f"{dtype} ({', '.join(['rows', *map(str, shape)])})"
        wanted = " and ".join(describe(form.dtype, *form.shape) for form in like)
        came = " and ".join(describe(part.dtype, *part.shape[1:]) for part in found)
        raise checks.fail("fit", where, f"{wanted}, as the first one", came=came)
    return found
