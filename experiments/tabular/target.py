"""The target column of a table: text as class indices or as numbers."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from experiments.data.tables import Table
from experiments.errors import DataError
from experiments.tabular.numerals import Numerals, find_dates, find_numerals, parse_numbers, spelled
from experiments.tabular.values import as_text, is_missing
from experiments.wording import counted

if TYPE_CHECKING:
    import pandas as pd

MANY_CLASSES = 20  # integers with more distinct values are treated as a quantity
MOST_CLASSES = 1000
_WRONG = 0.05  # share of different texts that are not numbers in a quantity
_NAMES = frozenset(
    ("none", "nil", "missing", "unknown", "-", "--", ".", "..", "...")
)  # missing among numbers, a class among texts
_PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.0+|\.\d*[1-9])?", re.ASCII)  # one spelling of each number, but for .0
_CODE = r"[+-]?0[0-9].*"  # a leading zero: a code such as 01


class Target(NamedTuple):
    """The target column.

    name      its name
    classes   its classes, as the table writes them; () for a quantity
    form      how a quantity is written, a Numerals
    why       why it is the one or the other, in words
    """

    name: str
    classes: tuple[str, ...]
    form: Any
    why: str


def find_target(table: Table, name: str, task: str | None, spellings: Collection[str], source: object) -> Target:
    """Decide between classes and a quantity, by `task` if given, or by the values.

    Raises:
      DataError: if the column can be neither.
    """
    where, values = f"{source}: --target {name}", table.columns[name]
    texts: Any = as_text(values[~_missing(values, False, spellings)])
    different: Any = as_text(values[~_missing(values, True, spellings)]).drop_duplicates()
    if not len(different):
        raise DataError(f"{where}: every row has no value")
    is_code = different.str.fullmatch(_CODE).any()
    forms, share = find_numerals(different, table.comma)
    numeric = share == 1 and not is_code
    wrong = task is None and not is_code and len(different) > MANY_CLASSES and 1 - _WRONG < share < 1
    if wrong or (task == "regression" and share < 1):
        numbers = parse_numbers(different, forms[0] if forms else Numerals())
        row = int(np.argmax(values == different[numbers.isna()].iloc[0]))
        few = task is None and len(different) <= len(texts) // 4
        advice = ", --task classification takes all as classes" if few else ""
        raise DataError(
            f"{source}, {table.place} {table.rows[row]}: {name!r} must be a finite number, got {values[row][:40]!r}; "
            f"--missing {values[row][:40]!r} reads it as missing{advice}"
        )
    numbers = parse_numbers(different, forms[0]) if numeric else None
    names = () if numeric and len(different) > MOST_CLASSES else class_names(tuple(texts))
    few = bool(names) and (numbers is None or (bool((numbers % 1 == 0).all()) and len(names) <= MANY_CLASSES))
    if len(different) < 2 and len(names) < 2:
        raise DataError(f"{where} has the value {different.iloc[0]!r} in every row: there is nothing to learn")
    if task == "regression" or (task is None and not few):
        reason = f"{len(different):,} different numbers" if task is None else "set by --task"
        return Target(name, (), forms[0], f"a quantity ({'; '.join([reason, *spelled(forms[0])])})")
    count = len(names) or len(different)
    if count > min(len(texts) // 4, MOST_CLASSES):
        hint = "; use --task regression if it is a quantity" if numeric and task is None else ""
        if not numeric and find_dates(different):
            first = different.iloc[0]
            hint = f"; they are dates, such as {first!r}: write them as a number, such as days since the first one"
        values_text = f"{count:,} different values in {counted(len(texts), 'row')}"
        raise DataError(f"{where} has {values_text}: too many to be classes{hint}")
    reason = "set by --task" if task else "integers" if numeric else "text"
    return Target(name, names, None, f"{len(names)} classes ({reason})")


def _missing(values: "pd.Series", quantity: bool, spellings: Collection[str]) -> "pd.Series":
    """Return which values are missing; among classes, "none" and the like are not."""
    missing = is_missing(values, spellings)
    if quantity or values.dtype.kind in "iuf":
        return missing
    kept = _NAMES - {spelling.strip().lower() for spelling in spellings}
    return missing & ~values.str.lower().isin(kept)


def read_target(
    target: Target, table: Table, spellings: Collection[str], source: object
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of the target, class indices or numbers, and which rows have one.

    Rows without a value hold -1 or NaN.

    Raises:
      DataError: if a value is not a class of the target, or not a number; the message names the line.
    """
    values = table.columns[target.name]
    missing = _missing(values, not target.classes, spellings).to_numpy()
    texts = as_text(values)
    if target.classes:
        y: np.ndarray = class_indices(target.classes, texts)
        bad, what = (y < 0) & ~missing, "not one of the model's classes"
        y[missing] = -1
    else:
        form = Numerals(*target.form)
        numbers = values if values.dtype.kind in "iuf" else parse_numbers(values, form)
        y = numbers.astype("float64").mask(missing).to_numpy()
        bad, what = ~np.isfinite(y) & ~missing, "not a finite number"
    if bad.any():
        row = int(np.argmax(bad))
        place = f"{source}, {table.place} {table.rows[row]}"
        raise DataError(f"{place}: {target.name!r} is {texts[row][:40]!r}, {what}")
    return y, ~missing


def class_indices(names: tuple[str, ...], text: Iterable[str]) -> Int32[np.ndarray, " n"]:
    """Index of each field among the class names; -1 for an unknown class.

    If every name is a plain number, 10 and 10.0 are the same class. Otherwise names are text, and only equal text is
    the same class.

    >>> class_indices(("2", "10"), ("10.0", "2", "3"))
    array([ 1,  0, -1], dtype=int32)
    >>> class_indices(("01", "1"), ("1", "01", "1.0"))
    array([ 1,  0, -1], dtype=int32)
    """
    spell = speller(names)
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
    spellings = Counter(text)
    spell = speller(spellings)
    names: dict[str, str] = {}
    for name in sorted(spellings, key=lambda name: (-spellings[name], len(name), name)):
        names.setdefault(spell(name), name)
    return tuple(sorted(names.values(), key=_order))


def _order(name: str) -> tuple[bool, Decimal, str]:
    """The sort key of a class: numbers first, compared exactly."""
    number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", name, re.ASCII)
    return number is None, Decimal(name) if number else Decimal(0), name


def speller(text: Iterable[str]) -> Callable[[str], str]:
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
