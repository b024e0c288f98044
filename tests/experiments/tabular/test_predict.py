"""A model of a table with gaps, categories, dates and units predicts for tables that look different."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.tabular.model import load
from tests.experiments.tabular.test_train import fails, rows
from tests.support.commands import command

N = 160
rng = np.random.default_rng(8)
AGE = rng.integers(18, 80, N).astype(str).astype(object)
AGE[::9] = "NA"
CITY = rng.choice(["Rome", "Oslo", "Bonn", ""], N)
COLUMNS = {
    "nr": [f"R{i:03}" for i in range(N)],
    "age": AGE,
    "city": CITY,
    "since": [f"{1 + i % 28:02}/{1 + i % 12:02}/20{10 + i % 9}" for i in range(N)],
    "fee": [f"€ {1000 + 7 * (i % 50):,}.50" for i in range(N)],
    "member": rng.choice(["yes", "no"], N),
    "paid": np.where(CITY == "Rome", "late", "in time"),
}


def table(path: Path, columns: dict, rows: int = N, delimiter: str = ";") -> Path:
    lines = [delimiter.join(columns), *(delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines[: rows + 1]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> Path:
    """The folder of a model."""
    folder = tmp_path_factory.mktemp("members")
    data = table(folder / "members.csv", COLUMNS)
    run = ["train", "--data", data, "--target", "paid", "--id", "nr", "--model", "linear", "--results", folder]
    assert command(run) == 0
    return folder / "train" / "members"


def predict(members: Path, data: Path, *flags: str) -> list[dict[str, str]]:
    out = data.with_suffix(".out")
    assert command(["predict", "--run", members, "--data", data, "--out", out, *flags]) == 0
    return rows(out)


@pytest.fixture(scope="module")
def usual(members, tmp_path_factory) -> list[dict[str, str]]:
    return predict(members, table(tmp_path_factory.mktemp("new") / "usual.csv", COLUMNS))


def test_the_rows_of_the_training_table(usual):
    assert list(usual[0]) == ["row", "nr", "paid", "probability of in time", "probability of late"]
    assert [row["nr"] for row in usual] == COLUMNS["nr"]
    assert np.mean([row["paid"] == paid for row, paid in zip(usual, COLUMNS["paid"], strict=True)]) == 1


def test_another_order_other_columns_and_another_dialect(members, usual, tmp_path):
    columns = {name: COLUMNS[name] for name in ("member", "since", "city", "fee", "age")} | {"note": ["x"] * N}
    found = predict(members, table(tmp_path / "new.tsv", columns, delimiter="\t"))
    assert [row["probability of late"] for row in found] == [row["probability of late"] for row in usual]
    assert "nr" not in found[0]


def test_unknown_categories_and_missing_values_are_predicted(members, tmp_path, capsys):
    columns = COLUMNS | {"city": ["Atlantis", "", "Rome"] * (N // 3) + ["Rome"], "age": ["?"] * N, "member": [""] * N}
    found = predict(members, table(tmp_path / "new.csv", columns))
    assert len(found) == N
    assert [row["paid"] for row in found][2] == "late"
    assert all(np.isfinite(float(row["probability of late"])) for row in found)
    assert fails(capsys, 1, "predict", "--run", members, "--data", tmp_path / "new.csv", "--drop-missing")


def test_a_column_that_is_missing(members, tmp_path, capsys):
    new = table(tmp_path / "new.csv", {name: COLUMNS[name] for name in ("city", "since", "fee", "member")})
    error = fails(capsys, 1, "predict", "--run", members, "--data", new)
    assert f"{new}: has no column 'age', which the model needs; --allow-missing fills them in" in error
    assert len(predict(members, new, "--allow-missing")) == N
    assert "warning: filled in, since the table has no such column: age" in capsys.readouterr().out
    new = table(tmp_path / "new.csv", {("Age" if name == "age" else name): COLUMNS[name] for name in COLUMNS})
    assert "did you rename it to 'Age'?" in fails(capsys, 1, "predict", "--run", members, "--data", new)
    new.write_text("x\n1\n2\n", encoding="utf-8")
    error = fails(capsys, 1, "predict", "--run", members, "--data", new, "--allow-missing")
    assert "which the model needs: its only column is 'x'; see --delimiter" in error


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", "old", "line 3: 'age' must be a finite number, got 'old'; --missing 'old' reads it as missing"),
        ("fee", "€ 1.000,50", "line 3: 'fee' must be a finite number (thousands ',', in €), got '€ 1.000,50'"),
        ("since", "2020-01-31", "line 3: 'since' must be one of dates: day/month/year, got '2020-01-31'"),
        ("member", "perhaps", "line 3: 'member' must be no or yes, got 'perhaps'"),
        ("age", "1e99", "'age' is too far outside the range of the training data: 1e+99"),
    ],
)
def test_values_of_another_kind(members, tmp_path, capsys, column, value, message):
    values = list(COLUMNS[column])
    values[1] = value
    new = table(tmp_path / "new.csv", COLUMNS | {column: values})
    assert message in fails(capsys, 1, "predict", "--run", members, "--data", new)


def test_what_is_stored_is_json_and_safetensors(members):
    names = ["ensemble.json", "ensemble.safetensors", "report.html", "run.json", "scores.json"]
    assert sorted(path.name for path in members.iterdir()) == names
    model = load(members)
    kinds = {column.name: column.kind for column in model.columns}
    assert kinds == {
        "nr": "id",
        "age": "number",
        "city": "category",
        "since": "date",
        "fee": "number",
        "member": "yes or no",
    }


def damage(stored: dict, name: str) -> None:
    model = stored["model"]
    if name == "no columns":
        model["columns"] = []
    elif name == "another kind":
        model["columns"][1]["kind"] = "picture"
    elif name == "another form of numbers":
        model["columns"][1]["form"] = ["(.*)", "", "", ""]
    elif name == "another form of dates":
        model["columns"][3]["form"] = "%s" * 1000
    elif name == "categories that are no texts":
        model["transformer"]["categories"]["frequent"] = [[1, 2]]
    elif name == "fewer categories":
        model["transformer"]["categories"]["frequent"] = [["Rome"]]
    elif name == "fewer medians":
        model["transformer"]["numbers"]["medians"] = [1.0]
    elif name == "a scale of 0":
        model["transformer"]["numbers"]["scale"][0] = 0.0
    elif name == "a column that is not there":
        model["transformer"]["numbers"]["with_missing"] = [10**9]
    elif name == "another class":
        model["target"]["classes"] = ["late"]
    elif name == "other networks":
        model["sha256"] = "0" * 64
    elif name == "not an object":
        stored["model"] = [1]
    elif name == "deep":
        stored["model"]["columns"] = json.loads("[" * 500 + "]" * 500)


DAMAGED = ["no columns", "another kind", "another form of numbers", "another form of dates", "fewer medians", "deep"]
DAMAGED += ["categories that are no texts", "fewer categories", "a scale of 0", "a column that is not there"]
DAMAGED += ["another class", "other networks", "not an object"]


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_runs(members, name, tmp_path, capsys):
    for path in members.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    stored = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    damage(stored, name)
    (tmp_path / "run.json").write_text(json.dumps(stored), encoding="utf-8")
    data = table(tmp_path / "new.csv", COLUMNS)
    error = fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
    assert f"{tmp_path}" in error


def test_files_of_a_model_that_are_missing_or_damaged(members, tmp_path, capsys):
    data = table(tmp_path / "new.csv", COLUMNS)
    assert "run.json: cannot be read" in fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    assert "run.json: not written by `train`" in fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
    (tmp_path / "run.json").write_bytes((members / "run.json").read_bytes())
    assert "ensemble.json" in fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
    for name in ("ensemble.json", "ensemble.safetensors"):
        (tmp_path / name).write_bytes((members / name).read_bytes())
    networks = bytearray((members / "ensemble.safetensors").read_bytes())
    networks[-1] ^= 1
    (tmp_path / "ensemble.safetensors").write_bytes(networks)
    assert "SHA-256" in fails(capsys, 1, "predict", "--run", tmp_path, "--data", data)
