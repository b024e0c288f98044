"""Chunks: the examples of a few steps, cut from the elements of a source, and the thread that sends them ahead."""

import base64
import contextlib
import json
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from fnn import checks
from fnn.sharding import layout as layouts
from fnn.sharding.layout import Layout
from fnn.sharding.rows import Examples, Rows

T = TypeVar("T")
Form = jax.ShapeDtypeStruct

_ALIGNMENT = 64  # JAX's CPU device uses memory of this alignment without a copy
_POLL_SECONDS = 0.1  # how often a wait for a chunk checks for a signal
_JOIN_SECONDS = 5.0  # how long to wait at the end for a thread that is still reading


class Place(NamedTuple):
    """Where to read on in an epoch: after so many elements, and so many rows of the next (or of several).

    `state` is that of the iterator before the element, as JSON; None if it has none, or if it is not to be saved.
    """

    element: int = 0
    rows: int = 0
    state: str | None = None


class Element(NamedTuple):
    """Rows of a source: x, y and perhaps weight, the order to train on them, and where the element begins."""

    arrays: tuple[np.ndarray, ...]
    order: Int[np.ndarray, " rows"]
    place: Place


class Chunk(NamedTuple):
    """The batches of consecutive steps on the device.

    Attributes:
      data: x, y and perhaps weight, each (steps, batch_size, …), sharded along the second axis over a mesh.
      batches: the number of full batches. What comes after them is unused, but for `rest`.
      rest: (r,), where in the next batch the examples of the smaller batch are that ends an epoch. Other chunks may
        have it, too: if all have the same shapes, the step is compiled once.
    """

    data: Examples
    batches: Int[Array, ""]
    rest: Int[Array, " r"]


class HostChunk(NamedTuple):
    """A chunk in host memory.

    Attributes:
      arrays: x, y and perhaps weight, of which the first `rows` rows are used.
      rows: its number of examples.
      places: (row, place), where each element in it begins, and the next one.
      ends: whether an epoch ends with it.
    """

    arrays: tuple[np.ndarray, ...]
    rows: int
    places: Sequence[tuple[int, Place]]
    ends: bool

    def place(self, row: int) -> Place:
        """Where to read on from this row of the chunk."""
        begin, place = next(entry for entry in reversed(self.places) if entry[0] <= row)
        return place._replace(rows=place.rows + row - begin)


def slots(steps: int) -> int:
    """The number of steps that the program of a chunk has room for, at least two.

    XLA compiles a one-iteration loop differently, so its rounding differs (jax 0.10, CPU).
    """
    return max(2, steps)


def cut(
    elements: Iterable[Element], like: Sequence[Form], batch_size: int, steps: int, skip: int
) -> Iterator[HostChunk]:
    """Yield the rows of an epoch after the first `skip`, in chunks of `steps` batches. Without any, yield nothing."""
    arrays, places, filled = (), [], steps * batch_size
    for element in elements:
        size = len(element.order)
        begin, skip = min(skip, size), skip - min(skip, size)
        while begin < size:
            if filled == steps * batch_size:
                if arrays:
                    places.append((filled, element.place._replace(rows=begin)))
                    yield HostChunk(arrays, filled, places, False)
                arrays, places, filled = allocate(like, slots(steps) * batch_size), [], 0
            until = min(size, begin + steps * batch_size - filled)
            for out, part in zip(arrays, element.arrays, strict=True):
                np.take(part, element.order[begin:until], 0, out[filled : filled + until - begin], mode="clip")
            places.append((filled, element.place._replace(rows=begin)))
            filled, begin = filled + until - begin, until
    if arrays:
        yield HostChunk(arrays, filled, places, True)


def allocate(like: Sequence[Form], rows: int) -> tuple[np.ndarray, ...]:
    """Memory for this many examples."""

    def aligned(form: Form) -> np.ndarray:
        raw = np.empty(rows * form.size * form.dtype.itemsize + _ALIGNMENT, np.uint8)
        begin = -raw.ctypes.data % _ALIGNMENT
        return raw[begin : begin + raw.size - _ALIGNMENT].view(form.dtype).reshape(rows, *form.shape)

    return tuple(map(aligned, like))


def send(chunk: HostChunk, batch_size: int, remainder: int, layout: Layout | None = None) -> Chunk:
    """Send a chunk to the device, or the devices of a mesh, and wait for it.

    `remainder` is the number of rows of the smaller last batch of an epoch, if it is known.
    """
    count, short = divmod(chunk.rows, batch_size)
    data: Any = tuple(array.reshape(-1, batch_size, *array.shape[1:]) for array in chunk.arrays)
    if layout is not None:
        sharding, missing = layouts.batch_sharding(layout), -batch_size % layouts.num_batch_shards(layout)
        pad = lambda array: np.pad(array, [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2)) if missing else array
        over = NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))
        data = Rows(jax.device_put(tuple(map(pad, data)), over), batch_size, layouts.with_auto_axes(layout))
    rest = np.arange(short or remainder, dtype=np.int32)
    return jax.block_until_ready(Chunk(*jax.device_put((data, np.int32(count), rest))))


def same_settings() -> Callable[[], contextlib.AbstractContextManager]:
    """Return a context manager for other threads, in which JAX has the settings that it has in this one.

    JAX's own context managers change these three only in the current thread.
    """
    names = "jax_enable_x64", "jax_default_device", "jax_threefry_partitionable"
    x64, device, partitionable = (getattr(jax.config, name) for name in names)

    @contextlib.contextmanager
    def entered() -> Iterator[None]:
        with jax.enable_x64(x64), jax.default_device(device), jax.threefry_partitionable(partitionable):
            yield

    return entered


@contextlib.contextmanager
def in_background(items: Generator[T, None, None], waiting: Callable[[], Any]) -> Iterator[Callable[[], T]]:
    """Compute items in a thread. Yields a function that returns the next one, and has the one after it computed.

    Errors of the thread are raised by that function. While it waits, it calls `waiting`, which may raise, too.
    """
    wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
    ready: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    settings = same_settings()

    def compute_all() -> None:
        try:
            with settings(), contextlib.closing(items):
                while wanted.get():
                    ready.put((next(items), None))
        except BaseException as error:
            ready.put((None, error))

    def next_item() -> T:
        while True:
            with contextlib.suppress(queue.Empty):
                item, error = ready.get(timeout=_POLL_SECONDS)
                break
            waiting()
        if error is not None:
            raise error
        wanted.put(True)
        return item

    thread = threading.Thread(target=compute_all, name="fnn stream", daemon=True)
    wanted.put(True)
    thread.start()
    try:
        yield next_item
    finally:
        wanted.put(False)
        thread.join(_JOIN_SECONDS)


def encode(state: Any) -> str:
    """An iterator's state as JSON, which has bytes in base 64. Raises TypeError if JSON would change it."""

    def default(value: Any) -> Any:
        if isinstance(value, bytes):
            return {"base64": base64.b64encode(value).decode()}
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError

    with contextlib.suppress(TypeError, ValueError, RecursionError):
        text = json.dumps(state, default=default)
        if decode(text) == state:
            return text
    expected = "an iterator whose get_state() returns dicts, lists, texts, numbers and bytes, to save a checkpoint"
    raise checks.fail("fit", "data", expected, error=TypeError, came=checks.describe(state))


def decode(text: str) -> Any:
    """The state that `encode` was given."""
    return json.loads(text, object_hook=lambda d: base64.b64decode(d["base64"]) if d.keys() == {"base64"} else d)
