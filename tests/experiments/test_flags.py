"""Flags: every number of every command is refused in one line if it is absurd; choices may be spelled in any case."""

import dataclasses
import importlib
import typing

import pytest

from experiments import flags
from experiments.__main__ import EXPERIMENTS, main
from experiments.claims.progress import Progress, Row
from experiments.wording import counted
from tests.support.commands import command, write_table

# Flags for which a value of this kind is valid.
ZERO = {"seed", "l2", "dropout", "noise", "strength", "latency", "house", "warm_up", "beta", "temperature"}
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
    assert "60 rows, 1 column to predict from;" in capsys.readouterr().out
    path.write_text("y\n1.0\nna\n", encoding="utf-8")
    assert command(["predict", "--run", tmp_path / "train/one", "--data", path, "--drop-missing"]) == 0
    assert "1 prediction of kind; 1 row with missing values dropped" in capsys.readouterr().out
