"""The architecture of a network as values that JSON can hold, for people to read."""

import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from fnn.layers.repeat import repeat
from fnn.types import Layer


def architecture_of(network: Layer) -> dict[str, Any]:
    """Return the layers of a network with their sizes and arguments, and how combinators combine them.

    Each layer has a `name`, what its builder was given (`arguments`, where they are numbers, texts or tuples of them),
    and its `parameters` with dtypes and shapes. Those of a combinator are in its `layers`. `repeat` has one of its
    `copies`.

    >>> import fnn
    >>> [layer["name"] for layer in architecture_of(fnn.mlp([4, 8, 3]))["layers"]]
    ['dense(4, 8)', 'relu', 'dense(8, 3)']
    """
    found: dict[str, Any] = {"name": network.name or "a layer without a name"}
    if arguments := dict(_plain_values(network)):
        found["arguments"] = arguments
    if network.combinator is repeat:
        found["copies"] = len(network.layers)
    if network.layers:
        found["layers"] = [architecture_of(layer) for layer in network.layers[: 1 if "copies" in found else None]]
        return found
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(network.init, jax.random.key(0)))
    parameters = {
        jax.tree_util.keystr(path, simple=True, separator="."): [str(leaf.dtype), list(leaf.shape)]
        for path, leaf in leaves
    }
    return found | ({"parameters": parameters} if parameters else {})


def _plain_values(layer: Layer) -> Iterator[tuple[str, Any]]:
    """Yield the numbers and texts that the functions of a layer hold, with their names, in the order of the names."""
    held: dict[str, Any] = {}
    for function in (layer.init, layer.forward, layer.backward):
        _collect(function, held, set())
    yield from sorted(held.items())


def _collect(function: Any, held: dict[str, Any], visited: set[int]) -> None:
    if not isinstance(function, types.FunctionType) or id(function) in visited:
        return
    visited.add(id(function))
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned
            continue
        _collect(value, held, visited)
        if name != "name" and (plain := _plain(value)) is not None:
            held[name] = plain


def _plain(value: Any) -> Any:
    """Return a number, a text, or a tuple of them as JSON holds it; None for everything else."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple) and value and not isinstance(value, Layer):
        parts = [_plain(part) for part in value]
        return None if None in parts else parts
    return None
