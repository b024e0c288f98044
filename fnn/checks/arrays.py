"""Checks of arguments that are arrays, and their conversion."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checks.errors import fail
from fnn.checks.host_values import UnfitError, for_jax, narrowed

A = TypeVar("A", jax.Array, np.ndarray)


def array(function: str, argument: str, value: Any) -> jax.Array:
    """Return `value` as a JAX array, if `jnp.asarray` accepts it. Integers that its dtype cannot hold are errors."""
    try:
        return jnp.asarray(for_jax(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise not_an_array(function, argument, value, error) from None


def on_host(function: str, argument: str, value: Any, row: Callable[[int], str] = "row {}".format) -> np.ndarray:
    """Return `value` as a NumPy array with the dtype that JAX would give it. `row` names a row in errors."""
    if not getattr(value, "is_fully_addressable", True):
        raise fail(function, argument, "an array of this process's own rows", came="one that spans processes")
    try:
        plain = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
        array = np.asarray(value if plain else for_jax(value))
        array = narrowed(array, row)
        if array.dtype.kind not in "biufc" and not jnp.issubdtype(array.dtype, jnp.number):
            raise TypeError
        return array
    except (TypeError, ValueError) as error:
        raise not_an_array(function, argument, value, error) from None


def not_an_array(function: str, argument: str, value: Any, error: Exception) -> Exception:
    """Return the error to raise if a conversion to an array failed with this one."""
    if isinstance(error, UnfitError):
        return fail(function, argument, error.expected, error=error.kind, came=error.came)
    came, advice = _describe_no_numbers(value)
    return fail(function, argument, "an array of numbers", error=TypeError, came=came, advice=advice)


def _describe_no_numbers(value: Any) -> tuple[str, str | None]:
    """Say what keeps a value from being an array of numbers: its dtype, and the first column that holds none."""
    kind = type(value).__name__
    if hasattr(value, "toarray"):  # of SciPy
        return f"a sparse {kind}", "Convert it with its method toarray."
    advice = "Encode or drop what is no number."
    if hasattr(value, "columns") and hasattr(value, "dtypes"):  # a table of pandas
        for name, dtype in zip(value.columns, value.dtypes, strict=True):
            if getattr(dtype, "kind", "O") not in "biufc":
                return f"{kind} whose column {name!r} has dtype {dtype}", advice
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        if isinstance(value, tuple) and any(isinstance(part, tuple | dict) for part in value):
            return (
                f"a tree, {kind} of length {len(value)}",
                "Check the order of the arguments: are these parameters?",
            )
        return kind, "Rows must have equal lengths."
    for index, item in np.ndenumerate(array):
        if not isinstance(item, int | float | complex | np.number | np.bool_):
            place = f"column {index[1]} of row {index[0]}" if len(index) > 1 else f"row {index[0]}" if index else "it"
            return f"{kind} of dtype {array.dtype}, {place} is {str(item)[:40]!r}", advice
    return f"{kind} of dtype {array.dtype}", "Cast it first: x.astype(np.float32)." if array.dtype == object else None


def floating(function: str, argument: str, value: Any) -> jax.Array:
    """Return `value` as a JAX array of floating point numbers."""
    return floats(function, argument, array(function, argument, value))


def floats(function: str, argument: str, value: A) -> A:
    """Return the array `value` if its numbers are floating point."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise fail(function, argument, "floating point (cast it first: x.astype(jnp.float32))", value, TypeError)
    return value


def shaped(function: str, argument: str, value: Any, shape: tuple[int | str, ...]) -> jax.Array:
    """Return `value` as a floating point array of this shape.

    A string in `shape` stands for any size, and "..." before the last size for any number of axes.

    >>> import jax.numpy as jnp
    >>> shaped("dense", "x", jnp.zeros((5, 3)), ("batch", 4))
    Traceback (most recent call last):
        ...
    ValueError: dense: x must be of shape (batch, 4), got float32 of shape (5, 3)
    """
    value = floating(function, argument, value)
    wants = (*shape[:-2], *("",) * (value.ndim - len(shape) + 1), shape[-1]) if "..." in shape[-2:-1] else shape
    fits = value.ndim == len(wants) and all(
        isinstance(want, str) or have == want for have, want in zip(value.shape, wants, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise fail(function, argument, f"of shape ({wanted})", value)
    return value


def per_example(function: str, argument: str, value: Any, x: jax.Array) -> jax.Array:
    """Return `value` as an array (batch,), one number for each example of x.

    Nothing is broadcast.
    """
    value = array(function, argument, value)
    if value.shape != x.shape[:1]:
        raise fail(function, argument, f"of shape ({x.shape[0]},), a number per example", value)
    return value
