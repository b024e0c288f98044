"""Data larger than the device: arrays in memory or in files, Grain datasets, iterables with a state, functions."""

import copy
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data import files
from fnn.data.arrays import check_batch_size, check_examples, unpack_batch
from fnn.data.files import NAMES
from fnn.data.identity import describe_array
from fnn.data.order import host_generator
from fnn.data.prefetch import Element, Form, Place, decode, encode
from fnn.data.values import Validate, check_values, validate_targets
from fnn.types import Batch, Data, PRNGKey

_MEMORY = 2**27  # bytes of device memory for a stream without `device_memory`
_AHEAD = 16  # elements of a MapDataset that Grain's threads read ahead

Stream = Callable[[int], Iterable[Data]]
"""epoch -> an iterator of its batches: (x, y) or (x, y, weight)."""


class Source(NamedTuple):
    """Where the examples of a training come from, epoch after epoch.

    Attributes:
      like: shape and dtype of one example: of x, y and, if there is one, weight.
      size: number of examples of an epoch; None for a stream, whose length is known only at its end.
      steps: number of batches that a chunk has room for.
      elements: (key, epoch, place, validate, record) -> the elements from that place of that epoch to its end. If
        `validate` is given, it checks the targets, and all values are checked. If `record`, places have states.
      about: () -> the fingerprint of the data, which may read all of them.
    """

    like: tuple[Form, ...]
    size: int | None
    steps: int
    elements: Callable[[PRNGKey, int, Place, Validate | None, bool], Iterator[Element]]
    about: Callable[[], list[str]]


def source(
    data: Any, batch_size: int, device_memory: int | None, window: int | None, vocabulary: int | None = None
) -> Source | None:
    """The data of `fit` as a Source; None if they are arrays for the device."""
    memory = None if device_memory is None else checks.positive_int("fit", "device_memory", device_memory)
    window = None if window is None else checks.positive_int("fit", "window", window)
    stream = _epochs(data)
    if stream is not None:
        name = getattr(data, "__qualname__", type(data).__qualname__)
        return _of_stream(stream, name, batch_size, _MEMORY if memory is None else memory, window, vocabulary)
    if memory is None:
        if window is not None:
            expected = "given if `window` is (without it all rows are shuffled)"
            raise checks.fail("fit", "device_memory", expected, came="None")
        return None
    arrays = files.parts("fit", "data: ", unpack_batch("fit", data))
    size, like = check_examples("fit", arrays), files.forms("fit", "data: ", arrays, vocabulary is not None)
    check_batch_size("fit", batch_size, size)
    if size * files.row_bytes(like) <= memory and (window is None or window >= size):
        return None
    return _of_arrays(arrays, like, batch_size, memory, window, vocabulary)


def blank(like: Sequence[Form], rows: int) -> Batch:
    """`rows` examples of zeros."""
    return tuple(jnp.zeros((rows, *form.shape), form.dtype) for form in like)


def chunk_bytes(source: Source | None, batch_size: int) -> int:
    """The bytes of the two chunks that are on the device at a time. 0 without a source."""
    return 0 if source is None else 2 * source.steps * batch_size * files.row_bytes(source.like)


def _steps(like: Sequence[Form], batch_size: int, memory: int) -> int:
    """Return the largest number of batches per chunk for which two chunks fit into `memory`."""
    batch = batch_size * files.row_bytes(like)
    if 2 * batch > memory:
        raise checks.fail("fit", "device_memory", f"at least {2 * batch} (two chunks of one batch)", memory)
    return memory // max(2 * batch, 1)


def _check(
    arrays: Sequence[np.ndarray], validate: Validate, vocabulary: int | None, where: Callable[[int], str]
) -> None:
    named: dict[str, Any] = dict(zip(NAMES, arrays, strict=False))
    check_values("fit", "data", named, vocabulary, where)
    validate_targets(validate, named["y"], named.get("weight"), where)


def _of_arrays(
    arrays: list[Any], like: Any, batch_size: int, memory: int, window: int | None, vocabulary: int | None
) -> Source:
    size = arrays[0].shape[0]
    steps = min(_steps(like, batch_size, memory), -(-size // batch_size))
    window = steps * batch_size if window is None else window

    def elements(key: PRNGKey, epoch: int, place: Place, validate: Validate | None, record: bool) -> Iterator[Element]:
        count, read = files.reader("fit", "data: ", arrays, like, key, window, steps * batch_size)
        for number in range(place.element, count):
            rows, order, found = read(epoch * count + number)
            if validate is not None:
                _check(found, validate, vocabulary, lambda bad, rows=rows: f"row {rows[bad]}")
            yield Element(tuple(found), order, Place(number))

    def about() -> list[str]:
        return [*map(describe_array, arrays), f"window {size}" if window >= size else f"shuffled within {window} rows"]

    return Source(like, size, steps, elements, about)


def _has_state(iterator: Any) -> bool:
    return hasattr(iterator, "get_state") and hasattr(iterator, "set_state")


def _epochs(data: Any) -> Callable[[int], Any] | None:
    """epoch -> an iterable of its batches; None if the data are arrays."""
    if hasattr(data, "to_iter_dataset"):  # a grain.MapDataset
        import grain

        size, options = len(data), grain.ReadOptions(num_threads=_AHEAD, prefetch_buffer_size=_AHEAD)
        if size == sys.maxsize:
            raise checks.fail(
                "fit", "data", "a dataset that ends (an epoch is one pass)", came="one that repeats forever"
            )
        return lambda epoch: data.repeat(epoch + 1)[epoch * size :].to_iter_dataset(options)
    if callable(data):
        return data
    if hasattr(data, "__next__") and _has_state(data):
        first = copy.deepcopy(data.get_state())
        return lambda epoch: (data.set_state(copy.deepcopy(first)), data)[1]
    if isinstance(data, tuple | list):
        return None
    if hasattr(data, "__iter__") and not hasattr(data, "__next__") and _has_state(iter(data)):
        return lambda epoch: data
    expected = "arrays, a Grain dataset, or a function epoch -> iterator of batches"
    advice = "An iterator without get_state and set_state serves one epoch only." if hasattr(data, "__next__") else None
    raise checks.fail("fit", "data", expected, error=TypeError, came=type(data).__name__, advice=advice)


def _of_stream(
    stream: Callable[[int], Any], name: str, batch_size: int, memory: int, window: int | None, vocabulary: int | None
) -> Source:
    ids = vocabulary is not None
    earlier, like = None, None

    def begin(epoch: int) -> Any:
        """The iterator of an epoch; one without a state must not be that of an earlier epoch."""
        given = stream(epoch)
        if not hasattr(given, "__iter__"):
            came = f"one that returns {checks.describe(given)}"
            raise checks.fail("fit", "data", "a function epoch -> iterator of batches", error=TypeError, came=came)
        iterator = iter(given)
        if iterator is earlier:
            expected = "a function that returns a new iterator at each call"
            raise checks.fail("fit", "data", expected, came="the same one again")
        return iterator

    def checked(batch: Any, where: str) -> list[np.ndarray]:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise checks.fail("fit", where, "(x, y) or (x, y, weight)", error=TypeError, came=type(batch).__name__)
        arrays = files.parts("fit", f"{where}: ", batch)
        found = files.forms("fit", f"{where}: ", arrays, ids)
        if len(found) != len(like or found):
            raise checks.fail("fit", where, f"of {len(like or ())} arrays, as the first one", came=f"{len(found)}")
        for part, array, form, wanted in zip(NAMES, arrays, found, like or found, strict=False):
            if form != wanted:
                shape = ", ".join(["rows", *map(str, wanted.shape)])
                error = TypeError if form.shape == wanted.shape else ValueError
                expected = f"{wanted.dtype} of shape ({shape}), as in the first batch"
                raise checks.fail("fit", f"{where}: {part}", expected, array, error)
        if len({len(array) for array in arrays}) > 1:
            came = " and ".join(str(len(array)) for array in arrays)
            raise checks.fail("fit", where, "of arrays with the same number of rows", came=came)
        return files.narrow("fit", f"{where}: ", arrays, arrays)

    def elements(key: PRNGKey, epoch: int, place: Place, validate: Validate | None, record: bool) -> Iterator[Element]:
        iterator = begin(epoch)
        if place.state is not None:
            iterator.set_state(decode(place.state))
        elif place.element:
            next(itertools.islice(iterator, place.element - 1, None), None)
        record = record and _has_state(iterator)
        for number in itertools.count(place.element):
            place = Place(number, 0, encode(iterator.get_state()) if record else None)
            try:
                batch = next(iterator)
            except StopIteration:
                return
            where = f"batch {number + 1} of epoch {epoch + 1}"
            arrays = checked(batch, f"data: {where}")
            if validate is not None:
                _check(arrays, validate, vocabulary, lambda bad, where=where: f"row {bad} of {where}")
            yield Element(tuple(arrays), np.arange(len(arrays[0])), place)

    within = batch_size if window is None else window

    def shuffled(key: PRNGKey, epoch: int, *others: Any) -> Iterator[Element]:
        """Shuffle together the examples of as many elements as make about `window` rows."""
        held: list[Element] = []

        def joined() -> Element:
            arrays = tuple(np.concatenate(parts) for parts in zip(*(e.arrays for e in held), strict=True))
            order = host_generator(key, epoch, held[0].place.element + 1).permutation(len(arrays[0]))
            return Element(arrays, order, held[0].place)

        for element in elements(key, epoch, *others):
            held.append(element._replace(arrays=tuple(map(np.array, element.arrays))))  # memory may be used again
            if sum(len(e.order) for e in held) > within - batch_size:
                yield joined()
                held.clear()
        if held:
            yield joined()

    first = begin(0)
    batch = next(first, None)
    if batch is None:
        raise checks.fail("fit", "data", "a stream of at least one batch in epoch 1", came="none")
    arrays = checked(batch, "data: batch 1 of epoch 1")
    like = files.forms("fit", "", arrays, ids)
    if not _has_state(first):
        earlier = first
        getattr(first, "close", lambda: None)()
    order = "window None" if window is None else f"shuffled within {window} rows"
    about = [f"stream {name}", *(f"{form.dtype} {form.shape}" for form in like), order]
    return Source(like, None, _steps(like, batch_size, memory), elements if window is None else shuffled, lambda: about)
