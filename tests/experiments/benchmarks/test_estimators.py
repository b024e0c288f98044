"""The command that compares the estimators with scikit-learn's."""

import json

import pytest

from experiments.benchmarks.estimators import Config, main
from experiments.errors import UsageError


@pytest.mark.slow
def test_both_sides_are_measured(tmp_path, capsys):
    main(Config(tables=("iris",), epochs=3, rounds=2, results=tmp_path))
    rows = json.loads((tmp_path / "estimators" / "estimators.json").read_text())["rows"]
    assert [row["side"] for row in rows] == ["fnn", "scikit-learn", "scikit-learn", "fnn"], "by turns"
    assert min(row["seconds"] for row in rows) > 0
    assert capsys.readouterr().out.count("iris") == 2


def test_unknown_tables_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--tables"):
        main(Config(tables=("titanic",), results=tmp_path))
