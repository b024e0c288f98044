"""Manners of the command line: every numeric flag of every command refuses absurd values with one line; any spelling of
a choice; nothing is replaced or left out in silence; missing data name the command that gets them."""

import dataclasses
import importlib
import typing
from pathlib import Path

import numpy as np
import pytest

from experiments import flags
from experiments.__main__ import EXPERIMENTS, main
from experiments.claims.progress import Progress, Row
from experiments.errors import DataError, ExperimentError
from experiments.examples import common
from experiments.tabular.target import class_indices, class_names
from experiments.wording import GET_DATA, counted

# Flags for which a value of this kind is valid.
ZERO = {"seed", "l2", "dropout", "noise", "strength", "latency", "house", "warm_up", "beta"}
NEGATIVE = {"house"}


def numeric_flags(config: type, prefix: str = "") -> dict[str, tuple[type, int]]:
    """Return the numeric flags of a config, with their type and how many numbers they take; nested ones too."""
    found = {}
    for name, hint in typing.get_type_hints(config).items():
        flag = f"{prefix}{name.replace('_', '-')}"
        kind = next((part for part in typing.get_args(hint) if typing.get_origin(part) is tuple), hint)
        numbers = [part for part in (typing.get_args(kind) or (kind,)) if part in (int, float)]
        if dataclasses.is_dataclass(hint):
            found |= numeric_flags(typing.cast(type, hint), f"{flag}.")
        elif numbers:
            found[flag] = numbers[0], len(numbers)
    return found


def cases():
    for name, path in EXPERIMENTS.items():
        module = importlib.import_module(path)
        if hasattr(module, "Config"):
            for flag, (kind, count) in numeric_flags(module.Config).items():
                yield name, flag, kind, count


def absurd(flag: str, kind: type) -> list[str]:
    name = flag.rpartition(".")[2].replace("-", "_")
    values = ["nan", "inf", "-inf", "1e308"] if kind is float else ["nan", "1000000000000", str(10**400)]
    values += [] if name in NEGATIVE else ["-1"]
    return values + ([] if name in ZERO else ["0"])


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "dots.csv"
    return write_table(path)


def write_table(path: Path, classes: typing.Sequence[str] = ("a", "b"), rows: int = 60) -> Path:
    rng = np.random.default_rng(3)
    lines = ["x,y,kind"] + [
        f"{a:.3f},{b:.3f},{classes[i % len(classes)]}" for i, (a, b) in enumerate(rng.normal(size=(rows, 2)))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(arguments: typing.Sequence[object]) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:  # tyro's, for what is not a number
        return typing.cast(int, error.code)


@pytest.mark.parametrize(
    ("name", "flag", "kind", "count"), [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in cases()]
)
def test_absurd_numbers_end_in_one_line(name, flag, kind, count, table, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FNN_DATA", str(tmp_path))
    base = ["--data", table, "--target", "kind"] if name == "train" else []
    for value in absurd(flag, kind):
        code = command([name, *base, "--results", tmp_path, f"--{flag}", *[value] * count])
        error = capsys.readouterr().err
        assert code in (1, 2), (value, error)
        assert "Traceback" not in error
        lines = [line for line in error.splitlines() if "error: " in line]
        parsed = kind is int and (value == "nan" or len(value) > 400)  # what tyro answers is a box of several lines
        assert parsed or (len(lines) == 1 and error.count("\n") == 1), (value, error)
        assert f"--{flag}"[:12].rstrip("s") in error


def test_every_kind_of_command_has_numeric_flags():
    found = {name for name, *_ in cases()}
    assert {"digits", "train", "ball", "plan", "sweep", "claims", "all", "bench", "speedrun", "nielsen"} <= found
    assert len(found) > 40


@pytest.mark.parametrize(
    "arguments",
    [
        ["digits", "--hidden", "10000", "10001"],
        ["digits", "--hidden", *["9999"] * 3],
        ["sweep", "--rates", "1000", "--penalties", "1000"],
        ["planar", "--hidden", "100000000"],
    ],
)
def test_what_would_not_fit_in_memory_is_refused(arguments, tmp_path, capsys):
    assert command([*arguments, "--results", tmp_path]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert arguments[1] in error


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 3 TiB"), "RESOURCE_EXHAUSTED: Out of memory"])
def test_memory_that_runs_out_is_one_line(error, monkeypatch, tmp_path, capsys):
    import jax

    raised = jax.errors.JaxRuntimeError(error) if isinstance(error, str) else error

    def fails(*arguments, **options):
        raise raised

    monkeypatch.setattr("experiments.examples.planar.planar_flower", fails)
    assert command(["planar", "--results", tmp_path]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "error: not enough memory for these flags: " in shown


def test_other_errors_are_not_hidden(monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.examples.planar.planar_flower", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["planar", "--results", str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("claims", ["--verdict", "wrong"], ["--verdict", "WRONG"]),
        ("claims", ["--verdict=Wrong"], ["--verdict=WRONG"]),
        (
            "digits",
            ["--optimizer", "Heavy_Ball", "--activation", "ReLU"],
            ["--optimizer", "heavy-ball", "--activation", "relu"],
        ),
        ("plan", ["--optimizer", "heavy-ball"], ["--optimizer", "heavy_ball"]),
        ("mnist", ["--network", "ConvNet"], ["--network", "convnet"]),
        ("train", ["--task", "Regression", "--target", "ADAM"], ["--task", "regression", "--target", "ADAM"]),
        ("claims", ["--verdict", "nonsense"], ["--verdict", "nonsense"]),
    ],
)
def test_choices_in_any_spelling(name, arguments, expected):
    assert flags.spell_choices(importlib.import_module(EXPERIMENTS[name]).Config, arguments) == expected


def test_a_verdict_in_any_case(tmp_path, capsys):
    outputs = []
    for verdict in ("TYPO", "typo", "Typo"):
        command(["claims", "--verdict", verdict, "--results", tmp_path])
        outputs.append(capsys.readouterr().out)
    assert "claims by verdict: " in outputs[0]
    assert outputs[1] == outputs[0] == outputs[2]


def test_counts_have_their_nouns(table, tmp_path, capsys):
    assert [counted(n, "study", "studies") for n in (0, 1, 2)] == ["0 studies", "1 study", "2 studies"]
    progress = Progress([Row("one")])
    assert progress.summary().startswith("1 study: ")
    assert Progress([Row("one"), Row("two")]).summary().startswith("2 studies: ")
    path = write_table(tmp_path / "one.csv")
    path.write_text("\n".join(line.partition(",")[2] for line in path.read_text().splitlines()) + "\n")
    run = ["train", "--data", path, "--target", "kind", "--epochs", "1", "--hidden", "--results", tmp_path]
    assert command(run) == 0
    assert "60 examples of 1 feature;" in capsys.readouterr().out
    path.write_text("y\n1.0\nna\n", encoding="utf-8")
    assert command(["predict", "--run", tmp_path / "train/one", "--data", path, "--drop-missing"]) == 0
    assert "1 prediction of kind; 1 row with missing values dropped" in capsys.readouterr().out


# Divergence


def test_a_training_that_diverges_is_an_error(tmp_path, capsys):
    path = tmp_path / "line.csv"
    rows = [f"{x:.3f},{3 * x + 0.1 * (i % 5):.3f}" for i, x in enumerate(np.linspace(-1, 1, 60))]
    path.write_text("x,y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    flags = [
        "--target",
        "y",
        "--optimizer",
        "sgd",
        "--hidden",
        "--epochs",
        "4",
        "--results",
        tmp_path,
        "--patience",
        "1",
    ]
    assert command(["train", "--data", path, "--learning-rate", "1e4", *flags]) == 1
    out, error = capsys.readouterr()
    assert "diverged" in error or "must be finite" in error
    assert error.count("\n") == 1
    assert "--learning-rate" in error
    assert "saved" not in out
    assert not (tmp_path / "train" / "line" / "run.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["digits", "--optimizer", "sgd", "--learning-rate", "1e5", "--epochs", "2", "--hidden", "4"],
        [
            "digits",
            "--optimizer",
            "sgd",
            "--learning-rate",
            "1e5",
            "--epochs",
            "2",
            "--hidden",
            "4",
            "--patience",
            "None",
        ],
        pytest.param(
            ["housing", "--learning-rate", "1e6", "--iterations", "3", "--starts", "2"], marks=pytest.mark.slow
        ),
        ["planar", "--learning-rate", "1e6", "--iterations", "3"],
        pytest.param(["animals", "--learning-rate", "1e6", "--iterations", "3"], marks=pytest.mark.slow),
        pytest.param(
            ["ball", "--learning-rate", "1e6", "--epochs", "3", "--starts", "1", "--images", "128"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_examples_that_diverge_are_errors(arguments, tmp_path, capsys):
    assert command([*arguments, "--results", tmp_path]) == 1
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


# Nothing replaced or left out in silence


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("trained")
    assert (
        command(["train", "--data", table, "--target", "kind", "--epochs", "1", "--hidden", "2", "--results", results])
        == 0
    )
    return results / "train" / "dots"


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
        ["digits", "--epochs", "1", "--hidden", "2"],
        ["planar", "--iterations", "2"],
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


# Missing data


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


# Class names


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


@pytest.mark.parametrize(
    ("classes", "found"), [CLASSES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CLASSES[1:])]
)
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


def test_identifiers_in_arrays_are_not_merged(tmp_path, capsys):
    path, labels = tmp_path / "ids.npz", np.array([2**63 + 1, 2**63 + 2] * 30, np.uint64)
    np.savez(path, x=np.random.default_rng(0).normal(size=(60, 2)), y=labels)
    assert (
        command(["train", "--data", path, "--target", "y", "--epochs", "1", "--hidden", "2", "--results", tmp_path])
        == 0
    )
    assert "y: 2 classes (integers)" in capsys.readouterr().out


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
    [
        "a[/b]",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("[red]", "$a$ and $b", ":fire:", "{x}", "a_b^c")),
    ],
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
