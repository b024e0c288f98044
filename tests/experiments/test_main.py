"""The command line of the experiments, and `digits` from its flags to its files."""

import csv
import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.__main__ import EXPERIMENTS, first_line, main
from experiments.errors import ExperimentError
from experiments.examples.digits import Config
from experiments.examples.gradient_check import check_gradient, largest_difference
from tests.support.children import environment

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "experiments"]
# without the flags under which the tests themselves run
ENVIRONMENT = {k: v for k, v in environment().items() if k not in ("XLA_FLAGS", "PYTHONWARNINGS")} | {
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": str(ROOT),
}


def test_digits_from_flags_to_files(tmp_path: Path):
    flags = ["--epochs", "3", "--hidden", "32", "--dropout", "0", "--results", str(tmp_path), "--seed", "3"]
    done = subprocess.run(
        [*COMMAND, "digits", *flags], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    folder = tmp_path / "digits"
    files = [folder / name for name in ("figure.png", "history.csv", "run.json")]
    assert lines[0] == "digits: 1,797 scans of 8x8 pixels; train 1,150, validation 288, test 359"
    assert lines[-1] == "saved: " + ", ".join(map(str, files))
    order = [
        next(i for i, line in enumerate(lines) if part in line) for part in ("gradient check", "epoch 1/3", "time:")
    ]
    assert order == sorted(order)
    assert sorted(folder.iterdir()) == sorted(files)

    assert files[0].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    rows = list(csv.reader(files[1].read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["epoch", "cost", "accuracy", "validation_cost", "validation_accuracy"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
    assert np.isfinite(np.array(rows[1:], float)).all()

    report = json.loads(files[2].read_text(encoding="utf-8"))
    assert report["config"]["hidden"] == [32]
    assert report["config"]["seed"] == 3
    assert {"python", "jax", "jaxlib", "numpy", "fnn", "device"} <= set(report["versions"])
    assert 0 <= report["gradient_check"]["largest_difference"] < report["gradient_check"]["tolerance"] < 1e-12
    assert report["epochs"] == 3
    assert report["kept_epoch"] == 1 + int(np.argmin([float(row[3]) for row in rows[1:]]))
    kept = float(rows[report["kept_epoch"]][4])
    assert report["results"]["validation"]["accuracy"] == pytest.approx(kept, abs=1e-6)
    test = report["results"]["test"]
    assert test["examples"] == 359
    assert test["accuracy"] == pytest.approx(1 - test["wrong"] / 359, abs=1e-6)
    assert test["accuracy"] > 0.5
    assert 0 < report["seconds"]["compile_and_train"] < report["seconds"]["whole"]


@pytest.mark.slow
def test_digits_compiles_few_programs(tmp_path: Path):
    """Each operation outside jit would be a program of its own, which a GPU takes some 50 ms to compile."""
    flags = ["--epochs", "1", "--results", str(tmp_path)]
    logged = ENVIRONMENT | {"JAX_LOG_COMPILES": "1"}
    command = [*COMMAND, "digits", *flags]
    done = subprocess.run(command, cwd=ROOT, env=logged, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    programs = re.findall(r"Finished XLA compilation of jit\((.*?)\) in", done.stderr)
    assert 10 < len(programs) < 25, programs


def test_interrupt_ends_without_a_traceback(tmp_path: Path):
    with subprocess.Popen(
        [*COMMAND, "digits", "--results", str(tmp_path)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "python -m experiments: interrupted"


@pytest.mark.slow
def test_digits_resumes_from_its_checkpoints(tmp_path: Path):
    options = ["--checkpoints", str(tmp_path / "saved"), "--results", str(tmp_path), "--hidden", "8"]
    for epochs, text in (("1", "saved:"), ("2", "resuming from")):
        done = subprocess.run(
            [*COMMAND, "digits", *options, "--epochs", epochs],
            cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=True,
        )  # fmt: skip
        assert text in done.stdout + done.stderr
    assert "after epoch 1" in done.stdout + done.stderr


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, experiments.__main__ as m; c = m.main([]); print(c, 'jax' in sys.modules, 'tyro' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0 False False"
    for name, module in EXPERIMENTS.items():
        assert any(line.split() == f"{name} {first_line(module)}".split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 0
    assert "usage: python -m experiments NAME" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "hint"), [("digit", "did you mean 'digits'?"), ("xyz", "choose from: digits, ")])
def test_unknown_name(name: str, hint: str, capsys: pytest.CaptureFixture[str]):
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"no experiment {name!r}; {hint}" in error


def test_help_describes_every_flag(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["digits", "--help"])
    shown = capsys.readouterr().out
    names = [field.name.replace("_", "-") for field in dataclasses.fields(Config)]
    assert all(f"--{name} " in shown for name in names)
    assert "To expect: " in shown
    assert " ".join(shown.split()).count("(default: ") == len(names)


@pytest.mark.parametrize("flags", [["--epoch", "1"], ["--epochs", "many"], ["--activation", "step"]])
def test_wrong_flags(flags: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["digits", *flags])
    assert flags[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", "0"),
        ("--hidden", "0"),
        ("--learning-rate", "-1"),
        ("--learning-rate", "nan"),
        ("--l2", "-0.1"),
        ("--dropout", "1.5"),
        ("--batch-size", "0"),
        ("--batch-size", "1151"),
        ("--patience", "0"),
        ("--seed", "-1"),
    ],
)
def test_bad_values(flag: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["digits", flag, value, "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"error: {flag} must be" in error


def test_results_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "taken"
    file.write_text("")
    assert main(["digits", "--results", str(file)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "--results: cannot write in" in error


def test_gradient_check_finds_a_wrong_derivative():
    x, y = jnp.linspace(-1, 1, 8 * 4).reshape(8, 4), jnp.arange(8) % 3

    def check(activation: fnn.Layer):
        network = fnn.serial(fnn.dense(4, 5), fnn.dropout(0.2), activation, fnn.dense(5, 3))
        return check_gradient(network, fnn.softmax_cross_entropy, 0.01, x, y, seed=1)

    difference, tolerance = largest_difference(check(fnn.tanh))
    assert difference < tolerance < 1e-13
    for wrong in (
        lambda z: 1 - jnp.tanh(z) ** 2 + 1e-9,
        lambda z: jnp.where(z > 0.1, jnp.nan, 1 - jnp.tanh(z) ** 2),
    ):
        with pytest.raises(ExperimentError, match="the hand-written gradient is wrong"):
            check(fnn.elementwise(jnp.tanh, wrong))
