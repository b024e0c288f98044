"""A table ready for training: its rows and columns as decided, with all that there is to say about them."""

import difflib
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data.tables import Table, read_table
from experiments.errors import DataError, UsageError, usage
from experiments.tabular.columns import Flags, decide_columns
from experiments.tabular.leaks import find_leaks
from experiments.tabular.model import LARGEST, features
from experiments.tabular.sentinels import find_sentinels
from experiments.tabular.target import Target, find_target, read_target
from experiments.tabular.values import CATEGORY, DATE, ID, LEFT_OUT, NUMBER, Column, read_column
from experiments.wording import counted

FEWEST, FEW_OF_A_CLASS = 20, 5  # rows of a table; rows of a class below which a warning is given


class Prepared(NamedTuple):
    """A table ready for training.

    columns    all columns besides the target, as decided
    target     the target
    frame      the values of the features, a pandas.DataFrame of the rows that have a target
    y          the target's values of these rows: class indices or numbers
    dropped    number of rows that were left out
    notes      what was decided about the file, in words
    warnings   what a user should look at
    """

    columns: list[Column]
    target: Target
    frame: Any
    y: np.ndarray
    dropped: int
    notes: tuple[str, ...]
    warnings: list[str]


def prepare(
    path: Path,
    target_name: str,
    flags: Flags,
    *,
    task: str | None = None,
    drop_missing: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Prepared:
    """Read a table and decide what its columns are used as.

    Raises:
      DataError: if the table cannot be used; the message names the line and the flag that helps.
      UsageError: if a flag names a column that does not exist.
    """
    import pandas as pd

    chosen = {f"--{name}": getattr(flags, name) for name in Flags._fields if name != "missing"}
    table = read_table(path, {target_name, *(name for names in chosen.values() for name in names)}, delimiter, encoding)
    for flag, names in chosen.items():
        if target_name in names:
            raise usage(flag, "columns other than the target", target_name)
    check_names(path, table, {"--target": [target_name]} | chosen)
    if len(table.rows) < FEWEST:
        raise DataError(f"{path}: has {counted(len(table.rows), 'row')}, fewer than {FEWEST}")
    target = find_target(table, target_name, task, flags.missing, path)
    y, known = read_target(target, table, flags.missing, path)
    columns = decide_columns(table, target_name, flags, path)
    used = features(columns)
    if not used:
        flags_of = {column.name: override(column) for column in columns}
        advice = {name: f" ({flag} uses it)" if flag else "" for name, flag in flags_of.items()}
        reasons = "; ".join(f"{column.name!r}: {column.why}{advice[column.name]}" for column in columns[:5])
        raise DataError(f"{path}: has no column to predict from besides the target ({reasons or 'no other column'})")
    frame: Any = pd.DataFrame({column.name: read_column(column, table, flags.missing, path) for column in used})
    for column in used:
        largest = frame[column.name].abs().max() if column.kind == NUMBER else 0.0
        if largest > LARGEST:
            row = table.rows[int(frame[column.name].abs().argmax())]
            place = f"{path}, {table.place} {row}"
            raise DataError(f"{place}: {column.name!r} is too large: {largest:g}, more than {LARGEST:g}")
    kept = known & ~frame.isna().any(axis=1).to_numpy() if drop_missing else known
    if kept.sum() < FEWEST:
        dropped = f" of {len(y):,} that are complete" if not kept.all() else ""
        raise DataError(f"{path}: has {counted(int(kept.sum()), 'row')}{dropped}, fewer than {FEWEST}")
    y, frame = y[kept], frame[kept].reset_index(drop=True)
    if len(np.unique(y)) < 2:
        raise DataError(f"{path}: --target {target_name} has one value in all rows that are left: nothing to learn")
    warnings = [f"{column.name!r}: {column.warning}" for column in columns if column.warning]
    numbers = {column.name: frame[column.name].to_numpy() for column in used if column.kind == NUMBER}
    warnings += find_sentinels(numbers if target.classes else {target.name: y} | numbers)
    warnings += find_leaks(used, frame, y, bool(target.classes)) + _about_rows(target, y, known, kept)
    return Prepared(columns, target, frame, y, int((~kept).sum()), table.notes, warnings)


def _about_rows(target: Target, y: np.ndarray, known: np.ndarray, kept: np.ndarray) -> list[str]:
    """Return warnings about rows that are left out, and about classes of few rows."""
    found = []
    if not known.all():
        found.append(f"{counted(int((~known).sum()), 'row')} without a value of {target.name!r} left out")
    if (known & ~kept).any():
        found.append(f"{counted(int((known & ~kept).sum()), 'row')} with missing values left out (--drop-missing)")
    if target.classes:
        counts = np.bincount(y, minlength=len(target.classes))
        rare = [
            f"{name} ({count})" for name, count in zip(target.classes, counts, strict=True) if count < FEW_OF_A_CLASS
        ]
        if rare:
            found.append(f"classes of few rows, which can hardly be learnt: {', '.join(rare[:10])}")
        alike = Counter(name.lower() for name in target.classes)
        twice = [name for name in target.classes if alike[name.lower()] > 1]
        if twice:
            found.append(f"classes that differ only in capital letters, and are kept apart: {', '.join(twice[:10])}")
    return found


def check_names(path: Path, table: Table, chosen: Mapping[str, Sequence[str]]) -> None:
    """Raise UsageError if a flag asks for a column that does not exist, or two flags for the same one."""
    names, seen = [*table.columns], {}
    for flag, requested in chosen.items():
        for name in requested:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f" ({', '.join(names)[:200]})"
                if len(names) == 1:
                    hint = f": its only column is {names[0][:60]!r}; --delimiter sets the character between columns"
                raise UsageError(f"{flag}: {path} has no column {name!r}{hint}")
            if seen.setdefault(name, flag) != flag:
                raise UsageError(f"{flag}: {name!r} is named by {seen[name]} too")


def override(column: Column) -> str:
    """Return the flag that decides otherwise about a column."""
    other = {NUMBER: "categorical", CATEGORY: "ignore", DATE: "categorical", ID: "ignore", LEFT_OUT: "categorical"}
    if column.kind == LEFT_OUT and column.form is not None:
        return f"--numeric {shlex.quote(column.name)}"
    if column.kind == LEFT_OUT and (column.why in ("empty", "the same value in every row") or "set by" in column.why):
        return ""
    return f"--{other.get(column.kind, 'ignore')} {shlex.quote(column.name)}"


def print_columns(prepared: Prepared) -> None:
    """Print what was decided about each column; columns that follow each other and are alike share a line."""
    from rich.console import Console
    from rich.table import Table as Printed
    from rich.text import Text

    table = Printed(title="columns", title_justify="left")
    for head in ("column", "used as", "why", "missing", "distinct", "to change it"):
        side = "right" if head in ("missing", "distinct") else "left"
        table.add_column(head, justify=side, min_width=len("--categorical") if head == "to change it" else None)
    target = prepared.target
    table.add_row(Text(target.name), "target", Text(target.why), "", "", "--task")
    for group in _groups(prepared.columns):
        first, last = group[0], group[-1]
        name = first.name if len(group) == 1 else f"{first.name} … {last.name} ({len(group):,} columns)"
        missing = sum(column.missing for column in group)
        several = [column.distinct for column in group]
        distinct = f"{several[0]:,}" if len({*several}) == 1 else f"{min(several):,} to {max(several):,}"
        flag = override(first).partition(" ")[0]
        table.add_row(Text(name), first.kind, Text(first.why), f"{missing:,}", distinct, Text(flag))
    Console(highlight=False).print(table)


def _groups(columns: Sequence[Column]) -> list[list[Column]]:
    """Return columns one by one, or, of more than 30, neighbours of one kind together."""
    groups: list[list[Column]] = []
    for column in columns:
        alike = groups and (groups[-1][0].kind, groups[-1][0].why) == (column.kind, column.why)
        if len(columns) > 30 and alike:
            groups[-1].append(column)
        else:
            groups.append([column])
    return groups
