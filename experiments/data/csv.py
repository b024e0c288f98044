"""Tables of numbers as text, .csv, of a user's own: every row as long as the first, every field a finite number."""

import array
import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from jaxtyping import Float64

from experiments.errors import DataError

LARGEST = 2**26  # bytes of a file
_FIELD, _COLUMNS = 100, 100_000  # characters of a number, columns
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Table(NamedTuple):
    """The names of the columns, () where the file has none, and the numbers."""

    names: tuple[str, ...]
    values: Float64[np.ndarray, "rows columns"]


def read_csv(path: Path, header: bool = True, delimiter: str = ",", largest: int = LARGEST) -> Table:
    """The numbers in a text file (UTF-8), with the names in its first line if it has a `header`.

    DataError names the file, the line, and what is wrong: a row longer or shorter than the first, a field that is not
    a finite number, a name that is missing or there twice. Empty lines are skipped.
    """
    try:
        size = path.stat().st_size
        if size > largest:
            raise DataError(f"{path}: has {size:,} bytes, more than {largest:,}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _table(path, file, header, delimiter, largest)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in UTF-8: {error.reason} at byte {error.start:,}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def lines(path: Path, file: TextIO, largest: int) -> Iterator[str]:
    """The file's lines, none longer than a row can be."""
    longest = min(largest, (_FIELD + 3) * _COLUMNS)
    while line := file.readline(longest + 1):
        if len(line) > longest:
            raise DataError(f"{path}: a line has more than {longest:,} characters")
        if "\0" in line:
            raise DataError(f"{path}: is not text: it holds a NUL")
        yield line


def _table(path: Path, file: TextIO, header: bool, delimiter: str, largest: int) -> Table:
    reader = csv.reader(lines(path, file, largest), delimiter=delimiter, strict=True)
    names, width, values = (), 0, array.array("d")
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if not row:
                continue
            if header and not names:
                names = read_names(where, row)
                width = len(names)
                continue
            width = width or len(row)
            if len(row) != width or width > _COLUMNS:
                raise DataError(f"{where}: must have {width} fields (at most {_COLUMNS:,}), got {len(row)}")
            values.extend(_number(where, column, field) for column, field in enumerate(row, 1))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if not values:
        raise DataError(f"{path}: holds no rows of numbers")
    return Table(names, np.array(values).reshape(-1, width))


def read_names(where: str, row: list[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in row)
    if len(names) > _COLUMNS or not all(names) or len(set(names)) < len(names):
        raise DataError(f"{where}: the columns must have names, each its own: {', '.join(names)[:100]!r}")
    if all(_NUMBER.fullmatch(name) for name in names):
        raise DataError(f"{where}: must hold the names of the columns, got numbers (header=False if there are none)")
    return names


def _number(where: str, column: int, field: str) -> float:
    text = field.strip()
    if len(text) <= _FIELD and _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    raise DataError(f"{where}, field {column}: must be a finite number, got {text[:40]!r}")
