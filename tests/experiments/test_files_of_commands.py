"""No command replaces what it reads. It says what it replaces, what it does not compare, and which file is missing."""

from pathlib import Path

import numpy as np
import pytest

from experiments.errors import DataError, ExperimentError
from experiments.wording import GET_DATA
from tests.support.commands import command


@pytest.mark.parametrize("by", ["name", "relative", "link", "hard link", "default", "run.json", "params.safetensors"])
def test_predict_never_replaces_what_it_reads(by, trained, table, tmp_path, monkeypatch, capsys):
    data = tmp_path / "new.csv"
    data.write_bytes(table.read_bytes())
    out = {"name": data, "relative": Path("sub/../new.csv")}.get(by, tmp_path / "out.csv")
    if by == "link":
        out.symlink_to(data)
    elif by == "hard link":
        out.hardlink_to(data)
    elif by == "default":
        out = trained / "new-predictions.csv"
        out.unlink(missing_ok=True)
        out.symlink_to(data)
    elif by in ("run.json", "params.safetensors"):
        out = trained / by
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in (data, *trained.iterdir()) if path.is_file()}
    arguments = ["--out", out] if by != "default" else []
    assert command(["predict", "--run", trained, "--data", data, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "error: --out must be a file that holds neither the data nor the results of `train`, got" in error
    assert all(path.read_bytes() == content for path, content in before.items())
    (trained / "new-predictions.csv").unlink(missing_ok=True)


def test_train_never_replaces_its_table(table, tmp_path, capsys):
    data = tmp_path / "train" / "history" / "history.csv"
    data.parent.mkdir(parents=True)
    data.write_bytes(table.read_bytes())
    assert command(["train", "--data", data, "--target", "kind", "--results", tmp_path]) == 2
    assert "--data must be a file that this run does not replace" in capsys.readouterr().err
    assert data.read_bytes() == table.read_bytes()


def test_cats_never_replaces_the_photograph(tmp_path, capsys):
    photograph = tmp_path / "cats" / "figure.png"
    photograph.parent.mkdir()
    photograph.write_bytes(b"a photograph")
    assert command(["cats", "--image", photograph, "--results", tmp_path]) == 2
    assert "--image must be a file that this run does not replace" in capsys.readouterr().err
    assert photograph.read_bytes() == b"a photograph"


def test_predict_says_why_it_does_not_compare(trained, table, tmp_path, capsys):
    lines = table.read_text(encoding="utf-8").splitlines()
    data = tmp_path / "new.csv"
    no_column = [line.rpartition(",")[0] for line in lines]
    with_gap = [*lines[:3], lines[3].rpartition(",")[0] + ",", *lines[4:]]
    unknown = [*lines[:3], lines[3].rpartition(",")[0] + ",zebra", *lines[4:]]
    for content, reason in (
        (no_column, "not compared with true values: there is no column 'kind'"),
        (with_gap, "not compared with true values: the column 'kind' has missing values, first in row 3"),
        (unknown, "not compared with the column kind: "),
    ):
        data.write_text("\n".join(content) + "\n", encoding="utf-8")
        assert command(["predict", "--run", trained, "--data", data]) == 0
        out = capsys.readouterr().out
        assert reason in out
        assert "accuracy" not in out
    assert command(["predict", "--run", trained, "--data", table]) == 0
    out = capsys.readouterr().out
    assert "not compared" not in out
    assert "accuracy" in out


def test_predict_says_why_it_does_not_compare_arrays(tmp_path, capsys):
    x, y = np.random.default_rng(0).normal(size=(60, 2)), np.linspace(0.0, 1.0, 60)
    path = tmp_path / "a.npz"
    np.savez(path, x=x, y=y)
    run = ["train", "--data", path, "--target", "y", "--epochs", "1", "--hidden", "2", "--results", tmp_path]
    assert command(run) == 0
    folder = tmp_path / "train" / "a"
    np.savez(path, x=x)
    assert command(["predict", "--run", folder, "--data", path]) == 0
    assert "not compared with true values: there is no column 'y'" in capsys.readouterr().out
    np.savez(path, x=x, y=np.where(np.arange(60) == 4, np.nan, y))
    assert command(["predict", "--run", folder, "--data", path]) == 0
    out = capsys.readouterr().out
    assert "the column 'y' has missing values, first in row 5" in out
    assert "which replaces an earlier file" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--target", "kind", "--epochs", "1", "--hidden", "2"],
        pytest.param(["digits", "--epochs", "1", "--hidden", "2"], marks=pytest.mark.slow),
        pytest.param(["planar", "--iterations", "2"], marks=pytest.mark.slow),
        pytest.param(["plan", "--sizes", "4", "3", "--devices", "1", "--batch-size", "2"], marks=pytest.mark.slow),
        pytest.param(["housing", "--iterations", "2", "--starts", "1"], marks=pytest.mark.slow),
        pytest.param(["animals", "--iterations", "2"], marks=pytest.mark.slow),
        pytest.param(["ball", "--epochs", "1", "--starts", "1", "--images", "64"], marks=pytest.mark.slow),
    ],
)
def test_commands_say_that_they_replace_earlier_results(arguments, table, tmp_path, capsys):
    arguments = [*arguments, *(["--data", table] if arguments[0] == "train" else []), "--results", tmp_path]
    assert command(arguments) == 0
    assert "will be replaced" not in capsys.readouterr().out
    assert command(arguments) == 0
    assert "the results of an earlier run in " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nielsen", "slowdown_on_mnist", "cats_and_networks", "mnist", "cats", "speedrun"])
def test_missing_data_name_the_command_that_gets_them(name, tmp_path, monkeypatch, capsys):
    from experiments.data import downloads

    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr("pooch.HTTPDownloader", lambda **options: lambda *arguments: 1 / 0)  # no mirror answers
    assert command([name, "--results", tmp_path]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert GET_DATA in error


def test_a_study_that_was_asked_for_and_skipped_is_an_error(tmp_path, monkeypatch, capsys):
    from experiments.data import downloads

    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr(downloads, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr("experiments.claims.all.claims.record", lambda results: None)
    monkeypatch.setattr("experiments.claims.all.report.write", lambda results: None)
    assert command(["all", "--only", "slowdown_on_mnist", "--results", tmp_path]) == 1
    out, error = capsys.readouterr()
    assert GET_DATA in out
    assert f"slowdown_on_mnist (skipped; {GET_DATA})" in error
    assert "1 study: " in out


def test_missing_files_have_one_exit_code(table, trained, tmp_path, capsys):
    absent = tmp_path / "absent"
    for arguments in (
        ["train", "--data", absent.with_suffix(".csv"), "--target", "y"],
        ["train", "--data", absent.with_suffix(".npz"), "--target", "y"],
        ["predict", "--run", absent, "--data", table],
        ["predict", "--run", trained, "--data", absent.with_suffix(".csv")],
        ["report", "--results", absent],
        ["cats", "--image", absent],
    ):
        assert command(arguments) == 1, arguments
        assert capsys.readouterr().err.count("\n") == 1
    assert issubclass(DataError, ExperimentError)
