"""A diagram of a network: boxes for layers, arrows with shapes between them, branches where paths are added."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.display.architecture import architecture
from fnn.display.figures import need_matplotlib
from fnn.layers.activations import identity
from fnn.layers.add import add
from fnn.layers.combinators import residual, serial
from fnn.layers.ragged import ragged
from fnn.layers.repeat import repeat
from fnn.layers.summary import count_params
from fnn.layers.tied_embedding import tied_embedding
from fnn.plot.blocks import Block, box, branches, column, draw, frame
from fnn.types import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def diagram(network: Layer, input_shape: Sequence[int] | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """Draw a network from its input at the top to its output at the bottom.

    Layers with parameters are blue boxes that count them, other layers grey. Arrows carry the shapes of what flows
    along them. Paths that are added, as in `fnn.residual`, end in a plus sign. A dashed frame holds a layer that is
    repeated, or a combinator of another kind, whose name it carries. Nothing is computed: shapes come from tracing.

    Args:
      network: the layer to draw.
      input_shape: the shape of the input, batch first, as for `fnn.summary`. Without it, no shapes are shown.
      ax: the Axes of matplotlib to draw on. Default: those of a new figure, which a notebook shows by itself.

    Returns:
      The Axes.

    Raises:
      ValueError or TypeError: if the input does not fit the network.
      ImportError: if matplotlib is not installed.

    >>> import fnn
    >>> ax = diagram(fnn.serial(fnn.residual(fnn.dense(8, 8)), fnn.dense(8, 2)), (1, 8))
    >>> [text.get_text() for text in ax.texts if text.get_text()][:3]
    ['input (1, 8)', 'dense(8, 8)', '72 parameters']
    >>> import matplotlib.pyplot as plt; plt.close()
    """
    checks.layer("diagram", "network", network)
    need_matplotlib("diagram")
    x = None
    if input_shape is not None:
        shape = tuple(checks.positive_int("diagram", "input_shape", n) for n in input_shape)
        x = jax.ShapeDtypeStruct(shape, jnp.float32 if network.vocabulary is None else jnp.int32)
    block, y = _block(network, x)
    first = f"input {_shape(x)}".strip()
    return draw(block, first, f"output {_shape(y)}".strip(), ax)


def _shape(x: Any) -> str:
    """Return the shape of an array, or of the arrays of a tree, as text; "" if it is not known."""
    return ", ".join(str(tuple(leaf.shape)) for leaf in jax.tree.leaves(x))


def _output(layer: Layer, x: Any) -> Any:
    if x is None:
        return None
    params = jax.eval_shape(layer.init, jax.random.key(0))
    return jax.eval_shape(lambda p, x: layer.forward(p, x)[0], params, x)


def _block(layer: Layer, x: Any) -> tuple[Block, Any]:
    """Return the block of a layer for an input x, which is an abstract array or None, and its output."""
    if layer.combinator is serial:
        return _in_series(layer.layers, x)
    y = _output(layer, x)
    if layer.combinator is repeat:
        return frame(_block(layer.layers[0], x)[0], f"{len(layer.layers)} ×"), y
    if layer.combinator in (residual, add):
        return branches([None if part is identity else _block(part, x)[0] for part in layer.layers]), y
    if layer.combinator is tied_embedding:
        return _tied(layer, x), y
    if layer.combinator is ragged or not (layer.layers and layer.combinator):
        return _box(layer), y
    parts = [_block(part, x)[0] for part in layer.layers]
    return frame(branches(parts, joined=False), layer.name), y


def _in_series(layers: Sequence[Layer], x: Any) -> tuple[Block, Any]:
    """Return the column of layers in sequence; the same layer several times in a row is drawn once, in a frame."""
    parts, shapes = [], []
    for _, run in itertools.groupby(layers, key=id):
        same = [*run]
        block, y = _block(same[0], x)
        one = len(same) == 1 or (len(same) == 2 and not same[0].layers)
        for _ in range(len(same) if one else 1):
            parts.append(block if one else frame(block, f"{len(same)} ×"))
            shapes.append(_shape(y))
        for _ in same:
            x = _output(same[0], x)
    return column(parts, shapes[:-1]), x


def _tied(layer: Layer, x: Any) -> Block:
    """Return the column of an embedding, the layer between, and the output with the same matrix."""
    params = jax.eval_shape(layer.init, jax.random.key(0))
    n, d = params.w.shape
    e = None if x is None else jax.ShapeDtypeStruct((*x.shape, d), params.w.dtype)
    inner, h = _block(layer.layers[0], e)
    parts = [
        box(f"embedding({n}, {d})", f"{n * d:,} parameters"),
        inner,
        box(f"output: h Wᵀ, ({d}, {n})", "the same W"),
    ]
    return column(parts, [_shape(e), _shape(h)])


def _box(layer: Layer) -> Block:
    n = count_params(jax.eval_shape(layer.init, jax.random.key(0)))
    text = layer.name if layer.name and not layer.layers else " ".join(architecture(layer).split())
    return box(text, f"{n:,} parameter{'' if n == 1 else 's'}" if n else "")
