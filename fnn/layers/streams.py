"""Streams of combinators and of layers that act on each position alone. See `fnn.Stream`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import Array

from fnn import checks
from fnn.types import Layer, Params, PRNGKey, Residuals, Stream

Keys = Callable[[PRNGKey | None, int], Sequence[PRNGKey | None]]
"""key, n -> a key for each of n layers: the function that the forward pass of the combinator uses"""


def per_position(layer: Layer) -> Layer:
    """Return the layer with a stream without memory, for layers whose output at a position depends on it alone."""

    def advance(params: Params, memory: tuple, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, tuple]:
        return *layer.forward(params, x, key), ()

    return layer._replace(stream=Stream(_no_memory, advance))


def _no_memory(params: Params, batch: int) -> tuple:
    return ()


def sharded_like(memory: Array, x: Array) -> Array:
    """Return a memory (batch, …) with the sharding of the rows of x on a mesh with Explicit axes.

    There the sharding belongs to the type of an array, which must not change in a scan or an update.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not mesh.explicit_axes:
        return memory
    spec = jax.sharding.PartitionSpec(jax.typeof(x).sharding.spec[0], *[None] * (memory.ndim - 1))
    return jax.sharding.reshard(memory, jax.sharding.NamedSharding(mesh, spec))


def serial_stream(layers: Sequence[Layer], keys: Keys) -> Stream | None:
    """Return the stream of layers in sequence, whose memory is a tuple with one entry per layer.

    None if a layer has no stream.
    """
    streams = [layer.stream for layer in layers if layer.stream is not None]
    if len(streams) < len(layers):
        return None

    def start(params: Params, batch: int) -> Any:
        return tuple(stream.start(p, batch) for stream, p in zip(streams, params, strict=True))

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        residuals, after = [], []
        for stream, p, m, k in zip(streams, params, memory, keys(key, len(layers)), strict=True):
            x, r, m = stream.advance(p, m, x, k)
            residuals.append(r)
            after.append(m)
        return x, tuple(residuals), tuple(after)

    return Stream(start, advance)


def residual_stream(
    layers: Sequence[Layer], keys: Keys, join: Callable[[Array, Array, Array, Residuals, Residuals], Any]
) -> Stream | None:
    """Return the stream of a layer and its shortcut, whose memory is a pair. None if one of them has no stream.

    Args:
      layers: the layer and the shortcut.
      keys: how a key is split.
      join: x, both outputs and both residuals -> the output and residuals of the combination.
    """
    layer, shortcut = (f.stream for f in layers)
    if layer is None or shortcut is None:
        return None

    def start(params: Params, batch: int) -> Any:
        p, q = params
        return layer.start(p, batch), shortcut.start(q, batch)

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        (p, q), (m, n), (k, j) = params, memory, keys(key, 2)
        y, r, m = layer.advance(p, m, x, k)
        s, t, n = shortcut.advance(q, n, x, j)
        return *join(x, y, s, r, t), (m, n)

    return Stream(start, advance)


def stream_of(function: str, network: Layer) -> Stream:
    """Return the stream of a network. If it has none, raise an error that names the layer without one."""
    if network.stream is None:
        inner = network
        while missing := [layer for layer in inner.layers if layer.stream is None]:
            inner = missing[0]
        names = [layer.name or "a layer without a name" for layer in (network, inner)]
        came = f"{' with '.join(names if inner is not network else names[:1])}, which has no stream"
        raise checks.fail(function, "network", "made of layers that read a sequence in pieces", came=came)
    return network.stream


def start_memory(network: Layer, params: Params, batch: int) -> Any:
    """Return what a network remembers before the first position of a sequence.

    Args:
      network: a layer that can read a sequence in pieces, with a `fnn.Stream`.
      params: its parameters.
      batch: the number of sequences.

    Returns:
      The memory, a pytree of arrays: what `network.stream.advance` and the step of `fnn.make_stream_step` take.

    Raises:
      ValueError: if a layer of the network has no stream, or `batch` is not positive.

    >>> import fnn
    >>> network = fnn.serial(fnn.gru(3, 4), fnn.dense(4, 2))
    >>> params = jax.eval_shape(network.init, jax.random.key(0))
    >>> start_memory(network, params, 5)[0].shape
    (5, 4)
    """
    stream = stream_of("start_memory", checks.layer("start_memory", "network", network))
    return stream.start(checks.params("start_memory", params), checks.positive_int("start_memory", "batch", batch))


def batch_axes(stream: Stream, params: Params) -> list[int | None]:
    """Return the axis of each leaf of the memory that counts the sequences. None if they share it, as a position."""
    two, three = (jax.tree.leaves(jax.eval_shape(lambda p, n=n: stream.start(p, n), params)) for n in (2, 3))
    axes = []
    for a, b in zip(two, three, strict=True):
        differing = [axis for axis, sizes in enumerate(zip(a.shape, b.shape, strict=True)) if len(set(sizes)) > 1]
        axes.append(differing[0] if differing else None)
    return axes
