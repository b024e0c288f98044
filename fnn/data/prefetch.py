"""Chunks: the examples of a few steps, cut from the elements of a source, and the thread that sends them ahead."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from fnn.sharding import agreement, tiles
from fnn.sharding import layout as layouts
from fnn.sharding.layout import Layout
from fnn.sharding.rows import Examples
from fnn.sharding.tiles import Tiles
from fnn.sharding.waiting import wait_together
from fnn.types import PRNGKey

T = TypeVar("T")
Form = jax.ShapeDtypeStruct

_NO_MESH = Mesh(np.empty((), object), ())
_ALIGNMENT = 64  # bytes, of memory that JAX's CPU device uses without a copy
_POLL_SECONDS = 0.1  # how often a wait for a chunk checks for a signal
_JOIN_SECONDS = 5.0  # how long to wait at the end for a thread that is still reading


class Place(NamedTuple):
    """Where to read on in an epoch: after so many elements, and so many rows of the next (or of several).

    `state` is that of the iterator before the element, as JSON; None if it has none, or if it is not to be saved.
    """

    element: int = 0
    rows: int = 0
    state: str | None = None


Places = Sequence[tuple[int, Place]]
"""(row, place): where each element begins in some rows that were read. Ascending."""


def place_at(places: Places, row: int) -> Place:
    """Where to read on from this row."""
    begin, place = next(entry for entry in reversed(places) if entry[0] <= row)
    return place._replace(rows=place.rows + row - begin)


class Element(NamedTuple):
    """Rows of one or several elements: x, y and perhaps weight, the order to train on them, and where they begin."""

    arrays: tuple[np.ndarray, ...]
    order: Int[np.ndarray, " rows"]
    places: Places


class Reader(NamedTuple):
    """What reads elements: rows of x, y and perhaps weight, of any number.

    Attributes:
      read: (key, epoch, place, record) -> the elements of that epoch from a place on: where each begins, (x, y) or
        (x, y, weight), and the order to train on its rows (None: as they come). If `record`, places have states.
      element: (epoch, place) -> what errors call the element at a place.
      row: (key, epoch, place) -> what they call the row at a place.
    """

    read: Callable[[Any, int, Place, bool], Generator[tuple[Place, Any, np.ndarray | None], None, None]]
    element: Callable[[int, Place], str]
    row: Callable[[PRNGKey, int, Place], str]


class Chunk(NamedTuple):
    """The batches of consecutive steps on the device.

    Attributes:
      data: x, y and perhaps weight, each (steps, batch_size, …), sharded along the second axis over a mesh.
      batches: the number of full batches. What comes after them is unused, but for `rest`.
      rest: (r,), where in the next batch the examples of the smaller batch are that ends an epoch. Other chunks may
        have it, too: if all have the same shapes, the step is compiled once.
      columns: where in `data` the rows of each batch are; None: in their order.
    """

    data: Examples
    batches: Int[Array, ""]
    rest: Int[Array, " r"]
    columns: Int[Array, "steps batch_size"] | None = None


class HostChunk(NamedTuple):
    """A chunk in host memory.

    Attributes:
      arrays: x, y and perhaps weight, of which the first `rows` rows are used; over a mesh, this process's part.
      rows: its number of examples, in all processes.
      places: where each element begins, and the one after the last row.
      ends: whether an epoch ends with it.
      columns: for each row, the column of its batch that holds it; None: its position in the batch.
    """

    arrays: tuple[np.ndarray, ...]
    rows: int
    places: Places
    ends: bool
    columns: Int[np.ndarray, " rows"] | None = None


def slots(steps: int) -> int:
    """The number of steps that the program of a chunk has room for, at least two.

    XLA compiles a one-iteration loop differently, so its rounding differs (jax 0.10, CPU).
    """
    return max(2, steps)


def cut(elements: Iterable[Element], like: Sequence[Form], shared: Tiles, steps: int, skip: int) -> Iterator[HostChunk]:
    """Yield the rows of an epoch after the first `skip`, in chunks of `steps` batches. Without any, yield nothing."""
    room = steps * shared.batch_size
    arrays, places, filled = (), [], room
    for element in elements:
        size = len(element.order)
        begin, skip = min(skip, size), skip - min(skip, size)
        while begin < size:
            if filled == room:
                if arrays:
                    yield HostChunk(arrays, filled, [*places, (filled, place_at(element.places, begin))], False)
                arrays, places, filled = allocate(like, slots(steps) * shared.width), [], 0
            until = min(size, begin + room - filled)
            for out, part in zip(arrays, element.arrays, strict=True):
                tiles.write(shared, out, filled, part, element.order[begin:until])
            places.append((filled, place_at(element.places, begin)))
            places += [(filled + row - begin, place) for row, place in element.places if begin < row < until]
            filled, begin = filled + until - begin, until
        del element  # its memory goes before the next one is read
    if arrays:
        yield HostChunk(arrays, filled, places, True)


def allocate(like: Sequence[Form], rows: int) -> tuple[np.ndarray, ...]:
    """Memory for this many examples, aligned as JAX's CPU device needs it to use it without a copy."""

    def aligned(form: Form) -> np.ndarray:
        size = rows * form.size * form.dtype.itemsize
        raw = np.empty(size + _ALIGNMENT, np.uint8)
        return raw[-raw.ctypes.data % _ALIGNMENT :][:size].view(form.dtype).reshape(rows, *form.shape)

    return tuple(map(aligned, like))


def send(chunk: HostChunk, shared: Tiles, remainder: int, layout: Layout | None = None) -> Chunk:
    """Send a chunk to the device, or this process's part of it to its devices of a mesh, and wait for it.

    `remainder` is the number of rows of the smaller last batch of an epoch, if it is known.
    """
    count, short = divmod(chunk.rows, shared.batch_size)
    numbers = np.int32(count), np.arange(short or remainder, dtype=np.int32)
    data = tuple(array.reshape(-1, shared.width, *array.shape[1:]) for array in chunk.arrays)
    if layout is None:
        return jax.block_until_ready(Chunk(*jax.device_put((data, *numbers))))
    numbers = agreement.device_put_same(numbers, layouts.replicated(layout))
    return jax.block_until_ready(Chunk(tiles.send(layout, data, shared), *numbers))


def same_settings() -> Callable[[], contextlib.AbstractContextManager]:
    """Return a context manager in which JAX has the settings that it has now, but no mesh: for other threads.

    JAX's own context managers change these only in the current thread.
    """
    names = "jax_enable_x64", "jax_default_device", "jax_threefry_partitionable"
    x64, device, partitionable = (getattr(jax.config, name) for name in names)

    @contextlib.contextmanager
    def entered() -> Iterator[None]:
        threefry = jax.threefry_partitionable(partitionable)
        with jax.enable_x64(x64), jax.default_device(device), threefry, jax.set_mesh(_NO_MESH):
            yield

    return entered


@contextlib.contextmanager
def in_background(items: Generator[T, None, None], waiting: Callable[[], Any]) -> Iterator[Callable[..., T]]:
    """Compute items in a thread. Yields a function that returns the next one, and has the one after it computed.

    Errors of the thread are raised by that function. While it waits, it calls `waiting`, which may raise, too. Given
    an item, it returns that one. In several processes it waits until all have theirs.
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

    def poll() -> T | None:
        try:
            item, error = ready.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return None
        if error is not None:
            raise error
        wanted.put(True)
        return item

    def next_item(given: T | None = None) -> T:
        return wait_together("fit", poll if given is None else lambda: given, waiting)

    thread = threading.Thread(target=compute_all, name="fnn stream", daemon=True)
    wanted.put(True)
    thread.start()
    try:
        yield next_item
    finally:
        wanted.put(False)
        thread.join(_JOIN_SECONDS)
