"""A training that diverges is an error, and writes no results."""

import numpy as np
import pytest

from experiments.errors import ExperimentError
from experiments.examples import common
from tests.support.commands import command
from tests.support.slow import slow_except


def test_a_training_that_diverges_is_an_error(tmp_path, capsys):
    path = tmp_path / "line.csv"
    rows = [f"{x:.3f},{3 * x + 0.1 * (i % 5):.3f}" for i, x in enumerate(np.linspace(-1, 1, 60))]
    path.write_text("x,y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    flags = ["--target", "y", "--optimizer", "sgd", "--hidden", "--epochs", "4", "--patience", "1", "--results"]
    assert command(["train", "--data", path, "--learning-rate", "1e4", *flags, tmp_path]) == 1
    out, error = capsys.readouterr()
    assert "diverged" in error or "must be finite" in error
    assert error.count("\n") == 1
    assert "--learning-rate" in error
    assert "saved" not in out
    assert not (tmp_path / "train" / "line" / "run.json").exists()


RATE = "--learning-rate 1e6"
DIVERGING = (
    f"planar {RATE} --iterations 3",
    "digits --optimizer sgd --learning-rate 1e5 --epochs 2 --hidden 4",
    "digits --optimizer sgd --learning-rate 1e5 --epochs 2 --hidden 4 --patience None",
    f"housing {RATE} --iterations 3 --starts 2",
    f"animals {RATE} --iterations 3",
    f"ball {RATE} --epochs 3 --starts 1 --images 128",
)


@pytest.mark.parametrize("arguments", slow_except(DIVERGING, DIVERGING[0]))
def test_examples_that_diverge_are_errors(arguments, tmp_path, capsys):
    assert command([*arguments.split(), "--results", tmp_path]) == 1
    error = capsys.readouterr().err
    assert "diverged" in error or "must be finite" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*/run.json"))


def test_the_limit_of_a_divergence():
    common.check_cost(0.5, 0.5)
    common.check_cost(20.0, 0.5)  # overconfident, but of use
    for cost in (1e22, float("inf"), float("nan")):
        with pytest.raises(ExperimentError, match="diverged"):
            common.check_cost(cost, 0.5)
