"""The target column of a table: text as class indices or as numbers."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from experiments.errors import DataError
from experiments.tabular.model import Model

MANY_CLASSES = 20  # integers with more distinct values are treated as a quantity
SMALLEST_CLASS = 3  # examples: one for each of training, validation and test


class Target(NamedTuple):
    """The target column.

    y is the target as numbers, `classes` is () for a quantity, and `why` gives the reason for this choice in words.
    """

    y: np.ndarray
    classes: tuple[str, ...]
    why: str


def infer_target(name: str, text: tuple[str, ...], task: str | None, source: Path) -> Target:
    """Decide between classes and a quantity, by `task` if given, or by the values.

    Raises:
      DataError: if the column can be neither.
    """
    where, numbers = f"{source}: --target {name}", [as_number(field) for field in text]
    whole = all(number is not None and number == int(number) for number in numbers)
    names = class_names(text)
    if len(names) < 2:
        raise DataError(f"{where} has the value {text[0]!r} in every row: there is nothing to learn")
    quantity = None not in numbers and not (whole and len(names) <= MANY_CLASSES)
    if task == "regression" or (task is None and quantity):
        y = quantities(name, text, source)
        reason = f"{len(names):,} different numbers" if task is None else "set by --task"
        return Target(y, (), f"a quantity ({reason})")
    if len(names) > len(text) // 4 or len(names) > 1000:
        raise DataError(f"{where} has {len(names):,} different values in {len(text):,} rows: too many to be classes")
    y = class_indices(names, text)
    least = int(np.argmin(np.bincount(y)))
    if np.bincount(y)[least] < SMALLEST_CLASS:
        hint = "; use --task regression if it is a quantity" if None not in numbers else ""
        raise DataError(f"{where}: fewer than {SMALLEST_CLASS} examples are {names[least]!r}{hint}")
    reason = "text" if None in numbers else "integers"
    return Target(y, names, f"{len(names)} classes ({reason if task is None else 'set by --task'})")


def parse_target(
    model: Model, text: tuple[str, ...], source: object
) -> Int32[np.ndarray, " n"] | Float64[np.ndarray, " n"]:
    """Read true values for a trained model: class indices or numbers.

    Raise DataError for anything else.
    """
    if not model.classes:
        return quantities(model.target, text, source)
    found = class_indices(model.classes, text)
    if (found < 0).any():
        row = int(np.argmin(found))
        raise DataError(f"{source}: {model.target!r} is {text[row]!r} in row {row + 1}, not one of the model's classes")
    return found


def class_indices(names: tuple[str, ...], text: tuple[str, ...]) -> Int32[np.ndarray, " n"]:
    """Index of each field among the class names; -1 for an unknown class.

    >>> class_indices(("2", "10"), ("10.0", "2", "3"))
    array([ 1,  0, -1], dtype=int32)
    """
    index = {name: i for i, name in enumerate(names)}
    return np.array([index.get(_canonical(field), -1) for field in text], np.int32)


def class_names(text: tuple[str, ...]) -> tuple[str, ...]:
    """Return the distinct values of a column, sorted.

    Numbers are in increasing order, text in alphabetical order.

    >>> class_names(("b", "a", "b")), class_names(("10", "2", "2.0"))
    (('a', 'b'), ('2', '10'))
    """
    names = {_canonical(name) for name in text}
    return tuple(sorted(names, key=lambda name: (as_number(name) is None, as_number(name) or 0.0, name)))


def quantities(target: str, text: tuple[str, ...], source: object) -> Float64[np.ndarray, " n"]:
    """Parse a column of finite numbers; raise DataError for other fields."""
    numbers = [as_number(field) for field in text]
    if None in numbers:
        row = numbers.index(None)
        raise DataError(f"{source}: {target!r} must be a finite number, got {text[row][:40]!r} in row {row + 1}")
    return np.array(numbers, np.float64)


def as_number(field: str) -> float | None:
    """Parse a finite number; return None for anything else.

    >>> as_number("1e3"), as_number("inf"), as_number("red")
    (1000.0, None, None)
    """
    try:
        number = float(field)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _canonical(name: str) -> str:
    """Return one spelling per number, so that 1 and 1.0 are the same class.

    Text is returned unchanged.
    """
    number = as_number(name)
    return name if number is None else str(int(number)) if number == int(number) else repr(number)
