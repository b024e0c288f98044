"""The values of a column, read as it was decided."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.data.tables import Table
from experiments.errors import DataError
from experiments.tabular.numerals import Numerals, parse_dates, parse_numbers, spelled

if TYPE_CHECKING:
    import pandas as pd

NUMBER, YES_NO, DATE, CATEGORY, ID, LEFT_OUT = "number", "yes or no", "date", "category", "id", "left out"
MISSING = frozenset(
    (
        "",
        "na",
        "n/a",
        "#n/a",
        "n.a.",
        "<na>",
        "nan",
        "nat",
        "null",
        "(null)",
        "none",
        "nil",
        "missing",
        "unknown",
        "k.a.",
        "?",
        "-",
        "--",
    )
) | {
    ".",
    "..",
    "...",
    "\\n",
    "#div/0!",
    "#value!",
    "#ref!",
    "#num!",
    "#null!",
}  # spellings of a missing value, in lower case


class Column(NamedTuple):
    """A column and what it is used as.

    name      its name
    kind      NUMBER, YES_NO, DATE, CATEGORY, ID or LEFT_OUT
    why       why, in words
    missing   number of rows without a value
    distinct  number of different values
    form      how its text is read: a Numerals, the form of a date, or the texts for no and yes; None for other kinds
    warning   what a user should look at; "" if nothing
    """

    name: str
    kind: str
    why: str
    missing: int
    distinct: int
    form: Any = None
    warning: str = ""


def is_missing(column: "pd.Series", spellings: Collection[str] = ()) -> "pd.Series":
    """Return which values of a column of numbers or text are missing.

    `spellings` are those of text besides MISSING; a number that is written so is missing too.
    """
    if column.dtype.kind in "iuf":
        numbers = [number for number in map(_as_number, spellings) if number is not None]
        return column.isna() | column.isin(numbers)
    return column.str.lower().isin(MISSING | {spelling.strip().lower() for spelling in spellings})


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read_column(column: Column, table: Table, spellings: Collection[str], source: object) -> "pd.Series":
    """Return a column of a table as decided: float64 numbers, dates, or text; with NaN for missing values.

    Raises:
      DataError: if a value is not of this kind; the message names the line.
    """
    import pandas as pd

    values = table.columns[column.name]
    missing = is_missing(values, spellings)
    if column.kind in (CATEGORY, ID):
        return as_text(values).mask(missing, np.nan).astype(object)
    if column.kind == NUMBER and values.dtype.kind in "iuf":
        numbers = values.astype("float64").mask(missing)
        bad = np.isinf(numbers)
    elif column.kind == DATE:
        numbers = parse_dates(as_text(values).mask(missing), column.form)
        bad = numbers.isna() & ~missing
    elif column.kind == YES_NO:
        numbers = as_text(values).str.lower().map({text: float(i) for i, text in enumerate(column.form)})
        bad = numbers.isna() & ~missing
    else:
        numbers = parse_numbers(values, Numerals(*column.form)).mask(missing)
        bad = numbers.isna() & ~missing
    if bad.any():
        row = int(np.argmax(bad))
        kinds = {DATE: f"one of {column.why}", YES_NO: " or ".join(column.form or "")}
        form = spelled(Numerals(*column.form)) if column.kind == NUMBER and column.form else []
        number = f"a finite number ({', '.join(form)})" if form else "a finite number"
        what, got = kinds.get(column.kind, number), str(values[row])[:40]
        place = f"{source}, {table.place} {table.rows[row]}"
        raise DataError(f"{place}: {column.name!r} must be {what}, got {got!r}; --missing {got!r} reads it as missing")
    return numbers if column.kind == DATE else pd.Series(numbers, dtype="float64")


def as_text(values: "pd.Series") -> "pd.Series":
    """Return numbers or text as text; a number without decimals as a whole one."""
    if values.dtype.kind not in "iuf":
        return values
    return values.astype(str).str.replace(r"\.0$", "", regex=True)
