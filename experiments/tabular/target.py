"""The target column of a table: text as class indices or as numbers."""

import math
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from experiments.errors import DataError
from experiments.tabular.model import Model

MANY_CLASSES = 20  # integers with more distinct values are treated as a quantity
SMALLEST_CLASS = 3  # examples: one for each of training, validation and test
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.0+|\.\d*[1-9])?", re.ASCII)  # one spelling of each number, but for .0
_CODE = re.compile(r"[+-]?0\d.*", re.ASCII)  # a leading zero: a code such as 01


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
    is_text = None in numbers or any(map(_CODE.fullmatch, text))
    quantity = not is_text and not (whole and len(names) <= MANY_CLASSES)
    if task == "regression" or (task is None and quantity):
        y = quantities(name, text, source)
        reason = f"{len(names):,} different numbers" if task is None else "set by --task"
        return Target(y, (), f"a quantity ({reason})")
    if len(names) > len(text) // 4 or len(names) > 1000:
        hint = "; use --task regression if it is a quantity" if None not in numbers and task is None else ""
        values = f"{len(names):,} different values in {len(text):,} rows"
        raise DataError(f"{where} has {values}: too many to be classes{hint}")
    y = class_indices(names, text)
    least = int(np.argmin(np.bincount(y)))
    if np.bincount(y)[least] < SMALLEST_CLASS:
        hint = "; use --task regression if it is a quantity" if None not in numbers else ""
        raise DataError(f"{where}: fewer than {SMALLEST_CLASS} examples are {names[least]!r}{hint}")
    reason = "text" if is_text else "integers"
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

    If every name is a plain number, 10 and 10.0 are the same class. Otherwise names are text, and only equal text is
    the same class.

    >>> class_indices(("2", "10"), ("10.0", "2", "3"))
    array([ 1,  0, -1], dtype=int32)
    >>> class_indices(("01", "1"), ("1", "01", "1.0"))
    array([ 1,  0, -1], dtype=int32)
    """
    spell = _speller(names)
    index = {spell(name): i for i, name in enumerate(names)}
    return np.array([index.get(spell(field), -1) for field in text], np.int32)


def class_names(text: tuple[str, ...]) -> tuple[str, ...]:
    """Return the distinct values of a column, sorted, as they are written in it.

    If every value is a plain number, 2 and 2.0 are the same class; it gets the more frequent spelling. Otherwise each
    text is a class. Numbers are in increasing order, text in alphabetical order.

    >>> class_names(("b", "a", "b")), class_names(("10", "2", "2.0"))
    (('a', 'b'), ('2', '10'))
    >>> class_names(("1.10", "1", "01", "1.1")), class_names(("1.0", "2.0"))
    (('01', '1', '1.1', '1.10'), ('1.0', '2.0'))
    """
    spell, spellings = _speller(text), Counter(text)
    names: dict[str, str] = {}
    for name in sorted(spellings, key=lambda name: (-spellings[name], len(name), name)):
        names.setdefault(spell(name), name)
    return tuple(sorted(names.values(), key=_order))


def quantities(target: str, text: tuple[str, ...], source: object) -> Float64[np.ndarray, " n"]:
    """Parse a column of finite numbers; raise DataError for other fields."""
    numbers = [as_number(field) for field in text]
    if None in numbers:
        row = numbers.index(None)
        raise DataError(f"{source}: {target!r} must be a finite number, got {text[row][:40]!r} in row {row + 1}")
    return np.array(numbers, np.float64)


def as_number(field: str) -> float | None:
    """Parse a finite number; return None for anything else.

    >>> as_number("1e3"), as_number("inf"), as_number("red"), as_number("1_000")
    (1000.0, None, None, None)
    """
    number = float(field) if _NUMBER.fullmatch(field) else math.inf
    return number if math.isfinite(number) else None


def _order(name: str) -> tuple[bool, Decimal, str]:
    """The sort key of a class: numbers first, compared exactly."""
    number = as_number(name)
    return number is None, Decimal(0) if number is None else Decimal(name), name


def _speller(text: tuple[str, ...]) -> Callable[[str], str]:
    """Return the function that gives fields of the same class the same spelling.

    Text and codes (01, 1.10, 1e3) keep theirs. Of numbers no digit is lost, however large they are.
    """
    if not all(map(_PLAIN.fullmatch, text)):
        return str
    return lambda field: _without_zeros(field) if _PLAIN.fullmatch(field) else field


def _without_zeros(number: str) -> str:
    """Return a plain number without .0.

    >>> _without_zeros("1.0"), _without_zeros("10"), _without_zeros("-0.0"), _without_zeros("2.5")
    ('1', '10', '0', '2.5')
    """
    whole, _, fraction = number.partition(".")
    short = f"{whole}.{fraction}" if fraction.strip("0") else whole
    return "0" if short == "-0" else short
