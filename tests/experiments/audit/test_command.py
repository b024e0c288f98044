"""The command: its flags, its results, and targets that hang or crash."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.audit import records
from experiments.audit.audit import Config, selected
from experiments.audit.collect import collect
from tests.support import planted_gradients
from tests.support.commands import command

ROOT = Path(__file__).parents[3]
PLANTED = planted_gradients.__name__
NAMES = ["jax.nn.relu", "jax.numpy.max", "jax.numpy.max(axis=0)", "jax.numpy.maximum"]


def run(results, *flags, planted=True, timeout=300):
    """Run the command on the planted targets in a process of its own."""
    which = ["--targets", PLANTED] if planted else []
    arguments = [sys.executable, "-m", "experiments", "audit", *which, "--results", results, *flags]
    environment = os.environ | {"FNN_CACHE": "", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        list(map(str, arguments)), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )


def kept(results):
    return [json.loads(line) for line in (results / "audit" / records.FILE).read_text().splitlines()]


def test_only_selects_modules_functions_and_labels():
    assert selected(("jax.numpy",), NAMES) == NAMES[1:]
    assert selected(("jax.numpy.max",), NAMES) == NAMES[1:3]
    assert selected(("jax.numpy.max(axis=0)", "jax.nn"), NAMES) == [NAMES[2], NAMES[0]]
    assert selected((), NAMES) == NAMES


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "jax.numpy.sincc"], "--only: no 'jax.numpy.sincc'; did you mean jax.numpy.sinc"),
        (["--processes", "0"], "--processes must be at least 1, got 0"),
        (["--seconds", "-1"], "--seconds must be finite and above 0, got -1.0"),
        (["--timeout", "0"], "--timeout must be finite and above 0, got 0.0"),
        (["--targets", "no.such"], "--targets must be an importable module with a tuple TARGETS, got no.such"),
        (
            ["--targets", "os.path"],
            "--targets must be a module with a tuple TARGETS, or a package of them",
        ),
    ],
)
def test_wrong_flags(flags, message, tmp_path, capsys):
    assert command(["audit", *flags, "--results", tmp_path]) == 2
    assert message in capsys.readouterr().err


def test_a_record_is_valid_for_its_versions_and_sources_only(tmp_path):
    collected = collect(PLANTED)
    name, target = next(iter(collected.targets.items()))
    key = collected.keys[name]
    records.append(tmp_path, records.failed(target, key, "it failed", 1.0))
    with (tmp_path / records.FILE).open("a") as file:
        file.write('{"name": "tests.supp')  # the command was killed
    records.append(tmp_path, records.failed(target, key, "it failed again", 1.0))
    assert records.read(tmp_path, {name: key})[name]["checker"] == "it failed again"
    assert records.read(tmp_path, {name: key | {"jax": "0.1"}}) == {}
    assert records.read(tmp_path / "nowhere", {name: key}) == {}
    assert set(key) == {"tests", "jax", "jaxlib", "numpy", "mpmath", "target", "audit"}


def test_targets_of_missing_libraries_are_skipped_by_name():
    assert collect(PLANTED).skipped == {"no_such_library.function": "no_such_library is not installed"}


@pytest.mark.slow
def test_a_run_survives_targets_that_hang_die_and_raise_and_goes_on_where_it_stopped(tmp_path):
    done = run(tmp_path, "--timeout", "12", "--processes", "2")
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert f"{PLANTED}.hangs: audit" in out
    assert "no answer in 12 s" in out
    assert f"not audited: {PLANTED}.dies: audit" in out
    assert "ended with 3" in out
    assert f"not audited: {PLANTED}.raises: ValueError: planted" in out
    assert "skipped: no_such_library.function: no_such_library is not installed" in out
    assert f"  {PLANTED}.wrong_at_zero by [0]: wrong derivative" in out
    first = {record["name"]: record for record in kept(tmp_path)}
    assert first["jax.numpy.sin"]["findings"] == []
    with (tmp_path / "audit" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["function"], row["got"], row["status"], row["reproduced"]) for row in rows} == {
        (f"{PLANTED}.wrong_at_zero", "0.0", "new", "True")
    }
    assert "x * jnp.exp" not in rows[0]["code"]
    assert "wrong_at_zero" in (tmp_path / "audit" / "index.html").read_text()
    again = run(tmp_path, "--only", f"{PLANTED}.wrong_at_zero", "jax.numpy.sin", f"{PLANTED}.raises")
    assert "2 calls up to date" in again.stdout
    assert "[1/1]" in again.stdout
    assert f"{PLANTED}.raises: ValueError" in again.stdout


@pytest.mark.slow
def test_seconds_stops_and_says_how_to_go_on(tmp_path):
    done = run(tmp_path, "--only", "jax.nn", "--seconds", "0.1", planted=False)
    assert done.returncode == 0, done.stderr
    assert "calls left: the same command goes on" in done.stdout
    assert len(kept(tmp_path)) < 10


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupt_leaves_what_is_done(tmp_path):
    arguments = [sys.executable, "-m", "experiments", "audit", "--targets", PLANTED, "--results", str(tmp_path)]
    arguments += ["--only", f"{PLANTED}.wrong_at_zero", f"{PLANTED}.hangs", "--processes", "1"]
    environment = os.environ | {"FNN_CACHE": "", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "audit" / records.FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "1 call left: the same command goes on" in out
    assert [record["name"] for record in kept(tmp_path)] == [f"{PLANTED}.wrong_at_zero"]
    assert (tmp_path / "audit" / "index.html").exists()


def test_the_defaults():
    config = Config()
    assert config.processes == os.cpu_count()
    assert config.only == ()
    assert config.seconds is None
