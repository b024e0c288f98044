"""A few steps' examples on the device while the next ones are on their way there: what a stream is trained on."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from fnn.sharding import rows
from fnn.sharding.layout import Layout
from fnn.sharding.rows import Examples

_LOOK_SECONDS = 0.1  # how often one who waits for a chunk looks whether a signal came
_LEAVE_SECONDS = 5.0  # how long is waited at the end for a reader that is still reading


class Chunk(NamedTuple):
    """Examples of consecutive steps, and which of them are whose.

    data   the examples, of as many rows in every chunk; those that no index names mean nothing
    full   (n, batch_size): the examples of each full batch; there are `batches` of them
    rest   (r,): those of the smaller batch that follows them at the end of an epoch; in other chunks never looked at
    """

    data: Examples
    full: Int[Array, "n batch_size"]
    rest: Int[Array, " r"]
    batches: Int[Array, ""]


class Piece(NamedTuple):
    """What was read for a chunk: arrays of host memory, the rows in the order of training, if the epoch ends there."""

    arrays: tuple[np.ndarray, ...]
    order: Int[np.ndarray, " rows"]
    ends: bool


class LoadedChunk(NamedTuple):
    """A chunk with what the host knows of it: how many rows and steps it has, and if an epoch ends with it.

    first   with the last one of an epoch, for a network that calibrates: x of its first one, in host memory
    """

    chunk: Chunk
    rows: int
    steps: int
    ends: bool
    first: np.ndarray | None = None


def slots(steps: int) -> int:
    """For how many steps a chunk's program is made: a loop of one round is compiled, and rounds, in another way."""
    return max(2, steps)


def load(piece: Piece, batch_size: int, remainder: int, layout: Layout | None = None) -> LoadedChunk:
    """Puts a piece on the device, or the devices of a mesh, and waits until it is there.

    remainder   how many rows the last batch of an epoch has if it is smaller, where that is known: chunks are then of
                one form, for which the step is compiled once
    """
    arrays, order = piece.arrays, piece.order
    count, short = divmod(len(order), batch_size)
    full = np.zeros((slots(len(arrays[0]) // batch_size), batch_size), np.int32)
    full.ravel()[: count * batch_size] = order[: count * batch_size]
    rest = order[count * batch_size :].astype(np.int32) if short else np.zeros(remainder, np.int32)
    data = tuple(map(jax.device_put, arrays)) if layout is None else rows.shard_rows(layout, arrays)
    chunk = Chunk(data, *jax.device_put((full, rest, np.int32(count))))
    return LoadedChunk(jax.block_until_ready(chunk), len(order), count + bool(short), piece.ends)


def free(loaded: LoadedChunk) -> None:
    """Gives its memory back, now."""
    for leaf in jax.tree.leaves(loaded.chunk):
        leaf.delete()


@contextlib.contextmanager
def prefetch_chunks(
    chunks: Generator[LoadedChunk, None, None], interrupted: Callable[[], Any]
) -> Iterator[Callable[[], LoadedChunk | None]]:
    """A function that returns the next of these chunks, None where there is none; the one after it is made meanwhile.

    They are made in a thread: what goes wrong there is raised here. Whoever calls for a chunk has no other one any
    more, so that two are alive at a time. `interrupted` is asked while there is none yet, and ends the wait with None.
    """
    room, over = threading.Semaphore(1), threading.Event()
    ready: queue.SimpleQueue[tuple[LoadedChunk | None, BaseException | None]] = queue.SimpleQueue()
    x64 = jax.config.read("jax_enable_x64")  # which, as what follows, a context sets for its own thread only
    partitionable = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

    def make() -> None:
        try:
            threefry = jax.threefry_partitionable(partitionable)
            with contextlib.closing(chunks), jax.enable_x64(x64), jax.default_device(device), threefry:
                while room.acquire() and not over.is_set():
                    ready.put((next(chunks, None), None))
        except BaseException as error:
            ready.put((None, error))

    def following() -> LoadedChunk | None:
        while True:
            try:
                made, error = ready.get(timeout=_LOOK_SECONDS)
                break
            except queue.Empty:
                if interrupted():
                    return None
        if error is not None:
            raise error
        room.release()
        return made

    thread = threading.Thread(target=make, name="fnn stream", daemon=True)
    thread.start()
    try:
        yield following
    finally:
        over.set()
        room.release()
        thread.join(_LEAVE_SECONDS)
        with contextlib.suppress(queue.Empty):
            while True:
                left, _ = ready.get_nowait()
                if left is not None:
                    free(left)
