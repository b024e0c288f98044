"""Read a user's own table: features as numbers, the target as text."""

import array
import csv
import difflib
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from experiments.data.csv import LARGEST, read_lines, read_names
from experiments.data.npz import read_npz
from experiments.errors import DataError, UsageError
from experiments.wording import counted

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))  # spellings of a missing value, in lower case


class Selection(NamedTuple):
    """Columns and rows to read.

    target        column to predict; None: no target
    features      columns to predict from; None: all columns except the target and those to ignore
    ignore        columns to leave out
    drop_missing  drop rows with missing values instead of raising DataError
    optional      the target may be absent; a target with missing values counts as absent
    """

    target: str | None
    features: Sequence[str] | None = None
    ignore: Collection[str] = ()
    drop_missing: bool = False
    optional: bool = False


class Examples(NamedTuple):
    """Examples of a table.

    names     columns of x
    x         features, a row per example
    target    values of the target as text; () if there is no target
    rows      row number of each example in the file, from 1
    dropped   number of rows dropped because of missing values
    absent    why there is no target, if it is optional: a text for a message
    """

    names: tuple[str, ...]
    x: Float64[np.ndarray, "n features"]
    target: tuple[str, ...]
    rows: tuple[int, ...]
    dropped: int = 0
    absent: str = ""


def read_examples(path: Path, selection: Selection, delimiter: str = ",") -> Examples:
    """Read examples from a .csv file with column names, or from an .npz file.

    Raises:
      DataError: if the file is invalid; the message names the file, the line and the column.
      UsageError: if a flag names a column that does not exist; the message names the flag.
    """
    if path.suffix.lower() == ".npz":
        return _from_arrays(path, selection)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(f"{path}: has {size:,} bytes, more than {LARGEST:,}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(read_lines(path, file, LARGEST), delimiter=delimiter, strict=True)
            try:
                return _from_rows(path, reader, selection)
            except csv.Error as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in UTF-8: {error.reason} at byte {error.start:,}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _check_names(path: Path, names: Sequence[str], flag: str, requested: Collection[str]) -> None:
    """Raise UsageError if the flag asks for a column that does not exist."""
    for name in requested:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f" ({', '.join(names)[:200]})"
            if len(names) == 1:
                hint = f": its only column is {names[0][:60]!r}; --delimiter sets the character between columns"
            raise UsageError(f"{flag}: {path} has no column {name!r}{hint}")


def _chosen(path: Path, names: Sequence[str], selection: Selection) -> tuple[str, ...]:
    """Return the names of the features; raise an error for missing columns."""
    _check_names(path, names, "--target", [] if selection.target is None else [selection.target])
    _check_names(path, names, "--ignore", selection.ignore)
    if selection.features is not None:
        absent = [name for name in selection.features if name not in names]
        if absent:
            hint = f": its only column is {names[0][:60]!r}; see --delimiter" if len(names) == 1 else ""
            raise DataError(f"{path}: has no column {', '.join(map(repr, absent[:5]))}, which the network needs{hint}")
        return tuple(selection.features)
    features = tuple(name for name in names if name != selection.target and name not in selection.ignore)
    if not features:
        raise DataError(f"{path}: has no column besides the target; set --delimiter if fields are not separated by ,")
    return features


def _without_absent_target(names: Sequence[str], selection: Selection) -> tuple[Selection, str]:
    """Remove the target from the selection if it is optional and absent; return also the text for `absent`."""
    if not selection.optional or selection.target is None or selection.target in names:
        return selection, ""
    return selection._replace(target=None), f"there is no column {selection.target!r}"


def _incomplete(target: str | None, row: int) -> str:
    """Return the text for `absent`, for a target with a missing value in this row (from 1)."""
    return f"the column {target!r} has missing values, first in row {row}"


def _from_rows(path: Path, reader: Any, selection: Selection) -> Examples:
    header = next((row for row in reader if row), None)
    if header is None:
        raise DataError(f"{path}: is empty")
    names = read_names(f"{path}, line {reader.line_num}", header)
    selection, absent = _without_absent_target(names, selection)
    features = _chosen(path, names, selection)
    feature_columns = [names.index(name) for name in features]
    target_column = None if selection.target is None else names.index(selection.target)
    required = [*feature_columns, *([] if target_column is None or selection.optional else [target_column])]
    values, target, rows, dropped = array.array("d"), [], [], 0
    for number, row in enumerate((row for row in reader if row), start=1):
        where = f"{path}, line {reader.line_num}"
        if len(row) != len(names):
            raise DataError(f"{where}: must have {len(names)} fields, got {len(row)}")
        empty = next((names[i] for i in required if row[i].strip().lower() in MISSING), None)
        if empty is not None:
            if not selection.drop_missing:
                raise DataError(f"{where}: {empty!r} is missing; --drop-missing drops such rows")
            dropped += 1
            continue
        pairs = zip(features, feature_columns, strict=True)
        values.extend(_number(where, name, row[column], selection) for name, column in pairs)
        rows.append(number)
        if target_column is not None:
            target.append(row[target_column].strip())
    if not values:
        raise DataError(
            f"{path}: has no rows" + (f" without missing values; {counted(dropped, 'row')} dropped" if dropped else "")
        )
    x = np.array(values).reshape(-1, len(features))
    incomplete = [row for row, field in zip(rows, target, strict=False) if field.lower() in MISSING]
    if selection.optional and incomplete:
        target, absent = [], _incomplete(selection.target, incomplete[0])
    return Examples(features, x, tuple(target), tuple(rows), dropped, absent)


def _number(where: str, name: str, field: str, selection: Selection) -> float:
    try:
        number = float(field)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        hint = "; use --ignore to leave the column out" if selection.features is None else ""
        raise DataError(f"{where}: {name!r} must be a finite number, got {field[:40]!r}{hint}")
    return number


def _from_arrays(path: Path, selection: Selection) -> Examples:
    """Read examples from arrays, a row per example.

    An array with more than one axis gives several columns, name[0], name[1] …
    """
    arrays = read_npz(path)
    _check_names(path, tuple(arrays), "--ignore", selection.ignore)
    columns: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if name in selection.ignore:
            continue
        if values.ndim == 0 or values.size == 0 or values.dtype.kind == "c":
            raise DataError(f"{path}: {name!r} must be an array of real numbers with a row per example")
        flat = values.reshape(len(values), -1)
        single = values.ndim == 1 or (name == selection.target and flat.shape[1] == 1)
        columns |= {name if single else f"{name}[{i}]": column for i, column in enumerate(flat.T)}
    selection, absent = _without_absent_target(tuple(columns), selection._replace(ignore=()))
    features = _chosen(path, tuple(columns), selection)
    lengths = {name: len(columns[name]) for name in [*features, *([selection.target] if selection.target else [])]}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{name} {n:,}" for name, n in sorted(lengths.items(), key=lambda item: item[1])[:8])
        raise DataError(
            f"{path}: the arrays must have the same number of rows, got {shown}; use --ignore to leave an array out"
        )
    x = np.column_stack([columns[name] for name in features]).astype(np.float64)
    target = None if selection.target is None else columns[selection.target]
    if target is not None and selection.optional and not np.isfinite(target).all():
        absent = _incomplete(selection.target, int(np.argmin(np.isfinite(target))) + 1)
        target = None
    good = np.isfinite(x).all(axis=1) & (True if target is None else np.isfinite(target))
    if not good.all() and not selection.drop_missing:
        row = int(np.argmin(good))
        bad = next((name for name in features if not np.isfinite(columns[name][row])), selection.target)
        raise DataError(f"{path}: {bad!r} is NaN or infinite in row {row + 1}; --drop-missing drops such rows")
    if not good.any():
        raise DataError(f"{path}: every row has missing values")
    text = () if target is None else tuple(str(value) for value in target[good].tolist())
    return Examples(features, x[good], text, tuple((1 + np.flatnonzero(good)).tolist()), int((~good).sum()), absent)
