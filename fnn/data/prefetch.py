"""Chunks: the examples of a few steps on the device, and a thread that loads the next ones meanwhile."""

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

_POLL_SECONDS = 0.1  # how often a wait for a chunk checks for a signal
_JOIN_SECONDS = 5.0  # how long to wait at the end for a thread that is still reading


class Chunk(NamedTuple):
    """The examples of consecutive steps on the device, and the indices of each batch.

    Attributes:
      data: the examples. Every chunk has the same number of rows; rows to which no index refers are unused.
      full: (n, batch_size), the indices of each full batch. The first `batches` rows are used.
      rest: (r,), the indices of the smaller batch that ends an epoch; unused in other chunks.
      batches: the number of full batches.
    """

    data: Examples
    full: Int[Array, "n batch_size"]
    rest: Int[Array, " r"]
    batches: Int[Array, ""]


class Piece(NamedTuple):
    """What was read for a chunk: arrays in host memory, the order of their rows, and whether the epoch ends with it."""

    arrays: tuple[np.ndarray, ...]
    order: Int[np.ndarray, " rows"]
    ends: bool


class LoadedChunk(NamedTuple):
    """A chunk on the device, and what the host knows of it.

    Attributes:
      chunk: the chunk.
      rows: its number of examples.
      steps: its number of steps.
      ends: whether an epoch ends with it.
      first: the inputs of the epoch's first chunk, in host memory, for calibration. Set only on the last chunk of an
        epoch, and only if the network has statistics to calibrate.
    """

    chunk: Chunk
    rows: int
    steps: int
    ends: bool
    first: np.ndarray | None = None


def slots(steps: int) -> int:
    """The number of steps that the program of a chunk has room for, at least two.

    XLA compiles a one-iteration loop differently, so its rounding differs (jax 0.10, CPU).
    """
    return max(2, steps)


def load(piece: Piece, batch_size: int, remainder: int, layout: Layout | None = None) -> LoadedChunk:
    """Send a piece to the device, or the devices of a mesh, and wait for it.

    `remainder` is the number of rows of the smaller last batch of an epoch, if it is known. All chunks then have the
    same shapes, and the step is compiled once.
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
    """Free the device memory of a chunk now."""
    for leaf in jax.tree.leaves(loaded.chunk):
        leaf.delete()


@contextlib.contextmanager
def prefetch_chunks(
    chunks: Generator[LoadedChunk, None, None], interrupted: Callable[[], Any]
) -> Iterator[Callable[[], LoadedChunk | None]]:
    """Load chunks in a background thread. Yields a function that returns the next chunk, None at their end.

    The caller must release the previous chunk before asking for the next, so that at most two are in memory. Errors of
    the thread are raised in the caller. While it waits, the function calls `interrupted`, and returns None if that is
    true.
    """
    permits, finished = threading.Semaphore(1), threading.Event()
    ready: queue.SimpleQueue[tuple[LoadedChunk | None, BaseException | None]] = queue.SimpleQueue()
    # JAX's context managers change these three settings only in the current thread, so the loading thread must
    # set them again
    x64 = jax.config.read("jax_enable_x64")
    partitionable = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

    def load_all() -> None:
        try:
            threefry = jax.threefry_partitionable(partitionable)
            with contextlib.closing(chunks), jax.enable_x64(x64), jax.default_device(device), threefry:
                while permits.acquire() and not finished.is_set():
                    ready.put((next(chunks, None), None))
        except BaseException as error:
            ready.put((None, error))

    def next_chunk() -> LoadedChunk | None:
        while True:
            try:
                loaded, error = ready.get(timeout=_POLL_SECONDS)
                break
            except queue.Empty:
                if interrupted():
                    return None
        if error is not None:
            raise error
        permits.release()
        return loaded

    thread = threading.Thread(target=load_all, name="fnn stream", daemon=True)
    thread.start()
    try:
        yield next_chunk
    finally:
        finished.set()
        permits.release()
        thread.join(_JOIN_SECONDS)
        with contextlib.suppress(queue.Empty):
            while True:
                left, _ = ready.get_nowait()
                if left is not None:
                    free(left)
