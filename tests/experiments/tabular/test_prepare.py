"""What is said about a whole table before training: too few rows, no column left, sentinels, classes written alike."""

import numpy as np
import pytest

from experiments.errors import DataError
from experiments.tabular.columns import Flags
from experiments.tabular.prepare import Prepared, prepare, print_columns

rng = np.random.default_rng(0)


def table(tmp_path, head: str, rows) -> Prepared:
    path = tmp_path / "table.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return prepare(path, "y", Flags())


@pytest.mark.parametrize("rows", [["1.5,p"], ["1.5,p", "2.5,q"], [f"{i}.5,{'pq'[i % 2]}" for i in range(5)]])
def test_few_rows_are_named_as_such(tmp_path, rows):
    with pytest.raises(DataError, match=rf"table.csv: has {len(rows)} rows?, fewer than 20"):
        table(tmp_path, "x,y", rows)


def test_a_table_whose_only_column_counts_the_rows_names_the_flag(tmp_path):
    with pytest.raises(DataError, match=r"'my x': whole numbers without a gap \(--numeric 'my x' uses it\)"):
        table(tmp_path, "my x,y", [f"{i},{i * i / 7:.3f}" for i in range(40)])


def test_numbers_that_may_stand_for_missing_values(tmp_path):
    rows = [f"{-999 if i % 4 == 0 else i / 10},{i % 7},{9999 if i % 9 == 0 else i / 7:.2f}" for i in range(40)]
    warnings = "; ".join(table(tmp_path, "x,z,y", rows).warnings)
    assert "'x' is -999 in 10 rows" in warnings
    assert "use --missing=-999" in warnings
    assert "'y' is 9999 in 5 rows" in warnings
    assert "'z'" not in warnings


def test_classes_that_differ_in_capital_letters_alone(tmp_path):
    rows = [f"{x:.3f},{('True', 'TRUE', 'false')[i % 3]}" for i, x in enumerate(rng.normal(size=60))]
    (warning,) = table(tmp_path, "x,y", rows).warnings
    assert warning == "classes that differ only in capital letters, and are kept apart: TRUE, True"


def test_how_a_quantity_is_written_is_stated(tmp_path):
    rows = [f"{x:.3f};{1000 + i:,}".replace(",", ".") + f",{i % 10}5 €" for i, x in enumerate(rng.normal(size=40))]
    found = table(tmp_path, "x;y", rows)
    assert found.target.why == "a quantity (40 different numbers; decimal comma; thousands '.'; in €)"
    assert found.y[1] == pytest.approx(1001.15)


def test_flags_are_printed_whole_beside_long_names(tmp_path, capsys):
    rows = [f"{x:.3f},{i % 3},{'pq'[i % 2]}" for i, x in enumerate(rng.normal(size=40))]
    print_columns(table(tmp_path, f"{'long' * 20},{'word ' * 9},y", rows))
    assert capsys.readouterr().out.count("--categorical") == 2
