"""Pickles of estimators: fnn's activations and losses are written by name, other layers need a function."""

from typing import Any, NamedTuple

from fnn import losses
from fnn.estimators.parameters import Recipe
from fnn.layers import activations, gelu
from fnn.types import GradientTransformation, Layer, Loss

_PUBLIC = {
    value.name: value
    for module in (activations, gelu, losses)
    for value in vars(module).values()
    if isinstance(value, Layer | Loss)
}

_ADVICE = {
    "network": "Pass network=build, where `def build(n_in, n_out)` in a module returns the network",
    "optimizer": "Pass optimizer=build, where `def build(learning_rate)` in a module returns the optimizer",
    "loss": "Define the functions of the loss in a module",
}


class Named(NamedTuple):
    """An activation or a loss of fnn in a pickle: its functions cannot be imported by name, but it can."""

    name: str


class Held:
    """Another layer, loss or optimizer in the state of an estimator: a pickle says which parameter it is."""

    def __init__(self, parameter: str, value: Any) -> None:
        self.parameter, self.value = parameter, value

    def __reduce_ex__(self, protocol: Any) -> tuple:
        try:
            self.value.__reduce_ex__(protocol)
        except TypeError as error:
            raise TypeError(
                f"pickle: {self.parameter} must be made of functions that can be imported by name. "
                f"{_ADVICE.get(self.parameter, _ADVICE['network'])}, or use cloudpickle"
            ) from error
        return _itself, (self.value,)


def _itself(value: Any) -> Any:
    return value


def to_names(state: dict[str, Any]) -> dict[str, Any]:
    """Replace fnn's activations and losses by their names, and hold others so that a pickle can name the parameter."""

    def replaced(parameter: str, value: Any) -> Any:
        if isinstance(value, Recipe):
            return Recipe(**to_names(value._asdict()))
        if not isinstance(value, Layer | Loss | GradientTransformation):
            return value
        is_public = not isinstance(value, GradientTransformation) and _PUBLIC.get(value.name) == value
        return Named(value.name) if is_public else Held(parameter, value)  # pyright: ignore[reportAttributeAccessIssue]

    return {parameter: replaced(parameter, value) for parameter, value in state.items()}


def from_names(state: dict[str, Any]) -> dict[str, Any]:
    """Undo `to_names`."""

    def restored(value: Any) -> Any:
        if isinstance(value, Recipe):
            return Recipe(**from_names(value._asdict()))
        return _PUBLIC[value.name] if isinstance(value, Named) else value

    return {name: restored(value) for name, value in state.items()}
