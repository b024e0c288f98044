"""The size of gradients and parameters, layer by layer: which layers learn, and which have vanishing gradients."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from fnn import checks
from fnn.display.figures import BLUE, ORANGE, literal, log_scale, new_axes
from fnn.layers.repeat import repeat
from fnn.layers.tied_embedding import tied_embedding
from fnn.types import Layer, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gradients(network: Layer, grads: Params, params: Params | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the root mean square of each array of a gradient, layer by layer, on a logarithmic axis.

    A network in which it falls by orders of magnitude towards the input has vanishing gradients. If `params` are given,
    theirs is drawn beside it. An array whose entries are all zero has no bar; its row says so, and those of arrays with
    entries that are not finite too.

    Args:
      network: the network, whose layers name the rows.
      grads: a gradient of its parameters, as `fnn.value_and_grad` returns it.
      params: the parameters.
      ax: the Axes of matplotlib to draw on. Default: those of a new figure, which a notebook shows by itself.

    Returns:
      The Axes. The first layer is at the top.

    Raises:
      ValueError: if `params` is not the tree of `grads`, or there is no array.
      ImportError: if matplotlib is not installed.

    >>> import fnn
    >>> network = fnn.mlp([2, 3, 1])
    >>> params = network.init(jax.random.key(0))
    >>> _, grads = fnn.value_and_grad(network, fnn.squared_error)(params, np.ones((4, 2)), np.ones((4, 1)))
    >>> [label.get_text() for label in gradients(network, grads).get_yticklabels()]
    ['dense(2, 3)  w', 'b', 'dense(3, 1)  w', 'b']
    >>> import matplotlib.pyplot as plt; plt.close()
    """
    rows = [*_rows(checks.layer("gradients", "network", network), grads)]
    if not rows:
        raise checks.fail("gradients", "grads", "a tree with arrays", came="a tree without any")
    if params is not None and jax.tree.structure(params) != jax.tree.structure(grads):
        raise checks.fail("gradients", "params", "a tree like that of grads", came=str(jax.tree.structure(params)))
    sizes = [("gradient", BLUE, [_size(leaf) for _, leaf in rows])]
    if params is not None:
        sizes.append(("parameters", ORANGE, [_size(leaf) for _, leaf in _rows(network, params)]))
    (axes,) = new_axes("gradients", ax, 6.4, min(16.0, 1.2 + 0.3 * len(rows)))
    places, thick = np.arange(len(rows)), 0.8 / len(sizes)
    finite = [value for _, _, values in sizes for value in values if np.isfinite(value) and value > 0]
    low = 10.0 ** np.floor(np.log10(min(finite, default=1.0)) - 0.5)
    for i, (text, colour, values) in enumerate(sizes):
        seen = [value if np.isfinite(value) and value > 0 else low for value in values]
        at = places + (i - (len(sizes) - 1) / 2) * thick
        axes.barh(at, np.subtract(seen, low), left=low, height=thick, color=colour, label=text)
        for place, value in zip(at, values, strict=True):
            if value == 0 or not np.isfinite(value):
                axes.text(low, place, " 0" if value == 0 else " not finite", va="center", fontsize=8, color=colour)
    axes.set_xlim(low, 3 * max(finite, default=1.0))
    log_scale(axes, "x")
    axes.set_yticks(places, [literal(label) for label, _ in rows], fontsize=min(10.0, 400 / len(rows)))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("root mean square")
    axes.grid(False, axis="y")
    if len(sizes) > 1:
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return axes


def _rows(layer: Layer, tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a label and an array for each array of a layer's parameters; the first label of a layer has its name."""
    if layer.combinator is tied_embedding:
        yield f"{prefix}{layer.name}  w", tree.w
        yield from _rows(layer.layers[0], tree.layer, prefix)
    elif layer.combinator is repeat:
        yield from _rows(layer.layers[0], tree, f"{prefix}{len(layer.layers)} × ")
    elif layer.layers and layer.combinator and isinstance(tree, tuple) and len(tree) == len(layer.layers):
        for part, inner in zip(layer.layers, tree, strict=True):
            yield from _rows(part, inner, prefix)
    else:
        for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tree)):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            yield f"{prefix}{layer.name or 'layer'}  {name}".rstrip() if i == 0 else name, leaf


def _size(leaf: Any) -> float:
    """Return the root mean square of an array, without overflow."""
    values = np.abs(np.asarray(leaf)).astype(np.float64).ravel()
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
