"""Classes are kept as the table writes them: text stays text unless every value is a plain number."""

import numpy as np
import pytest

from experiments.tabular.target import class_indices, class_names
from tests.support.commands import command, write_table

CLASSES = [
    (("01", "1", "1.10", "1.1"), ("01", "1", "1.1", "1.10")),
    (("1.10", "1.1", "x"), ("1.1", "1.10", "x")),
    (("007", "7"), ("007", "7")),
    (("+1", "1", "-1"), ("-1", "+1", "1")),
    (("1e3", "1000", "a"), ("1000", "1e3", "a")),
    (("1_0", "10"), ("10", "1_0")),
    (("1.0", "2.0"), ("1.0", "2.0")),
    (("9007199254740992", "9007199254740993"), ("9007199254740992", "9007199254740993")),
    (("-9223372036854775808", "-9223372036854775807"), ("-9223372036854775808", "-9223372036854775807")),
    (("True", "true"), ("True", "true")),
]


@pytest.mark.parametrize(("classes", "found"), CLASSES)
def test_names_of_classes(classes, found):
    assert class_names(classes * 3) == found
    assert class_indices(found, classes).tolist() == [found.index(name) for name in classes]


def trained(i):
    """The case as a parameter: the first runs by default, every third with the slow ones."""
    marks = [] if i == 0 else [pytest.mark.slow if i % 3 == 1 else pytest.mark.exhaustive]
    return pytest.param(*CLASSES[i], marks=marks)


@pytest.mark.parametrize(("classes", "found"), [trained(i) for i in range(len(CLASSES))])
def test_classes_are_written_as_they_are_read(classes, found, tmp_path, capsys):
    path = write_table(tmp_path / "t.csv", classes, rows=80)
    assert (
        command(["train", "--data", path, "--target", "kind", "--epochs", "1", "--hidden", "2", "--results", tmp_path])
        == 0
    )
    out = capsys.readouterr().out
    assert f"kind: {len(found)} classes (" in out
    folder = tmp_path / "train" / "t"
    assert command(["predict", "--run", folder, "--data", path]) == 0
    assert "not compared" not in capsys.readouterr().out
    head, *lines = (folder / "t-predictions.csv").read_text(encoding="utf-8").splitlines()
    assert head == "row,kind," + ",".join(f"probability of {name}" for name in found)
    assert {line.split(",")[1] for line in lines} <= set(classes)


@pytest.mark.slow
def test_identifiers_in_arrays_are_not_merged(tmp_path, capsys):
    path, labels = tmp_path / "ids.npz", np.array([2**63 + 1, 2**63 + 2] * 30, np.uint64)
    np.savez(path, x=np.random.default_rng(0).normal(size=(60, 2)), y=labels)
    assert (
        command(["train", "--data", path, "--target", "y", "--epochs", "1", "--hidden", "2", "--results", tmp_path])
        == 0
    )
    assert "y: 2 classes (integers)" in capsys.readouterr().out


@pytest.mark.slow
def test_prices_stay_a_quantity_and_codes_text(tmp_path, capsys):
    prices = [f"{1 + i / 10:.2f}" for i in range(30)]  # 1.10 is the number 1.1 where every value is a number
    path = write_table(tmp_path / "p.csv", prices)
    flags = ["--target", "kind", "--epochs", "1", "--hidden", "2", "--results", tmp_path]
    assert command(["train", "--data", path, *flags]) == 0
    assert "kind: a quantity (30 different numbers)" in capsys.readouterr().out
    codes = [f"0{i}" for i in range(1, 4)]
    assert command(["train", "--data", write_table(tmp_path / "c.csv", codes), *flags]) == 0
    assert "kind: 3 classes (text)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "target",
    ["a[/b]", *(pytest.param(name, marks=pytest.mark.slow) for name in ("[red] $a$ and $b", "{x} :fire: a_b^c"))],
)
def test_any_name_of_a_column(target, tmp_path, capsys):
    for classes in ([f"{i / 7:.3f}" for i in range(30)], ["$a", "[/b]$"]):
        path = write_table(tmp_path / "t.csv", classes)
        path.write_text(path.read_text(encoding="utf-8").replace("kind", target, 1), encoding="utf-8")
        flags = ["--target", target, "--epochs", "1", "--hidden", "2", "--results", tmp_path]
        assert command(["train", "--data", path, *flags]) == 0
        capsys.readouterr()
        assert command(["predict", "--run", tmp_path / "train" / "t", "--data", path]) == 0
        assert f"compared with the column {target}" in " ".join(capsys.readouterr().out.split())
