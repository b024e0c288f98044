"""Reading a user's own table: missing values, optional targets, and the advice in errors."""

import numpy as np
import pytest

from experiments.data.tables import Selection, read_examples
from experiments.errors import DataError


def test_rows_with_missing_values_are_dropped_on_request(tmp_path):
    path = tmp_path / "missing.csv"
    path.write_text("x,y,z\n1,5,a\n,6,b\n3,n/a,c\n4,8,?\n", encoding="utf-8")
    found = read_examples(path, Selection("z", drop_missing=True))
    assert (found.names, found.target, found.rows, found.dropped) == (("x", "y"), ("a",), (1,), 3)
    np.testing.assert_array_equal(found.x, [[1.0, 5.0]])
    assert read_examples(path, Selection("z", ("x",), drop_missing=True, optional=True)).rows == (1, 3, 4)
    np.savez(tmp_path / "missing.npz", x=[[1.0, np.nan], [2, 3]], y=[0, 1])
    found = read_examples(tmp_path / "missing.npz", Selection("y", drop_missing=True))
    assert (found.target, found.rows, found.dropped) == (("1",), (2,), 1)
    np.savez(tmp_path / "open.npz", x=[1.0, 2.0], y=[0, np.nan])
    found = read_examples(tmp_path / "open.npz", Selection("y", ("x",), optional=True))
    assert (found.target, found.rows) == ((), (1, 2))


def test_errors_of_predict_name_only_its_own_flags(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("x,y\n1,1\nred,2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"'x' must be a finite number, got 'red'$"):
        read_examples(path, Selection("z", ("x",), optional=True))
    with pytest.raises(DataError, match="its only column is 'x,y'; see --delimiter"):
        read_examples(path, Selection("z", ("x",), optional=True), ";")
