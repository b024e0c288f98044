"""Streams in several processes, each of which reads its share of every batch.

A process cuts what it reads into chunks and sends them to its own devices in a background thread. In the main thread
all of them then exchange how many rows each has (`fnn.sharding.shares`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import checks
from fnn.data.files import files_of
from fnn.data.prefetch import Chunk, Element, Form, HostChunk, Place, allocate, place_at, slots
from fnn.sharding import agreement, tiles
from fnn.sharding.layout import Layout, replicated
from fnn.sharding.rows import Rows
from fnn.sharding.shares import Where, join
from fnn.sharding.tiles import Tiles


class ShareChunk(NamedTuple):
    """What this process has of a chunk.

    Attributes:
      arrays: x, y and perhaps weight in host memory, (slots, rows, …): its share of each batch, from the first row on.
      counts: the number of rows of each share.
      places: for each batch the place where it begins, and that of the batch after them.
      ends: whether nothing is left of the epoch.
      sent: the arrays on the devices; None if they are not needed there.
    """

    arrays: tuple[np.ndarray, ...]
    counts: Sequence[int]
    places: Sequence[Place]
    ends: bool
    sent: Rows | None = None


class Shared(NamedTuple):
    """What the shares of a training have in common.

    Attributes:
      layout: the layout.
      tiles: the tiles of a batch.
      like: shape and dtype of one example of x, y and perhaps weight.
      steps: the number of batches that a chunk has room for.
      capacity: a list of one number, the rows of each shard for each batch: those of a tile, or more if a process has
        brought more. The main thread raises it, and the thread that reads follows.
    """

    layout: Layout
    tiles: Tiles
    like: Sequence[Form]
    steps: int
    capacity: list[int]


def is_shared(data: Any, window: int | None) -> bool:
    """Return whether the data are a stream of which each process brings its share of every batch."""
    if not agreement.is_multiprocess() or data is None or isinstance(data, tuple | list) or files_of(data):
        return False
    if window is not None:
        advice = "Each process yields its share of every batch, in the order of training."
        raise checks.fail("fit", "window", "None for a stream in several processes", window, advice=advice)
    return True


def agree_on_rows(like: tuple[Form, ...] | None) -> tuple[Form, ...]:
    """Return the shape and dtype of one example, given those of the rows of this process; None if it has no rows.

    Raises:
      ValueError: in every process, if they differ, or no process has rows.
    """
    if like is not None and not agreement.is_multiprocess():
        return like
    own = None if like is None else [[list(form.shape), str(form.dtype)] for form in like]
    texts = agreement.all_gather(json.dumps(own))
    known = {text: i for i, text in reversed([*enumerate(texts)]) if text != "null"}
    if not known:
        raise checks.fail("fit", "data", "a stream of at least one batch in epoch 1", came="none")
    if len(known) > 1:
        came = "; ".join(f"{text} in process {i}" for text, i in reversed(known.items()))
        raise checks.fail("fit", "data: the shapes and dtypes of a row", "the same in every process", came=came)
    (text,) = known
    return tuple(Form(tuple(shape), np.dtype(dtype)) for shape, dtype in json.loads(text))


def own_place(saved: dict[str, Any] | None, position: int, batch_size: int, shares: bool) -> Place:
    """Return where this process reads on after so many steps of an epoch.

    Raises:
      ValueError: if processes that each brought shares saved the place, and these are not as many.
    """
    if saved is None:
        return Place(element=position) if shares else Place(rows=position * batch_size)
    count = len(saved["shares"]) if "shares" in saved else 1
    if shares != ("shares" in saved) or (shares and count != jax.process_count()):
        name, came = f"{count} process{'es' * (count > 1)}", f"{jax.process_count()}"
        advice = "Inside an epoch a stream can only be resumed by as many."
        raise checks.fail("fit", "the number of processes", f"that of the checkpoint, {name}", came=came, advice=advice)
    return Place(**(saved["shares"][jax.process_index()] if shares else saved))


def saved_place(place: Place, shares: bool) -> dict[str, Any]:
    """Return what a training keeps of the place where this process reads on."""
    return {"shares": [place._asdict()]} if shares else place._asdict()


def gather_places(place: dict[str, Any]) -> dict[str, Any]:
    """Return the places of all processes, for a checkpoint. Every process must call it."""
    if "shares" not in place:
        return place
    return {"shares": agreement.all_gather_json(place["shares"][0])}


def cut_shares(elements: Iterable[Element], shared: Shared, place: Place) -> Iterator[ShareChunk]:
    """Yield the shares of an epoch from a place on in chunks, at least one, which may have none."""
    arrays, counts, places = _allocate(shared), [], []
    for element in elements:
        if len(counts) == shared.steps:
            yield ShareChunk(arrays, counts, [*places, place_at(element.places, 0)], False)
            arrays, counts, places = _allocate(shared), [], []
        size, place = len(element.order), place_at(element.places, 0)
        needed = -(-size // len(shared.tiles.own))
        if needed * len(shared.tiles.own) > arrays[0].shape[1]:
            arrays = _widen(arrays, needed * len(shared.tiles.own))
        for out, part in zip(arrays, element.arrays, strict=True):
            out[len(counts), :size] = part[element.order]
        counts, places = [*counts, size], [*places, place]
    end = Place(place.element + 1) if places else place
    yield ShareChunk(arrays, counts, [*places, end], True)


def send_share(chunk: ShareChunk, shared: Shared) -> ShareChunk:
    """Send what this process has of a chunk to its own devices, and wait for it."""
    return chunk._replace(sent=jax.block_until_ready(tiles.send(shared.layout, chunk.arrays, shared.tiles)))


def joining(next_share: Callable[..., ShareChunk], shared: Shared) -> Callable[[Where], tuple[HostChunk, Chunk | None]]:
    """Return a function that returns the next chunk of all processes, in host memory and on the devices.

    Every process must call it, in its main thread. A process whose epoch has ended waits for the others with nothing.
    """
    ended = []

    def next_chunk(where: Where) -> tuple[HostChunk, Chunk | None]:
        own = next_share(send_share(ShareChunk(_allocate(shared), (), list(ended), True), shared) if ended else None)
        capacity = own.arrays[0].shape[1] // len(shared.tiles.own)
        joined = join(shared.layout, shared.tiles, own.counts, own.ends, shared.steps, capacity, where)
        last = -(-len(joined.columns) // shared.tiles.batch_size)
        places = [*own.places, *[own.places[-1]] * (last - len(own.counts))]
        numbered = [(i * shared.tiles.batch_size, place) for i, place in enumerate(places)]
        if capacity < joined.capacity:
            shared.capacity[0] = max(shared.capacity[0], joined.capacity)
            wide = own._replace(arrays=_widen(own.arrays, joined.capacity * len(shared.tiles.own)))
            own = wide if own.sent is None else send_share(wide, shared)
        flat = tuple(array.reshape(-1, *array.shape[2:]) for array in own.arrays)
        host = HostChunk(flat, len(joined.columns), numbered, joined.ends, joined.columns)
        if own.sent is None:
            return host, None
        ended[:] = [own.places[-1]] if own.ends and not joined.ends else []
        return host, _chunk(shared, own.sent, joined.columns, joined.tiled)

    return next_chunk


def _chunk(shared: Shared, sent: Rows, columns: np.ndarray, tiled: bool) -> Chunk:
    """The chunk of these arrays, whose rows are in these columns."""
    batch_size = shared.tiles.batch_size
    count, short = divmod(len(columns), batch_size)
    table = np.zeros((slots(shared.steps), batch_size), np.int32)
    table.ravel()[: len(columns)] = columns
    numbers = np.int32(count), np.arange(short, dtype=np.int32), None if tiled else table
    return Chunk(sent, *agreement.device_put_same(numbers, replicated(shared.layout)))


def _allocate(shared: Shared) -> tuple[np.ndarray, ...]:
    steps, width = slots(shared.steps), shared.capacity[0] * len(shared.tiles.own)
    arrays = allocate(shared.like, steps * width)
    return tuple(array.reshape(steps, width, *array.shape[1:]) for array in arrays)


def _widen(arrays: Sequence[np.ndarray], width: int) -> tuple[np.ndarray, ...]:
    pad = lambda array: [(0, 0), (0, width - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
    return tuple(np.pad(array, pad(array)) for array in arrays)
