"""Pickles of estimators: fnn's own activations and losses are written by name."""

from typing import Any, NamedTuple

from fnn import losses
from fnn.layers import activations, gelu
from fnn.types import Layer, Loss

_PUBLIC = {
    value.name: value
    for module in (activations, gelu, losses)
    for value in vars(module).values()
    if isinstance(value, Layer | Loss)
}


class Named(NamedTuple):
    """An activation or a loss of fnn in a pickle: its functions cannot be imported by name, but it can."""

    name: str


def to_names(state: dict[str, Any]) -> dict[str, Any]:
    """Replace fnn's activations and losses by their names; others stay, and pickle may refuse them."""
    is_public = lambda value: isinstance(value, Layer | Loss) and _PUBLIC.get(value.name) == value
    return {name: Named(value.name) if is_public(value) else value for name, value in state.items()}


def from_names(state: dict[str, Any]) -> dict[str, Any]:
    """Undo `to_names`."""
    return {name: _PUBLIC[value.name] if isinstance(value, Named) else value for name, value in state.items()}
