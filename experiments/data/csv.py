"""Read tables of numbers from .csv files, with strict checks."""

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
    """Column names (() if the file has no header) and values."""

    names: tuple[str, ...]
    values: Float64[np.ndarray, "rows columns"]


def read_csv(path: Path, header: bool = True, delimiter: str = ",", largest: int = LARGEST) -> Table:
    """Read a table of numbers from a text file in UTF-8. Empty lines are skipped.

    Args:
      path: the file.
      header: True if the first line holds the column names.
      delimiter: character between fields.
      largest: maximum size of the file in bytes.

    Raises:
      DataError: if a row is longer or shorter than the first, a field is not a finite number, or a name is missing or
        duplicated. The message names the file and the line.
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


def read_lines(path: Path, file: TextIO, largest: int) -> Iterator[str]:
    """Yield the lines of a file; raise DataError for an overlong line."""
    longest = min(largest, (_FIELD + 3) * _COLUMNS)
    while line := file.readline(longest + 1):
        if len(line) > longest:
            raise DataError(f"{path}: a line has more than {longest:,} characters")
        if "\0" in line:
            raise DataError(f"{path}: is not text: it contains a NUL character")
        yield line


def _table(path: Path, file: TextIO, header: bool, delimiter: str, largest: int) -> Table:
    reader = csv.reader(read_lines(path, file, largest), delimiter=delimiter, strict=True)
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
        raise DataError(f"{path}: has no rows of numbers")
    return Table(names, np.array(values).reshape(-1, width))


def read_names(where: str, row: list[str]) -> tuple[str, ...]:
    """Read the header line.

    Raise DataError unless the names are present, distinct and not all numbers.
    """
    names = tuple(name.strip() for name in row)
    if len(names) > _COLUMNS or not all(names) or len(set(names)) < len(names):
        raise DataError(f"{where}: the columns must have distinct names, got {', '.join(names)[:100]!r}")
    if all(_NUMBER.fullmatch(name) for name in names):
        raise DataError(f"{where}: must hold the column names, got numbers (pass header=False if there are no names)")
    return names


def _number(where: str, column: int, field: str) -> float:
    text = field.strip()
    if len(text) <= _FIELD and _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    raise DataError(f"{where}, field {column}: must be a finite number, got {text[:40]!r}")
