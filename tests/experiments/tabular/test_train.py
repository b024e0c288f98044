"""`train` on a user's own table: from flags to files, and errors of one line for tables that cannot be used."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from experiments.tabular.model import load
from experiments.tabular.transform import to_json
from tests.support.commands import command

FAST = ("--hidden", "16", "--epochs", "60", "--learning-rate", "0.02")
rng = np.random.default_rng(5)
POINTS = rng.normal(size=(240, 2))
COLOURS = np.where(POINTS[:, 0] * POINTS[:, 1] > 0, "red", "blue")  # no line separates them
PRICES = 1e6 + 300 * np.abs(POINTS[:, 0]) + 200 * POINTS[:, 1]


def write(path: Path, names: Sequence[str], *columns) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """Run a command that must fail with this exit code, and return its error, a single line."""
    assert command(arguments) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_one_network_for_classes(tmp_path, capsys):
    number, same = np.arange(240), np.full(240, 7)
    table = write(tmp_path / "dots.csv", ["id", "x", "y", "site", "colour"], number, *POINTS.T, same, COLOURS)
    assert command(["train", "--data", table, "--target", "colour", "--results", tmp_path, *FAST]) == 0
    shown = capsys.readouterr().out
    assert "dots.csv: 240 rows, 2 columns to predict from; encoding: utf-8 (valid); delimiter: comma" in shown
    assert "colour: 2 classes (text), so classification" in shown
    assert "warning: 'id': left out because it seems to only tell rows apart" in shown
    assert "│ site   │ left out │ the same" in shown
    assert "one network, no search" in shown
    folder = tmp_path / "train" / "dots"
    names = ["history.csv", "params.safetensors", "report.html", "run.json", "scores.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert [column["name"] for column in report["model"]["columns"]] == ["x", "y"]
    assert report["model"]["target"]["classes"] == ["blue", "red"]
    assert report["rows"] == {"train": 154, "test": 48, "left_out": 0}
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["test"]["scores"]["accuracy"]
    assert scores["model"]["value"] >= 0.85 > 0.7 > scores["guessing"]["value"]

    stored = to_json(load(folder).transformer)["numbers"]
    assert abs(stored["mean"][0] - POINTS[:, 0].mean()) > 1e-3  # the mean of the 154 rows of the training part
    new = write(tmp_path / "new.csv", ["site", "note", "y", "x"], [7] * 4, "abcd", [1, -1, 1, -1], [1, 1, -1, -1])
    assert command(["predict", "--run", folder, "--data", new]) == 0
    predicted = rows(folder / "new-predictions.csv")
    assert [row["colour"] for row in predicted] == ["red", "blue", "blue", "red"]
    assert [row["row"] for row in predicted] == ["1", "2", "3", "4"]
    for row in predicted:
        shares = [float(row[f"probability of {name}"]) for name in ("blue", "red")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert max(shares) == shares[["blue", "red"].index(row["colour"])]


@pytest.mark.slow
def test_a_search_for_classes(tmp_path, capsys):
    table = write(tmp_path / "dots.csv", ["x", "y", "colour"], *POINTS.T, COLOURS)
    run = ["train", "--data", table, "--target", "colour", "--results", tmp_path, "--test", "0.2"]
    assert command(run) == 0
    shown = capsys.readouterr().out
    assert "searching: many linear models and networks on 240 rows of 2 columns" in shown
    assert "No better than" not in shown
    folder = tmp_path / "train" / "dots"
    names = ["ensemble.json", "ensemble.safetensors", "report.html", "run.json", "scores.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    for part in ("out_of_fold", "test"):
        accuracy = scores[part]["scores"]["accuracy"]
        assert accuracy["model"]["value"] > 0.9
        assert accuracy["guessing"]["value"] < 0.7
    assert scores["out_of_fold"]["scores"]["accuracy"]["linear"]["value"] < 0.7


@pytest.mark.slow
def test_a_quantity_with_a_large_offset(tmp_path, capsys):
    table = tmp_path / "prices.npz"
    np.savez(table, xy=POINTS + 1e6, price=PRICES)
    assert command(["train", "--data", table, "--target", "price", "--results", tmp_path]) == 0
    assert "price: a quantity (240 different numbers), so regression" in capsys.readouterr().out
    folder = tmp_path / "train" / "prices"
    report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert [column["name"] for column in report["model"]["columns"]] == ["xy[0]", "xy[1]"]
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["out_of_fold"]["scores"]["r2"]
    assert scores["model"]["value"] > 0.9 > 0.05 > scores["guessing"]["value"]

    out = tmp_path / "predicted.csv"
    assert command(["predict", "--run", folder, "--data", table, "--out", out]) == 0
    assert "compared with the column price" in capsys.readouterr().out
    predicted = rows(out)
    within = [
        float(row["90 % from"]) <= price <= float(row["90 % to"]) for row, price in zip(predicted, PRICES, strict=True)
    ]
    assert np.mean(within) > 0.88
    assert np.mean((np.array([float(row["price"]) for row in predicted]) - PRICES) ** 2) < 0.1 * np.var(PRICES)


def replaced(value: str, row: int = 4, column: int = 0) -> Callable[[Path], None]:
    """Return a function that replaces one field of a table."""

    def change(path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        fields = lines[row].split(",")
        fields[column] = value
        lines[row] = ",".join(fields)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("flags", "change", "code", "message"),
    [
        (["--target", "color"], None, 2, "--target: {path} has no column 'color'; did you mean 'colour'?"),
        (["--target", "zzz"], None, 2, "--target: {path} has no column 'zzz' (x, y, colour)"),
        (["--target", "colour", "--ignore", "id"], None, 2, "--ignore: {path} has no column 'id' (x, y, colour)"),
        (["--target", "x", "--ignore", "y", "x"], None, 2, "--ignore must be columns other than the target, got x"),
        (["--target", "x", "--id", "y", "--date", "y"], None, 2, "--id: 'y' is named by --date too"),
        (["--target", "x", "--ignore", "y", "colour"], None, 1, "{path}: has no column to predict from besides the"),
        (
            ["--target", "colour"],
            replaced("low"),
            1,
            "{path}, line 5: 'x' must be a number, got 'low'; --missing 'low'",
        ),
        (["--target", "colour"], replaced("1,2"), 1, "{path}, line 5: must have 3 fields, got 4"),
        (["--target", "colour"], replaced("1e200"), 1, "{path}, line 5: 'x' is too large: 1e+200, more than 1e+100"),
        (["--target", "x", "--ignore", "colour", "--task", "classification"], None, 1, "too many to be classes"),
        (["--target", "colour", "--task", "regression"], None, 1, "line 2: 'colour' must be a finite number, got "),
        (["--target", "colour", "--delimiter", ";"], None, 2, "'colour': its only column is 'x,y,colour'; --delimiter"),
        (["--target", "colour", "--validation", "0.6", "--test", "0.5"], None, 2, "--validation and --test must be"),
        (["--target", "colour", "--learning-rate", "0"], None, 2, "--learning-rate must be finite and above 0"),
        (["--target", "colour", "--budget", "0"], None, 2, "--budget must be finite and above 0"),
        (["--target", "colour", "--budget", "9", "--hidden", "4"], None, 2, "--budget is of the search: it cannot be"),
        (["--target", "colour", "--model", "linear", "--no-search"], None, 2, "--model is of the search: it cannot be"),
    ],
)
def test_errors_of_a_table(tmp_path, capsys, flags, change, code, message):
    path = write(tmp_path / "dots.csv", ["x", "y", "colour"], *POINTS.T, COLOURS)
    if change is not None:
        change(path)
    error = fails(capsys, code, "train", "--data", path, "--results", tmp_path / "results", *flags)
    assert message.format(path=path) in error
    assert not (tmp_path / "results" / "train" / "dots" / "run.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour\n" + 12 * "red\nblue\n", "has no column to predict from besides the target (no other column)"),
        ("x,colour\n" + 30 * "1,red\n", "has the value 'red' in every row: there is nothing to learn"),
        ("x,colour\n" + 12 * "1,red\n2,blue\n", "has no column to predict from besides the target"),
        (
            "x,colour\n" + "".join(f"{i},{'red' if i % 2 else 'blue'}\n" for i in range(12)),
            "has 12 rows, fewer than 20",
        ),
    ],
)
def test_tables_that_are_too_small(tmp_path, capsys, text, message):
    path = tmp_path / "few.csv"
    path.write_text(text.replace("1,red\n2,blue", "1,red\n1,blue"), encoding="utf-8")
    error = fails(capsys, 1, "train", "--data", path, "--target", "colour", "--results", tmp_path)
    assert f"{path}" in error
    assert message in error


def test_files_that_are_not_tables(tmp_path, capsys):
    absent = tmp_path / "absent.csv"
    assert f"{absent}: cannot be read: No such file" in fails(capsys, 1, "train", "--data", absent, "--target", "y")
    error = fails(capsys, 2, "train", "--data", "table.xlsx", "--target", "y")
    assert "--data must be a table" in error
    assert "save the sheet as .csv" in error
    uneven = tmp_path / "uneven.npz"
    np.savez(uneven, x=np.zeros((5, 2)), y=np.zeros(6))
    error = fails(capsys, 1, "train", "--data", uneven, "--target", "y")
    assert f"{uneven}: the arrays must have the same number of rows, got x[0] 5, x[1] 5, y 6" in error
