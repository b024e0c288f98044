"""Streams of combinators and of layers that act on each position alone. See `fnn.Stream`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks
from fnn.types import Layer, Params, PRNGKey, Residuals, Stream

Keys = Callable[[PRNGKey | None, int], Sequence[PRNGKey | None]]
"""key, n -> a key for each of n layers: the function that the forward pass of the combinator uses"""


Check = Callable[[Params], Params]
"""Returns the parameters of a combinator, or raises an error if they have another form."""


def per_position(layer: Layer, features: bool = False) -> Layer:
    """Return the layer with a stream without memory, for layers whose output at a position depends on it alone.

    Args:
      layer: the layer.
      features: whether the last axis of x holds features, of which each output depends on all. The stream then refuses
        x (batch, time): its last axis is time.
    """

    def advance(params: Params, memory: tuple, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, tuple]:
        if features and jnp.ndim(x) < 3:
            expected = "of shape (batch, time, ..., features), if a sequence is read in pieces"
            raise checks.fail(layer.name, "x", expected, x)
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


def serial_stream(layers: Sequence[Layer], keys: Keys, per_layer: Check) -> Stream | None:
    """Return the stream of layers in sequence, whose memory is a tuple with one entry per layer.

    None if a layer has no stream.

    Args:
      layers: the layers.
      keys: how a key is split.
      per_layer: the check of the parameters.
    """
    streams = _streams_of(layers)
    if streams is None:
        return None

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        residuals, after = [], []
        each = streams, per_layer(params), _parts("serial", memory, len(layers)), keys(key, len(layers))
        for stream, p, m, k in zip(*each, strict=True):
            x, r, m = stream.advance(p, m, x, k)
            residuals.append(r)
            after.append(m)
        return x, tuple(residuals), tuple(after)

    return Stream(_start_each(streams, per_layer), advance)


def residual_stream(
    layers: Sequence[Layer], keys: Keys, check: Check, join: Callable[[Array, Array, Array, Residuals, Residuals], Any]
) -> Stream | None:
    """Return the stream of a layer and its shortcut, whose memory is a pair. None if one of them has no stream.

    Args:
      layers: the layer and the shortcut.
      keys: how a key is split.
      check: the check of the parameters.
      join: x, both outputs and both residuals -> the output and residuals of the combination.
    """
    layer, shortcut = (f.stream for f in layers)
    if layer is None or shortcut is None:
        return None

    def start(params: Params, batch: int) -> Any:
        p, q = check(params)
        return layer.start(p, batch), shortcut.start(q, batch)

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        (p, q), (m, n), (k, j) = check(params), _parts("residual", memory, 2), keys(key, 2)
        y, r, m = layer.advance(p, m, x, k)
        s, t, n = shortcut.advance(q, n, x, j)
        return *join(x, y, s, r, t), (m, n)

    return Stream(start, advance)


def add_stream(
    layers: Sequence[Layer],
    keys: Keys,
    per_layer: Check,
    join: Callable[[Array, Sequence[Array], Sequence[Residuals]], tuple[Array, Residuals]],
) -> Stream | None:
    """Return the stream of layers side by side, whose memory is a tuple with one entry per layer.

    None if a layer has no stream.

    Args:
      layers: the layers.
      keys: how a key is split.
      per_layer: the check of the parameters.
      join: x, the outputs and the residuals of all layers -> the output and residuals of the combination.
    """
    streams = _streams_of(layers)
    if streams is None:
        return None

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        each = streams, per_layer(params), _parts("add", memory, len(layers)), keys(key, len(layers))
        results = [stream.advance(p, m, x, k) for stream, p, m, k in zip(*each, strict=True)]
        y, residuals = join(x, [y for y, _, _ in results], [r for _, r, _ in results])
        return y, residuals, tuple(m for _, _, m in results)

    return Stream(_start_each(streams, per_layer), advance)


def _streams_of(layers: Sequence[Layer]) -> list[Stream] | None:
    """Return the streams of all layers, or None if one of them has none."""
    streams = [layer.stream for layer in layers if layer.stream is not None]
    return streams if len(streams) == len(layers) else None


def _start_each(streams: Sequence[Stream], per_layer: Check) -> Callable[[Params, int], tuple]:
    """Return the start of a memory with one entry per layer."""

    def start(params: Params, batch: int) -> tuple:
        return tuple(stream.start(p, batch) for stream, p in zip(streams, per_layer(params), strict=True))

    return start


def _parts(function: str, memory: Any, n: int) -> tuple:
    """Return the memory of a combinator if it has one entry for each of n layers."""
    if not isinstance(memory, tuple | list) or len(memory) != n:
        came = f"a {type(memory).__name__} of {len(memory)}" if isinstance(memory, tuple | list) else None
        raise checks.fail(function, "memory", f"a tuple of {n}, one entry per layer", memory, came=came)
    return tuple(memory)


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


def batch_axes(function: str, stream: Stream, params: Params) -> list[int | None]:
    """Return the axis of each leaf of the memory that counts the sequences. None if they share it, as a position.

    Raises ValueError, in the name of `function`, if a leaf depends on the number of sequences in another way.
    """
    two, three = (jax.eval_shape(lambda p, n=n: stream.start(p, n), params) for n in (2, 3))
    if jax.tree.structure(two) != jax.tree.structure(three):
        came = f"{jax.tree.structure(two)} for 2 sequences, {jax.tree.structure(three)} for 3"
        raise checks.fail(function, "the memory", "a tree that does not depend on the number of sequences", came=came)
    axes = []
    for (path, a), b in zip(jax.tree.leaves_with_path(two), jax.tree.leaves(three), strict=True):
        axis = next((i for i, sizes in enumerate(zip(a.shape, b.shape, strict=False)) if sizes == (2, 3)), None)
        if b.shape != (a.shape if axis is None else (*a.shape[:axis], 3, *a.shape[axis + 1 :])):
            expected = "an array with one axis of the number of sequences, or independent of it"
            name, came = f"the memory{jax.tree_util.keystr(path)}", f"{a.shape} for 2 sequences, {b.shape} for 3"
            raise checks.fail(function, name, expected, came=came)
        axes.append(axis)
    return axes
