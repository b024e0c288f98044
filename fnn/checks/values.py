"""Checks of layers, parameters, PRNG keys and paths."""

import os
import re
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from fnn.checks.arrays import shaped
from fnn.checks.errors import fail
from fnn.types import FitResult, Layer, Loss, PRNGKey, RunResult, TrainState

T = TypeVar("T", Layer, Loss)

_ADDRESS = r"[A-Za-z][A-Za-z0-9+.-]+:(?:/|$)"  # Path("gs://bucket") is gs:/bucket
_OF_WINDOWS = r"[A-Za-z]:[\\/]|\\\\"


def layer(function: str, argument: str, value: Any) -> Layer:
    """Return `value` if it is a Layer, and not an uncalled builder of one."""
    if not isinstance(value, Layer):
        raise fail(function, argument, "a Layer (such as fnn.relu or fnn.dense(3, 2))", value, TypeError)
    return functions(function, argument, value, "init", "forward", "backward")


def loss(function: str, value: Any) -> Loss:
    """Return `value` if it is a Loss."""
    if not isinstance(value, Loss):
        raise fail(function, "loss", "a Loss (such as fnn.squared_error)", value, TypeError)
    return functions(function, "loss", value, "forward", "backward")


def functions(function: str, argument: str, value: T, *fields: str) -> T:
    """Return `value` if these fields of it are functions."""
    for field in fields:
        if not callable(getattr(value, field)):
            raise fail(function, f"{argument}.{field}", "a function", getattr(value, field), TypeError)
    return value


def params(function: str, value: Any) -> Any:
    """Return `value`, unless it is a result or a state that holds the parameters."""
    for attribute in ("state.params", "params"):
        found = value
        for name in attribute.split("."):
            found = getattr(found, name, None) if isinstance(value, FitResult | TrainState | RunResult) else None
        if found is not None:
            kind = type(value).__name__
            advice = f"Pass {'result' if 'Result' in kind else 'state'}.{attribute}."
            raise fail(
                function, "params", "the parameters of the network", error=TypeError, came=f"a {kind}", advice=advice
            )
    return value


def no_params(function: str, params: Any) -> None:
    """Check that the parameters of a layer without parameters are the empty tuple."""
    if not (isinstance(params, tuple) and len(params) == 0):
        raise fail(function, "params", "(), since the layer has no parameters", came=type(params).__name__)


def fields(function: str, params: Any, expected: type, **shapes: tuple[int, ...]) -> Any:
    """Return `params` if they have the expected type and their fields these shapes."""
    if not isinstance(params, expected):
        wanted = f"{expected.__name__}({', '.join(getattr(expected, '_fields', ()))})"
        raise fail(function, "params", wanted, error=TypeError, came=type(params).__name__)
    for field, shape in shapes.items():
        shaped(function, f"params.{field}", getattr(params, field), shape)
    return params


def key_axes(value: Any) -> int | None:
    """Return the number of axes of an array of PRNG keys, typed or raw.

    A single key has 0. For any other value the result is None.

    >>> key_axes(jax.random.key(0)), key_axes(jax.random.split(jax.random.PRNGKey(0), 3)), key_axes(0)
    (0, 1, None)
    """
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None:
        return None
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return len(shape)
    return len(shape) - 1 if dtype == jnp.uint32 and shape else None


def key(function: str, value: Any) -> PRNGKey:
    """Return `value` if it is a single PRNG key, typed or raw."""
    if key_axes(value) != 0:
        raise fail(function, "key", "a single PRNG key, such as jax.random.key(0)", value, TypeError)
    return value


def path(function: str, argument: str, value: Any) -> Path:
    """Return a path of this machine, with `~` expanded. Addresses such as gs://bucket/run are errors.

    So are paths of Windows on another system, which would be names of folders there.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise fail(function, argument, "a path", value, TypeError)
    if re.match(_ADDRESS if os.name == "nt" else f"{_ADDRESS}|{_OF_WINDOWS}", text):
        raise fail(function, argument, "a path of this machine", value, advice="Copy or mount it first.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise fail(function, argument, "a path whose `~` names a user of this machine", value) from None
