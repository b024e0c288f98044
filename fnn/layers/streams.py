"""Streams of combinators and of layers that act on each position alone. See `fnn.Stream`."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array

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
