"""What columns are used as: ids and leaks are found, and columns of a file agree on decimal marks and dates."""

import gzip

import numpy as np
import pandas as pd
import pytest

from experiments.data.tables import Table, read_table
from experiments.errors import DataError
from experiments.tabular.columns import Flags, decide_columns
from experiments.tabular.leaks import find_leaks
from experiments.tabular.values import CATEGORY, DATE, LEFT_OUT, NUMBER, Column, read_column

N = 60
rng = np.random.default_rng(2)


def table(**columns) -> Table:
    series = {name: pd.Series([str(value) for value in values], dtype="str") for name, values in columns.items()}
    return Table(series, np.arange(2, N + 2), "line", ())


def kinds(found: Table, flags: Flags = Flags()) -> dict[str, str]:  # noqa: B008
    return {column.name: column.kind for column in decide_columns(found, "y", flags, "file")}


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("n", range(N), LEFT_OUT),
        ("n", range(1, N + 1), LEFT_OUT),
        ("n", rng.permutation(N) + 5000, LEFT_OUT),
        ("n", np.arange(N) * 7 + 3, LEFT_OUT),
        ("customer_id", rng.permutation(10 * N)[:N], LEFT_OUT),
        ("customerId", rng.permutation(10 * N)[:N], LEFT_OUT),
        ("n", rng.permutation(80_000)[:N] + 10_000_000, LEFT_OUT),
        ("n", rng.permutation(80_000)[:N] + 10_000, NUMBER),
        ("n", [f"AB-{i}" for i in rng.permutation(N)], LEFT_OUT),
        ("width", rng.permutation(10 * N)[:N], NUMBER),
        ("year", range(1950, 1950 + N), NUMBER),
        ("n", np.arange(N) / 4, NUMBER),
        ("id", rng.integers(0, 5, N), NUMBER),
        ("n", [f"AB-{i}" for i in rng.integers(0, 9, N)], CATEGORY),
        ("n", [f"{i} kg" for i in range(N)], NUMBER),
    ],
)
def test_ids_are_left_out_and_measurements_are_not(name, values, kind):
    found = table(**{name: values, "y": ["a"] * N})
    assert kinds(found) == {name: kind}
    (column,) = decide_columns(found, "y", Flags(), "file")
    flag = "categorical" if "AB-" in str(next(iter(values))) else "numeric"
    assert ("tell rows apart" in column.warning and f"--{flag} {name!r}" in column.warning) == (kind == LEFT_OUT)
    wanted = {"categorical": CATEGORY, "numeric": NUMBER}[flag]
    assert kinds(found, Flags(**{flag: [name]})) == {name: wanted}


def test_flags_overrule():
    found = table(a=rng.integers(0, 3, N), b=rng.normal(size=N), c=["20240131", "20240201"] * (N // 2), y=["a"] * N)
    assert kinds(found) == {"a": "number", "b": "number", "c": "date"}
    chosen = Flags(categorical=["a"], ignore=["b"], numeric=["c"])
    assert kinds(found, chosen) == {"a": "category", "b": "left out", "c": "number"}
    assert kinds(found, Flags(id=["a"])) == {"a": "id", "b": "number", "c": "date"}


def test_dates_of_a_file_agree():
    unclear = [f"{1 + i % 9:02}/{1 + i % 7:02}/2024" for i in range(N)]
    clear = [f"{13 + i % 9}/{1 + i % 7:02}/2024" for i in range(N)]
    by_itself, _ = decide_columns(table(a=unclear, b=unclear, y=["a"] * N), "y", Flags(), "file")
    assert (by_itself.form, "day or month first" in by_itself.warning) == ("%m/%d/%Y", True)
    beside, _ = decide_columns(table(a=unclear, b=clear, y=["a"] * N), "y", Flags(), "file")
    assert (beside.form, beside.warning) == ("%d/%m/%Y", "")


def test_decimal_marks_of_a_file_agree():
    points, commas = ["1.234", "12.500"] * (N // 2), ["1,5", "2,25"] * (N // 2)
    first, _ = decide_columns(table(a=points, b=["1.5", "2"] * (N // 2), y=["a"] * N), "y", Flags(), "file")
    assert read_column(first, table(a=points), (), "file").tolist()[:2] == [1.234, 12.5]
    first, _ = decide_columns(table(a=points, b=commas, y=["a"] * N), "y", Flags(), "file")
    assert read_column(first, table(a=points), (), "file").tolist()[:2] == [1234.0, 12500.0]
    (first,) = decide_columns(table(a=["1,234", "2,500"] * (N // 2), y=["a"] * N), "y", Flags(), "file")
    assert "could be of decimals or of thousands" in first.warning


def leaks(kind: str, values, y, classes: bool) -> list[str]:
    column = Column("x", kind, "", 0, 0)
    return find_leaks([column], pd.DataFrame({"x": values}), np.asarray(y), classes)


def test_columns_that_give_the_target_away():
    y = np.arange(N) % 3
    copy = pd.Series(np.array(["a", "b", "c"])[y], dtype=object)
    assert "each of its texts goes with one value" in leaks(CATEGORY, copy, y, True)[0]
    assert leaks(CATEGORY, copy.where(np.arange(N) != 7, "c"), y, True) == []
    assert leaks(CATEGORY, pd.Series([f"{i % 30}" for i in range(N)], dtype=object), y, True) == []  # 2 rows each
    assert "limits between its values separate" in leaks(NUMBER, 3.0 * y + rng.random(N), y, True)[0]
    assert leaks(NUMBER, y + 2 * rng.random(N), y, True) == []
    assert "missing for one class" in leaks(NUMBER, np.where(y == 1, np.nan, rng.normal(size=N)), y, True)[0]
    dates = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N), "D")
    assert "correlated with the target" in leaks(DATE, dates, np.arange(N) * 2.0, False)[0]
    price = rng.random(N)
    assert "it is perfectly correlated" in leaks(NUMBER, 1 - 2 * price, price, False)[0]
    assert "its order is perfectly correlated" in leaks(NUMBER, np.exp(9 * price), price, False)[0]
    assert leaks(NUMBER, price + 0.1 * rng.random(N), price, False) == []


def test_other_formats_are_read_as_the_text_is(tmp_path):
    frame = pd.DataFrame(
        {
            "count": rng.integers(0, 9, N),
            "big": np.uint64(2**63) + rng.integers(0, 3, N).astype(np.uint64),
            "x": np.where(np.arange(N) % 7, rng.normal(size=N), np.nan),
            "kind": rng.choice(["a", "b,c", 'd"'], N),
            "flag": rng.random(N) < 0.5,
            "when": pd.date_range("2024-01-01", periods=N, freq="7h"),
            "y": rng.choice(["u", "v"], N),
        }
    )
    paths = [tmp_path / name for name in ("t.csv", "t.tsv", "t.csv.gz", "t.parquet")]
    frame.to_csv(paths[0], index=False)
    frame.to_csv(paths[1], index=False, sep="\t")
    paths[2].write_bytes(gzip.compress(paths[0].read_bytes()))
    frame.astype({"kind": "category"}).to_parquet(paths[3])
    read = {}
    for path in paths:
        found = read_table(path, ["y"])
        columns = decide_columns(found, "y", Flags(), path)
        read[path.name] = {column.name: read_column(column, found, (), path) for column in columns}
        assert {column.name: column.kind for column in columns} == {
            "count": "number",
            "big": "number",
            "x": "number",
            "kind": "category",
            "flag": "yes or no",
            "when": "date",
        }
    for name in ("t.tsv", "t.csv.gz", "t.parquet"):
        for column, values in read["t.csv"].items():
            pd.testing.assert_series_equal(values, read[name][column], check_names=False, check_dtype=False)
    np.savez(tmp_path / "t.npz", x=frame["x"], flag=frame["flag"], pair=rng.normal(size=(N, 2)), y=np.arange(N) % 2)
    found = read_table(tmp_path / "t.npz", ["y"])
    assert kinds(found) == {"x": "number", "flag": "yes or no", "pair[0]": "number", "pair[1]": "number"}
    found.columns["x"] = found.columns["x"].mask(np.arange(N) == 2, np.inf)
    (column, *_) = decide_columns(found, "y", Flags(), "t.npz")
    with pytest.raises(DataError, match="row 3: 'x' must be a finite number"):
        read_column(column, found, (), "t.npz")
    pd.DataFrame({"x": [[1, 2], [3]], "y": [1, 2]}).to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(DataError, match=r"lists.parquet: the column 'x' holds lists"):
        read_table(tmp_path / "lists.parquet")
