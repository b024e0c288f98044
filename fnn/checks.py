"""Checks of arguments: errors say what a function expects and what it got.

All checks run while a program is traced, so they cost nothing when it runs.
"""

import math
import operator
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fnn.host_values import UnfitError, for_jax, narrowed, python_scalar, refuse_masked
from fnn.types import FitResult, Layer, PRNGKey, RunResult, TrainState

A = TypeVar("A", jax.Array, np.ndarray)


def describe(value: Any) -> str:
    """Describe a value for an error message.

    An array is described by dtype and shape, anything else by type and repr.

    >>> import jax.numpy as jnp
    >>> describe(jnp.zeros((3, 4)))
    'float32 of shape (3, 4)'
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


def fail(
    function: str,
    argument: str,
    expected: str,
    got: Any = None,
    error: type[Exception] = ValueError,
    *,
    came: str | None = None,
    advice: str | None = None,
) -> Exception:
    """Return the error to raise: `function: argument must be expected, got …`.

    Args:
      function: the public function that the user called.
      argument: its argument.
      expected: what the argument must be.
      got: the value that the user passed.
      error: the type of the error.
      came: a text to use in place of the description of `got`.
      advice: one more sentence that says what to do.

    >>> fail("dense", "n_in", "a positive integer", 0)
    ValueError('dense: n_in must be a positive integer, got int 0')
    """
    message = f"{function}: {argument} must be {expected}, got {describe(got) if came is None else came}"
    return error(message if advice is None else f"{message}. {advice}")


def positive_int(function: str, argument: str, value: Any) -> int:
    """Return `value` as an int of at least 1. Booleans and fractions are errors."""
    try:
        number = operator.index(value)
    except TypeError:
        raise fail(function, argument, "a positive integer", value, TypeError) from None
    if isinstance(value, bool) or number < 1:
        raise fail(function, argument, "a positive integer", value)
    return number


def pair(function: str, argument: str, value: Any) -> tuple[int, int]:
    """Return an int, or a pair of ints, as (height, width)."""
    values = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(values) != 2:
        raise fail(function, argument, "a positive integer or a pair of them", value)
    return positive_int(function, argument, values[0]), positive_int(function, argument, values[1])


def fraction(function: str, argument: str, value: Any) -> float:
    """Return `value` as a float in [0, 1)."""
    value = python_scalar(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1.0:
        kind = ValueError if isinstance(value, int | float) else TypeError
        raise fail(function, argument, "a number in [0, 1)", value, kind)
    return float(value)


def number(function: str, argument: str, value: Any, minimum: float = -math.inf) -> None:
    """Check for a real number or a scalar array, which may be traced.

    If it is not traced, it must also be finite and at least `minimum`.
    """
    value = python_scalar(value)
    if isinstance(value, bool) or not (isinstance(value, int | float) or hasattr(value, "dtype")):
        raise fail(function, argument, "a number or a scalar array", value, TypeError)
    if getattr(value, "shape", ()) != ():
        raise fail(function, argument, "a number or a scalar array", value)
    if isinstance(value, int | float) and not (math.isfinite(value) and value >= minimum):
        raise fail(function, argument, f"finite and at least {minimum}" if minimum > -math.inf else "finite", value)


def layer(function: str, argument: str, value: Any) -> Layer:
    """Return `value` if it is a Layer, and not an uncalled builder of one."""
    if not isinstance(value, Layer):
        raise fail(function, argument, "a Layer (such as fnn.relu or fnn.dense(3, 2))", value, TypeError)
    return value


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
        return kind, "Rows must have equal lengths."
    for index, item in np.ndenumerate(array):
        if not isinstance(item, int | float | complex | np.number | np.bool_):
            place = f"column {index[1]} of row {index[0]}" if len(index) > 1 else f"row {index[0]}" if index else "it"
            return f"{kind} of dtype {array.dtype}, {place} is {str(item)[:40]!r}", advice
    return f"{kind} of dtype {array.dtype}", None


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


def array(function: str, argument: str, value: Any) -> jax.Array:
    """Return `value` as a JAX array, if `jnp.asarray` accepts it. Integers that its dtype cannot hold are errors."""
    try:
        return jnp.asarray(for_jax(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise not_an_array(function, argument, value, error) from None


def on_host(function: str, argument: str, value: Any) -> np.ndarray:
    """Return `value` as a NumPy array with the dtype that JAX would give it."""
    if not getattr(value, "is_fully_addressable", True):
        raise fail(function, argument, "an array of this process's own rows", came="one that spans processes")
    try:
        refuse_masked(value)
        return narrowed(np.asarray(value))
    except (TypeError, ValueError) as error:
        raise not_an_array(function, argument, value, error) from None


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

    A string in `shape` stands for any size.

    >>> import jax.numpy as jnp
    >>> shaped("dense", "x", jnp.zeros((5, 3)), ("batch", 4))
    Traceback (most recent call last):
        ...
    ValueError: dense: x must be of shape (batch, 4), got float32 of shape (5, 3)
    """
    value = floating(function, argument, value)
    fits = value.ndim == len(shape) and all(
        isinstance(want, str) or have == want for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise fail(function, argument, f"of shape ({wanted})", value)
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


def per_example(function: str, argument: str, value: Any, x: jax.Array) -> jax.Array:
    """Return `value` as an array (batch,), one number for each example of x.

    Nothing is broadcast.
    """
    value = array(function, argument, value)
    if value.shape != x.shape[:1]:
        raise fail(function, argument, f"of shape ({x.shape[0]},), a number per example", value)
    return value


def step_of(function: str, tree: Any, step: Any) -> int:
    """Return `step`, or the step of the tree if none is given."""
    if step is None:
        if not hasattr(tree, "step"):
            raise fail(function, "step", "given, since the tree has none", came="None")
        step = int(tree.step)
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
        raise fail(function, "step", "an integer of at least 0", step)
    return int(step)


def path(function: str, argument: str, value: Any) -> Path:
    """Return a path of this machine, with `~` expanded. Addresses such as gs://bucket/run are errors."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise fail(function, argument, "a path", value, TypeError)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):  # Path("gs://bucket") is gs:/bucket
        raise fail(function, argument, "a path of this machine", value, advice="Copy or mount it first.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise fail(function, argument, "a path whose `~` names a user of this machine", value) from None
