"""Data larger than the device: arrays in memory or in files, Grain datasets, iterables with a state, functions."""

import contextlib
import copy
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.arrays import check_batch_size, check_examples, unpack_batch
from fnn.data.files import Reads, arrays_of, own_windows, windows
from fnn.data.identity import describe_array
from fnn.data.order import host_generator
from fnn.data.prefetch import Element, Form, Place, decode, encode, same_settings
from fnn.data.process_shares import agree_on_rows, is_shared
from fnn.data.values import NAMES, Validate, check_values, validate_targets
from fnn.sharding import agreement
from fnn.sharding.layout import Layout
from fnn.sharding.process_rows import rows_of_process
from fnn.sharding.tiles import tiles_of
from fnn.types import Batch, Data, PRNGKey

_MEMORY = 2**27  # bytes of device memory for a stream without `device_memory`
_AHEAD = 16  # elements of a MapDataset that Grain's threads read ahead

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
        shares = is_shared(data, window)
        shared = tiles_of(layout, batch_size)
        stream, arrays, size = (
            (own_windows(data, shared) if window is None else None) or _stream(data, shares),
            [],
            None,
        )
        if stream is not None:
            with same_settings()(), contextlib.closing(stream(None, 0, Place(), False)) as reads:
                _, parts, _, where, _ = next(reads, (None, None, None, "data", None))
        elif memory is not None:
            arrays = arrays_of("fit", "data: ", unpack_batch("fit", data))
            size, parts, where = check_examples("fit", arrays), [array[:1] for array in arrays], "data"
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
    memory, batch = memory or _MEMORY, max(1, batch_size * row_bytes(like))
    if size is not None and size * row_bytes(like) <= memory and (window is None or window >= size):
        return None
    if 2 * batch > memory:
        raise checks.fail("fit", "device_memory", f"at least {2 * batch} (two chunks of one batch)", memory)
    steps = min(memory // (2 * batch), sys.maxsize if size is None else -(-size // batch_size))
    if size is None:
        assert stream is not None
        read = stream
    else:
        window = min(size, steps * batch_size if window is None else window)
        read = functools.partial(windows, arrays, shared, row_bytes(like), window, steps * batch_size)
    order = f"window {window}" if window in (None, size) else f"shuffled within {window} rows"

    def elements(key: PRNGKey, epoch: int, place: Place, validate: Validate | None, record: bool) -> Iterator[Element]:
        for begin, parts, order, where, row in read(key, epoch, place, record):
            found = _converted(parts, where, like, row)
            if validate is not None and len(found[0]):
                check_values("fit", "data", _named(found), vocabulary, row)
                validate_targets(validate, found[1], _named(found).get("weight"), row)
            yield Element(found, np.arange(len(found[0])) if order is None else order, begin)
            del parts, found

    def shuffled(key: PRNGKey, epoch: int, *others: Any) -> Iterator[Element]:
        """Shuffle together the examples of as many elements as make about `window` rows."""
        read = elements(key, epoch, *others)
        while held := list(_until_rows(read, (window or 0) - batch_size)):
            arrays, place = tuple(map(np.concatenate, zip(*(e.arrays for e in held), strict=True))), held[0].place
            yield Element(arrays, host_generator(key, epoch, place.element + 1).permutation(len(arrays[0])), place)

    def about() -> list[str]:
        name = f"stream {getattr(data, '__qualname__', type(data).__qualname__)}"
        forms = [f"{form.dtype} {form.shape}" for form in like]
        return [*(map(describe_array, arrays) if arrays else [name, *forms]), order]

    return Source(like, size, steps, shuffled if size is None and window is not None else elements, about, shares)


def _until_rows(elements: Iterator[Element], rows: int) -> Iterator[Element]:
    """Yield copies of elements, whose memory may be used again, until they have more than `rows` rows."""
    for element in elements:
        yield element._replace(arrays=tuple(map(np.array, element.arrays)))
        rows -= len(element.order)
        if rows < 0:
            return


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


def _converted(
    parts: Any, where: str, like: Sequence[Form] = (), row: Callable[[int], str] = "row {}".format
) -> tuple[np.ndarray, ...]:
    """x, y and perhaps weight in dtypes that JAX has, checked: as many rows, each like those of the first element."""
    if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
        raise checks.fail("fit", where, "(x, y) or (x, y, weight)", error=TypeError, came=type(parts).__name__)
    is_empty = lambda part: isinstance(part, np.ma.MaskedArray) and not np.ma.is_masked(part)
    parts = [part.data if is_empty(part) else part for part in parts]  # netCDF4 gives a mask with every read
    named = zip(NAMES, parts, strict=False)
    found = tuple(checks.on_host("fit", f"{where}: {name}", part, row) for name, part in named)
    check_examples("fit", found, 0, where)
    if like and [(part.dtype, part.shape[1:]) for part in found] != [(form.dtype, form.shape) for form in like]:
        describe = lambda dtype, *shape: f"{dtype} ({', '.join(['rows', *map(str, shape)])})"
        wanted = " and ".join(describe(form.dtype, *form.shape) for form in like)
        came = " and ".join(describe(part.dtype, *part.shape[1:]) for part in found)
        raise checks.fail("fit", where, f"{wanted}, as the first one", came=came)
    return found


def _stream(data: Any, may_be_empty: bool = False) -> Callable[[Any, int, Place, bool], Reads] | None:
    """(key, epoch, place, record) -> the elements of an epoch from there; None if the data are arrays."""
    finish = lambda iterator: getattr(iterator, "close", lambda: None)()
    if hasattr(data, "to_iter_dataset"):  # a grain.MapDataset
        import grain

        size, options = len(data), grain.ReadOptions(num_threads=_AHEAD, prefetch_buffer_size=_AHEAD)
        if size == sys.maxsize:
            raise checks.fail("fit", "data", "a dataset that ends, since an epoch is one pass", came="one without end")
        iterate = lambda epoch: data.repeat(epoch + 1)[epoch * size :].to_iter_dataset(options)
    elif hasattr(data, "set_state"):  # an iterator, which is left as it was
        first = copy.deepcopy(data.get_state())
        iterate, finish = lambda _: data, lambda iterator: iterator.set_state(copy.deepcopy(first))
    elif callable(data):
        iterate = data
    elif isinstance(data, tuple | list):
        return None
    elif not hasattr(data, "__next__") and hasattr(data, "__iter__") and hasattr(iter(data), "set_state"):
        iterate = lambda _: data
    else:
        expected = "arrays, a Grain dataset, or a function epoch -> iterator of batches"
        advice = "A function is called for each epoch; an iterator without get_state and set_state serves only one."
        raise checks.fail("fit", "data", expected, error=TypeError, came=type(data).__name__, advice=advice)
    earlier, over = [], object()

    def read(_: Any, epoch: int, place: Place, record: bool) -> Reads:
        given: Any = iterate(epoch)
        if not hasattr(given, "__iter__"):
            came = f"one that returns {checks.describe(given)}"
            raise checks.fail("fit", "data", "a function epoch -> iterator of batches", error=TypeError, came=came)
        iterator: Any = iter(given)
        has_state = hasattr(iterator, "set_state")
        if not has_state and any(iterator is other for other in earlier):
            expected = "a function that returns a new iterator at each call"
            raise checks.fail("fit", "data", expected, came="the same one again")
        earlier[:] = [] if has_state else [iterator]
        try:
            if place.state is not None and has_state:
                iterator.set_state(decode(place.state))
            else:
                next(itertools.islice(iterator, place.element, place.element), None)
            for number in itertools.count(place.element):
                here = Place(number, 0, encode(iterator.get_state()) if record and has_state else None)
                batch, name = next(iterator, over), f"batch {number + 1} of epoch {epoch + 1}"
                if batch is over and not number and not may_be_empty:
                    raise checks.fail("fit", "data", f"a stream of at least one {name}", came="none")
                if batch is over:
                    return
                yield here, batch, None, f"data: {name}", lambda bad, name=name: f"row {bad} of {name}"
        finally:
            finish(iterator)

    return read
