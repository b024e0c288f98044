"""Checks that a layer or a loss has the form of fnn's, so that an error names what it takes or returns wrongly."""

from typing import Any

import jax
import numpy as np

from fnn.gradcheck.report import GradientTreeError
from fnn.gradcheck.signatures import misfit


def check_takes(who: str, layer: Any, method: str, args: tuple, expected: str) -> None:
    """Raise TypeError unless a method of a layer takes as many arguments by position as `args`."""
    if not callable(getattr(layer, method, None)):
        kind = who.removeprefix("check_")
        raise TypeError(f"{who}: {kind} must have a function `{method}`, got {type(layer).__name__} without one")
    got = misfit(getattr(layer, method), args)
    if got is not None:
        raise TypeError(f"{_named(who, layer, method)} must take {expected}, got {got}")


def pair(who: str, layer: Any, method: str, result: Any, expected: str) -> tuple[Any, Any]:
    """Return the two values that a method returned. Raises TypeError unless there are two."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        got = f"{len(result)} values" if isinstance(result, (tuple, list)) else _described(result)
        raise TypeError(f"{_named(who, layer, method)} must return {expected}, got {got}")
    first, second = result
    return first, second


def check_order(who: str, layer: Any, dparams: Any, dx: Any, params: Any, x: Any) -> None:
    """Raise GradientTreeError if a backward returned (dx, dparams)."""
    if not _like(dparams, params) and _like(dx, params) and _like(dparams, x):
        raise GradientTreeError(f"{_named(who, layer, 'backward')} must return (dparams, dx), got (dx, dparams)")


def _like(tree: Any, other: Any) -> bool:
    shapes = lambda tree: [np.shape(leaf) for leaf in jax.tree_util.tree_leaves(tree)]
    same_tree = jax.tree_util.tree_structure(tree) == jax.tree_util.tree_structure(other)
    return same_tree and shapes(tree) == shapes(other)


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{value.dtype} {tuple(shape)}"


def _named(who: str, layer: Any, method: str) -> str:
    name = getattr(layer, "name", "") or getattr(getattr(layer, method), "__qualname__", type(layer).__name__)
    return f"{who}: the {method} of {name}"
