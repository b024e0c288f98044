"""Tables of a user's own as examples: gaps, targets that need not be there, and what an error advises."""

import numpy as np
import pytest

from experiments.data.examples import Wanted, read_examples
from experiments.errors import DataError


def test_rows_with_gaps_are_left_out_if_asked(tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("x,y,z\n1,5,a\n,6,b\n3,n/a,c\n4,8,?\n", encoding="utf-8")
    found = read_examples(path, Wanted("z", drop_missing=True))
    assert found == ((("x", "y")), found.x, ("a",), (1,), 3)
    np.testing.assert_array_equal(found.x, [[1.0, 5.0]])
    assert read_examples(path, Wanted("z", ("x",), drop_missing=True, optional=True)).rows == (1, 3, 4)
    np.savez(tmp_path / "gaps.npz", x=[[1.0, np.nan], [2, 3]], y=[0, 1])
    found = read_examples(tmp_path / "gaps.npz", Wanted("y", drop_missing=True))
    assert (found.target, found.rows, found.dropped) == (("1",), (2,), 1)
    np.savez(tmp_path / "open.npz", x=[1.0, 2.0], y=[0, np.nan])
    found = read_examples(tmp_path / "open.npz", Wanted("y", ("x",), optional=True))
    assert (found.target, found.rows) == ((), (1, 2))


def test_what_predict_says_names_no_flag_that_it_does_not_have(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("x,y\n1,1\nred,2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"'x' must be a finite number, got 'red'$"):
        read_examples(path, Wanted("z", ("x",), optional=True))
    with pytest.raises(DataError, match="its only one is 'x,y'; see --delimiter"):
        read_examples(path, Wanted("z", ("x",), optional=True), ";")
