"""Streams: Grain datasets, iterables whose iterators have a state, and functions epoch -> iterator of batches."""

import base64
import contextlib
import copy
import itertools
import json
import sys
from collections.abc import Generator
from typing import Any

import numpy as np

from fnn import checks
from fnn.data.prefetch import Place, Reader

_AHEAD = 16  # elements of a MapDataset that Grain's threads read ahead


def iterable_reader(data: Any, may_be_empty: bool) -> Reader | None:
    """Return what reads a dataset, an iterable or a function of them; None if the data are arrays."""
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
    name = lambda epoch, place: f"batch {place.element + 1} of epoch {epoch + 1}"

    def read(_: Any, epoch: int, place: Place, record: bool) -> Generator[tuple[Place, Any, None], None, None]:
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
                iterator.set_state(_decode(place.state))
            else:
                next(itertools.islice(iterator, place.element, place.element), None)
            for number in itertools.count(place.element):
                here = Place(number, 0, _encode(iterator.get_state()) if record and has_state else None)
                batch = next(iterator, over)
                if batch is over:
                    if not number and not may_be_empty:
                        raise checks.fail("fit", "data", f"a stream of at least one {name(epoch, here)}", came="none")
                    return
                yield here, batch, None
        finally:
            finish(iterator)

    row = lambda _, epoch, place: f"row {place.rows} of {name(epoch, place)}"
    return Reader(read, lambda *at: f"data: {name(*at)}", row)


def _encode(state: Any) -> str:
    """An iterator's state as JSON, which has bytes in base 64. Raises TypeError if JSON would change it."""
    as_base64 = lambda value: {"base64": base64.b64encode(value).decode()}
    default = lambda value: as_base64(value) if isinstance(value, bytes) else np.generic.item(value)
    with contextlib.suppress(TypeError, ValueError, RecursionError):
        text = json.dumps(state, default=default)
        if _decode(text) == state:
            return text
    expected = "an iterator whose get_state() returns dicts, lists, texts, numbers and bytes, to save a checkpoint"
    raise checks.fail("fit", "data", expected, error=TypeError, came=checks.describe(state))


def _decode(text: str) -> Any:
    """The state that `_encode` was given."""
    return json.loads(text, object_hook=lambda d: base64.b64decode(d["base64"]) if d.keys() == {"base64"} else d)
