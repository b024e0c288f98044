"""Awkward tables are read right, or give one error that names the place and the flag that helps."""

import time
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

from experiments.data.tables import read_table
from experiments.errors import ExperimentError
from experiments.tabular.columns import Flags, decide_columns
from experiments.tabular.target import find_target, read_target
from experiments.tabular.values import Column, read_column
from tests.experiments.tabular.awkward import FAILS, READ, ROWS


def read(path: Path, flags: dict):
    """Read and decide as `train` does; return the columns, their values, the target's values and all notes."""
    options = {name: flags[name] for name in ("delimiter", "encoding") if name in flags}
    target = flags.get("target", "y")
    table = read_table(path, [target], **options)
    chosen = Flags(**{name: flags[name] for name in Flags._fields if name in flags})
    columns = decide_columns(table, target, chosen, path)
    found = find_target(table, target, flags.get("task"), chosen.missing, path)
    y, known = read_target(found, table, chosen.missing, path)
    kept = [column for column in columns if column.kind != "left out"]
    used = {column.name: read_column(column, table, chosen.missing, path) for column in kept}
    return columns, used, (found, y[known]), table


def test_there_are_enough_cases():
    assert len(READ) >= 50
    assert len(FAILS) >= 25


@pytest.mark.parametrize("name", READ)
def test_read_right(name, tmp_path):
    case, path = READ[name], tmp_path / "table.csv"
    path.write_bytes(case.data)
    columns, used, (target, y), table = read(path, case.flags or {})
    assert {column.name: column.kind for column in columns} == {name: kind for name, (kind, _) in case.kinds.items()}
    for column, (kind, first) in case.kinds.items():
        if kind == "date":
            assert used[column].iloc[0] == pd.Timestamp(first)
        elif first is not None:
            assert used[column].iloc[0] == first
    said = "; ".join([*table.notes, *(f"{column.why} {column.warning}" for column in columns)])
    assert case.notes in said
    assert target.classes == ("blue", "red")
    assert [target.classes[i] for i in y] == [colour for _, colour in ROWS]
    if "x" in used and name != "decimal comma, quoted":
        assert used["x"].tolist()[:24] == [float(x) for x, _ in ROWS]


@pytest.mark.parametrize("name", FAILS)
def test_fail_with_one_error(name, tmp_path):
    case, path = FAILS[name], tmp_path / "table.csv"
    path.write_bytes(case.data)
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ExperimentError) as raised:
        read(path, case.flags or {})
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    error = str(raised.value)
    assert "\n" not in error
    assert str(path) in error or error.startswith("--")
    for part in case.parts:
        assert part in error
    assert seconds < 3
    assert peak < 2**28


def test_missing_values_are_counted_and_read_as_such(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(READ["missing in many spellings"].data)
    columns, used, _, _ = read(path, {})
    z = next(column for column in columns if column.name == "z")
    assert (z.missing, z.distinct) == (8, 16)
    assert used["z"].isna().sum() == 8


def test_each_column_says_what_was_decided(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(READ["currency"].data)
    columns, _, _, _ = read(path, {})
    assert columns[1] == Column("z", "number", "numbers: in $", 0, 7, (".", "", "$", ""))
