"""How the chunks of a training are cut, sent and received: by one process from whole batches, or by several processes
from their shares.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from fnn.data import prefetch, process_shares
from fnn.data.prefetch import Element, HostChunk, Place
from fnn.data.streams import Source
from fnn.sharding import tiles
from fnn.sharding.layout import Layout
from fnn.sharding.shares import Where


class Loaded(NamedTuple):
    """A chunk in host memory and on the device. Without steps, it is there for its inputs."""

    host: HostChunk
    chunk: Any  # a Chunk
    steps: int


class Feed(NamedTuple):
    """The functions that make chunks.

    Attributes:
      cut: (elements of an epoch from a place on, that place) -> what this process has of the chunks.
      send: that of one chunk -> the same, sent to the device. The thread that reads calls both.
      keep: that of one chunk -> the same, without sending it.
      receive: (a function that waits for the next result of `send` or `keep`, a function that says which chunk it is)
        -> a function that returns the next chunk. The main thread calls it.
    """

    cut: Callable[[Iterable[Element], Place], Iterator[Any]]
    send: Callable[[Any], Any]
    keep: Callable[[Any], Any]
    receive: Callable[[Callable[..., Any], Callable[[], Where]], Callable[[], Loaded]]


def feed_of(source: Source, layout: Layout | None, batch_size: int) -> Feed:
    """Return the functions for a source."""
    shared = tiles.tiles_of(layout, batch_size)
    remainder = 0 if source.size is None else source.size % batch_size
    steps = lambda rows: -(-rows // batch_size)
    if not source.shares:
        return Feed(
            cut=lambda elements, place: prefetch.cut(elements, source.like, shared, source.steps, place.rows),
            send=lambda host: Loaded(host, prefetch.send(host, shared, remainder, layout), steps(host.rows)),
            keep=lambda host: Loaded(host, None, 0),
            receive=lambda next_item, where: next_item,
        )
    assert layout is not None
    shares = process_shares.Shared(layout, shared, source.like, source.steps, [shared.rows])

    def receive(next_item: Callable[..., Any], where: Callable[[], Where]) -> Callable[[], Loaded]:
        join = process_shares.joining(next_item, shares)

        def next_chunk() -> Loaded:
            host, chunk = join(where())
            return Loaded(host, chunk, steps(host.rows))

        return next_chunk

    return Feed(
        cut=lambda elements, place: process_shares.cut_shares(elements, shares, place),
        send=lambda chunk: process_shares.send_share(chunk, shares),
        keep=lambda chunk: chunk,
        receive=receive,
    )
