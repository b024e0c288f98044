"""Checks of arguments that are numbers."""

import math
import operator
import sys
from typing import Any

import numpy as np

from fnn.checks.errors import fail
from fnn.checks.host_values import python_scalar


def positive_int(function: str, argument: str, value: Any) -> int:
    """Return `value` as an int of at least 1. Booleans and fractions are errors."""
    try:
        number = operator.index(value)
    except TypeError:
        raise fail(function, argument, "a positive integer", value, TypeError) from None
    if isinstance(value, bool) or number < 1:
        raise fail(function, argument, "a positive integer", value)
    return number


def integer(function: str, argument: str, value: Any) -> int:
    """Return `value` as an int of any sign. Booleans and fractions are errors."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise fail(function, argument, "an integer", value, TypeError)
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
    if isinstance(value, int | float) and not (abs(value) <= sys.float_info.max and value >= minimum):
        raise fail(function, argument, f"finite and at least {minimum}" if minimum > -math.inf else "finite", value)


def step_of(function: str, tree: Any, step: Any) -> int:
    """Return `step`, or the step of the tree if none is given."""
    if step is None:
        if not hasattr(tree, "step"):
            raise fail(function, "step", "given, since the tree has none", came="None")
        step = int(tree.step)
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
        raise fail(function, "step", "an integer of at least 0", step)
    return int(step)
