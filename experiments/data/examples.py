"""Examples of a user's own, from .csv or .npz: features as numbers, the target as it is written."""

import array
import csv
import difflib
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from experiments.data.csv import LARGEST, lines, read_names
from experiments.data.npz import read_npz
from experiments.errors import DataError, UsageError

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))  # what tables write, in any case


class Wanted(NamedTuple):
    """What is to be read.

    target        the column to predict; None: there is none
    features      the columns to predict it from; None: all others but those to ignore
    ignore        columns to leave out
    drop_missing  leave out rows where something is missing, instead of a DataError
    optional      the target is read where it is there, and gaps in it are as if it were not
    """

    target: str | None
    features: Sequence[str] | None = None
    ignore: Collection[str] = ()
    drop_missing: bool = False
    optional: bool = False


class Examples(NamedTuple):
    """A row of x per example; target as text, () if there is none; the rows' numbers in the file, from 1."""

    names: tuple[str, ...]
    x: Float64[np.ndarray, "n features"]
    target: tuple[str, ...]
    rows: tuple[int, ...]
    dropped: int = 0


def read_examples(path: Path, wanted: Wanted, delimiter: str = ",") -> Examples:
    """The rows of a .csv file with names in its first line, or the arrays of an .npz file, an example per row.

    DataError names the file, the line and the column; UsageError the flag, for a column that is not there.
    """
    if path.suffix.lower() == ".npz":
        return _from_arrays(path, wanted)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(f"{path}: has {size:,} bytes, more than {LARGEST:,}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(lines(path, file, LARGEST), delimiter=delimiter, strict=True)
            try:
                return _from_rows(path, reader, wanted)
            except csv.Error as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in UTF-8: {error.reason} at byte {error.start:,}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _check_names(path: Path, names: Sequence[str], flag: str, asked: Collection[str]) -> None:
    """UsageError for a name that the flag asks for and that is not there."""
    for name in asked:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f" ({', '.join(names)[:200]})"
            if len(names) == 1:
                hint = f": its only one is {names[0][:60]!r}; --delimiter says what separates columns"
            raise UsageError(f"{flag}: {path} has no column {name!r}{hint}")


def _chosen(path: Path, names: Sequence[str], wanted: Wanted) -> tuple[str, ...]:
    """The names of the features; the error for names that are not there."""
    _check_names(path, names, "--target", [] if wanted.target is None else [wanted.target])
    _check_names(path, names, "--ignore", wanted.ignore)
    if wanted.features is not None:
        absent = [name for name in wanted.features if name not in names]
        if absent:
            hint = f": its only one is {names[0][:60]!r}; see --delimiter" if len(names) == 1 else ""
            raise DataError(f"{path}: has no column {', '.join(map(repr, absent[:5]))}, which the network needs{hint}")
        return tuple(wanted.features)
    features = tuple(name for name in names if name != wanted.target and name not in wanted.ignore)
    if not features:
        raise DataError(f"{path}: has no column besides the target (--delimiter if it is not a comma)")
    return features


def _settled(names: Sequence[str], wanted: Wanted) -> Wanted:
    """Without a target that is optional and not there."""
    return wanted._replace(target=None) if wanted.optional and wanted.target not in names else wanted


def _from_rows(path: Path, reader: Any, wanted: Wanted) -> Examples:
    header = next((row for row in reader if row), None)
    if header is None:
        raise DataError(f"{path}: is empty")
    names = read_names(f"{path}, line {reader.line_num}", header)
    wanted = _settled(names, wanted)
    features = _chosen(path, names, wanted)
    places = [names.index(name) for name in features]
    place = None if wanted.target is None else names.index(wanted.target)
    used = [*places, *([] if place is None or wanted.optional else [place])]
    values, target, rows, dropped = array.array("d"), [], [], 0
    for number, row in enumerate((row for row in reader if row), start=1):
        where = f"{path}, line {reader.line_num}"
        if len(row) != len(names):
            raise DataError(f"{where}: must have {len(names)} fields, got {len(row)}")
        empty = next((names[i] for i in used if row[i].strip().lower() in MISSING), None)
        if empty is not None:
            if not wanted.drop_missing:
                raise DataError(f"{where}: {empty!r} is missing; --drop-missing leaves such rows out")
            dropped += 1
            continue
        values.extend(_number(where, name, row[i], wanted) for name, i in zip(features, places, strict=True))
        rows.append(number)
        if place is not None:
            target.append(row[place].strip())
    if not values:
        raise DataError(f"{path}: holds no rows" + (f": each of the {dropped} has gaps" if dropped else ""))
    gaps = wanted.optional and any(field.lower() in MISSING for field in target)
    x = np.array(values).reshape(-1, len(features))
    return Examples(features, x, () if gaps else tuple(target), tuple(rows), dropped)


def _number(where: str, name: str, field: str, wanted: Wanted) -> float:
    try:
        number = float(field)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        hint = "; --ignore leaves a column out" if wanted.features is None else ""
        raise DataError(f"{where}: {name!r} must be a finite number, got {field[:40]!r}{hint}")
    return number


def _from_arrays(path: Path, wanted: Wanted) -> Examples:
    """Each array is a column, or several: an axis after the first gives name[0], name[1] …"""
    arrays = read_npz(path)
    _check_names(path, tuple(arrays), "--ignore", wanted.ignore)
    columns: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if name in wanted.ignore:
            continue
        if values.ndim == 0 or values.size == 0 or values.dtype.kind == "c":
            raise DataError(f"{path}: {name!r} must be an array of real numbers, a row per example")
        flat = values.reshape(len(values), -1)
        single = values.ndim == 1 or (name == wanted.target and flat.shape[1] == 1)
        columns |= {name if single else f"{name}[{i}]": column for i, column in enumerate(flat.T)}
    wanted = _settled(tuple(columns), wanted._replace(ignore=()))
    features = _chosen(path, tuple(columns), wanted)
    lengths = {name: len(columns[name]) for name in [*features, *([wanted.target] if wanted.target else [])]}
    if len(set(lengths.values())) != 1:
        few = ", ".join(f"{name} {n:,}" for name, n in sorted(lengths.items(), key=lambda item: item[1])[:8])
        raise DataError(f"{path}: the arrays must have a row per example, got {few}; --ignore leaves an array out")
    x = np.column_stack([columns[name] for name in features]).astype(np.float64)
    target = None if wanted.target is None else columns[wanted.target]
    if target is not None and wanted.optional and not np.isfinite(target).all():
        target = None
    good = np.isfinite(x).all(axis=1) & (True if target is None else np.isfinite(target))
    if not good.all() and not wanted.drop_missing:
        row = int(np.argmin(good))
        bad = next((name for name in features if not np.isfinite(columns[name][row])), wanted.target)
        raise DataError(f"{path}: {bad!r} is NaN or infinite in row {row + 1}; --drop-missing leaves such rows out")
    if not good.any():
        raise DataError(f"{path}: holds no rows without gaps")
    text = () if target is None else tuple(str(value) for value in target[good].tolist())
    return Examples(features, x[good], text, tuple((1 + np.flatnonzero(good)).tolist()), int((~good).sum()))
