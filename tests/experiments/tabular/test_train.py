"""`train` and `predict` on a user's own table: from flags to files, and errors of one line for invalid tables."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

import fnn
from experiments.__main__ import main
from experiments.tabular.model import Model, Predictions, inputs, load, make_network
from experiments.tabular.reports import baseline, scores
from experiments.tabular.target import class_indices, class_names

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
    assert main([str(argument) for argument in arguments]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_classes_from_a_table_and_back(tmp_path, capsys):
    number, same = np.arange(240), np.full(240, 7)
    table = write(tmp_path / "dots.csv", ["id", "x", "y", "site", "colour"], number, *POINTS.T, same, COLOURS)
    flags = ["--data", table, "--target", "colour", "--ignore", "id", "--results", tmp_path, *FAST]
    assert main(["train", *map(str, flags)]) == 0
    shown = capsys.readouterr().out
    assert "dots.csv: 240 examples of 3 features; train 154, validation 38, test 48" in shown
    assert "colour: 2 classes (text), so classification" in shown
    assert "not informative: site" in shown
    folder = tmp_path / "train" / "dots"
    names = ["figure.png", "history.csv", "params.safetensors", "run.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert report["model"]["features"] == ["x", "y", "site"]
    assert report["model"]["classes"] == ["blue", "red"]
    assert report["results"]["test"]["accuracy"] >= 0.85 > 0.7 > report["results"]["test, guessing"]["accuracy"]
    validation = [float(row["validation_cost"]) for row in rows(folder / "history.csv")]
    assert report["kept_epoch"] == 1 + int(np.argmin(validation))
    assert report["results"]["validation"]["cost"] == pytest.approx(min(validation), rel=1e-4)

    new = write(tmp_path / "new.csv", ["site", "note", "y", "x"], [7] * 4, "abcd", [1, -1, 1, -1], [1, 1, -1, -1])
    assert main(["predict", "--run", str(folder), "--data", str(new)]) == 0
    predicted = rows(folder / "new-predictions.csv")
    assert [row["colour"] for row in predicted] == ["red", "blue", "blue", "red"]
    assert [row["row"] for row in predicted] == ["1", "2", "3", "4"]
    for row in predicted:
        shares = [float(row[f"probability of {name}"]) for name in ("blue", "red")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert max(shares) == shares[["blue", "red"].index(row["colour"])]


@pytest.mark.slow
def test_a_quantity_with_a_large_offset(tmp_path, capsys):
    table = tmp_path / "prices.npz"
    np.savez(table, xy=POINTS + 1e6, price=PRICES)
    flags = ["--data", table, "--target", "price", "--results", tmp_path, *FAST]
    assert main(["train", *map(str, flags)]) == 0
    assert "price: a quantity (240 different numbers), so regression" in capsys.readouterr().out
    folder = tmp_path / "train" / "prices"
    report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert report["model"]["features"] == ["xy[0]", "xy[1]"]
    assert report["results"]["test"]["r2"] > 0.9
    assert report["results"]["test, guessing"]["r2"] < 0.05

    out = tmp_path / "predicted.csv"
    assert main(["predict", "--run", str(folder), "--data", str(table), "--out", str(out)]) == 0
    assert "compared with the column price" in capsys.readouterr().out
    predicted = np.array([float(row["price"]) for row in rows(out)])
    assert np.mean((predicted - PRICES) ** 2) < 0.1 * np.var(PRICES)


def test_standardised_by_the_training_part_alone(tmp_path):
    table = write(tmp_path / "dots.csv", ["x", "y", "colour"], *POINTS.T, COLOURS)
    flags = ["--data", table, "--target", "colour", "--results", tmp_path, "--epochs", "1", "--hidden", "2"]
    assert main(["train", *map(str, flags)]) == 0
    model, params = load(tmp_path / "train" / "dots")
    assert abs(model.mean[0] - POINTS[:, 0].mean()) > 1e-3  # the mean of 154 of the 240 points
    scaled = inputs(model, np.array([model.mean, np.add(model.mean, model.std)]), "test")
    np.testing.assert_allclose(scaled, [[0, 0], [1, 1]], atol=1e-6)
    assert params[0].w.shape == (2, 2)


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
        (["--target", "x", "--ignore", "y"], None, 1, "{path}, line 2: 'colour' must be a finite number, got "),
        (["--target", "colour"], replaced("NaN"), 1, "{path}, line 5: 'x' is missing; --drop-missing drops such"),
        (["--target", "colour"], replaced("", 4, 2), 1, "{path}, line 5: 'colour' is missing; --drop-missing drops"),
        (["--target", "colour"], replaced("inf"), 1, "{path}, line 5: 'x' must be a finite number, got 'inf'"),
        (["--target", "colour"], replaced("1,2"), 1, "{path}, line 5: must have 3 fields, got 4"),
        (["--target", "colour"], replaced("1e200"), 1, "{path}: 'x' is too large: 1e+200, more than 1e+100"),
        (["--target", "colour"], replaced("green", 4, 2), 1, "fewer than 3 examples are 'green'"),
        (["--target", "x", "--ignore", "colour", "--task", "classification"], None, 1, "too many to be classes"),
        (["--target", "colour", "--task", "regression"], None, 1, "{path}: 'colour' must be a finite number, got "),
        (
            ["--target", "colour", "--delimiter", ";"],
            None,
            2,
            "--target: {path} has no column 'colour': its only column is 'x,y,colour'; --delimiter",
        ),
        (["--target", "colour", "--validation", "0.6", "--test", "0.5"], None, 2, "--validation and --test must be"),
        (["--target", "colour", "--learning-rate", "0"], None, 2, "--learning-rate must be finite and above 0"),
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
        ("", "is empty"),
        ("x,colour\n", "has no rows"),
        ("colour\nred\n", "has no column besides the target"),
        ("x,colour\n" + 30 * "1,red\n", "has the value 'red' in every row: there is nothing to learn"),
        ("x,colour\n1,red\n2,blue\n", "has 2 examples, fewer than 20"),
        ("x,x,colour\n1,2,red\n", "the columns must have distinct names, got 'x, x, colour'"),
    ],
)
def test_tables_that_are_too_small(tmp_path, capsys, text, message):
    path = tmp_path / "few.csv"
    path.write_text(text, encoding="utf-8")
    error = fails(capsys, 1, "train", "--data", path, "--target", "colour", "--results", tmp_path)
    assert f"{path}" in error
    assert message in error


def test_files_that_are_not_tables(tmp_path, capsys):
    absent = tmp_path / "absent.csv"
    assert f"{absent}: cannot be read: No such file" in fails(capsys, 1, "train", "--data", absent, "--target", "y")
    assert "--data must be a .csv" in fails(capsys, 2, "train", "--data", "table.xlsx", "--target", "y")
    uneven = tmp_path / "uneven.npz"
    np.savez(uneven, x=np.zeros((5, 2)), y=np.zeros(6))
    error = fails(capsys, 1, "train", "--data", uneven, "--target", "y")
    assert f"{uneven}: the arrays must have the same number of rows, got x[0] 5, x[1] 5, y 6" in error


def test_classes_that_are_numbers():
    assert class_names(("3", "1.0", "1", "10")) == ("1", "3", "10")
    assert class_indices(("1", "3"), ("3.0", "1", "2")).tolist() == [1, 0, -1]


def test_damaged_runs(tmp_path, capsys):
    data = write(tmp_path / "new.csv", ["x"], [1.0])
    error = fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
    assert "run.json: cannot be read" in error
    (tmp_path / "run.json").write_text('{"model": {"features": ["x"]}}', encoding="utf-8")
    assert "run.json: not written by `train`" in fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)

    model = Model(("x",), (0.0,), (1.0,), "y", (), 0.0, 1.0, (), "relu", 0.0)
    (tmp_path / "run.json").write_text(json.dumps({"model": model._asdict()}), encoding="utf-8")
    assert "params.safetensors" in fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
    fnn.checkpoint.export_params(tmp_path / "params.safetensors", {"w": np.zeros(3, np.float32)})
    assert "params.safetensors" in fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
    other = write(tmp_path / "other.csv", ["z"], [1.0])
    params = ((np.float32([[2.0]]), np.float32([1.0])),)
    network = make_network(model)
    like = network.init(jax.random.key(0))
    fnn.checkpoint.export_params(
        tmp_path / "params.safetensors", jax.tree.unflatten(jax.tree.structure(like), params[0])
    )
    assert "has no column 'x', which the network needs" in fails(
        capsys, 1, "predict", "--run", tmp_path, "--data", other
    )
    huge = write(tmp_path / "huge.csv", ["x"], [1e300])
    assert "'x' is too far outside the range of the training data: 1e+300" in fails(
        capsys, 1, "predict", "--run", tmp_path, "--data", huge
    )
    assert main(["predict", "--run", str(tmp_path), "--data", str(data)]) == 0
    assert [row["y"] for row in rows(tmp_path / "new-predictions.csv")] == ["3.0"]


def test_scores_by_hand():
    classes = Model(("x",), (0.0,), (1.0,), "y", ("a", "b"), 0.0, 1.0, (), "relu", 0.0)
    y = np.array([0, 1, 1, 1], np.int32)
    predicted = Predictions(
        np.array([0, 1, 0, 1], np.int32), np.array([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25], [0.5, 0.5]])
    )
    cost = -np.log([0.5, 0.75, 0.25, 0.5]).mean()
    assert scores(classes, predicted, y) == {"examples": 4, "wrong": 1, "cost": pytest.approx(cost), "accuracy": 0.75}
    assert scores(classes, baseline(classes, y, 4), y)["accuracy"] == 0.75
    quantity = classes._replace(classes=())
    none = np.zeros((2, 0))
    assert scores(quantity, Predictions(np.array([1.0, 4.0]), none), np.array([1.0, 2.0])) == {
        "examples": 2,
        "rmse": pytest.approx(2**0.5),
        "mean_error": 1.0,
        "r2": -7.0,
    }
    assert scores(quantity, baseline(quantity, np.array([1.0, 2.0]), 2), np.array([1.0, 2.0]))["r2"] == 0.0
