"""The parts of the command `accelerator` that are not timed against peers: each runs in processes of its own."""

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks import processes
from experiments.benchmarks.goals import Verdict
from experiments.data.mnist import find_mnist
from experiments.errors import ExperimentError

CHILD = (sys.executable, "-m", "experiments.benchmarks.accelerator_child")
TARGET, TRAINING_SECONDS = 0.99, 0.7  # a published record on a laptop's GPU is 0.76 s
DIGITS = "python -m experiments digits"
COLD, WARM = 14.5, 3.5  # half of what one H100 took before


class Outcome(NamedTuple):
    """What a part measured: all values, lines for the table, and the verdicts on its goals."""

    values: dict[str, Any]
    lines: list[str]
    verdicts: list[Verdict]


class Part(NamedTuple):
    """A part of the command.

    seconds     estimated, on a GPU
    run         (scratch folder, seconds left, smoke test?) -> Outcome
    unavailable returns why the part cannot run, or ""
    """

    title: str
    seconds: float
    run: Callable[[Path, float, bool], Outcome]
    unavailable: Callable[[], str] = lambda: ""


def ask_child(task: str, scratch: Path, seconds: float, quick: bool) -> dict[str, Any]:
    """Run a task of `accelerator_child` and return its answer."""
    worker = processes.start(task, [task, *["--quick"] * quick], scratch, CHILD)
    with processes.stopping({task: worker}):
        return processes.answer(worker, seconds)


@contextlib.contextmanager
def _child(name: str, command: list[str], scratch: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process whose output goes to a file, and kill it at the end."""
    with (scratch / f"{name}.out").open("w", encoding="utf-8") as file:
        environment = processes.environment(scratch, variables)
        with subprocess.Popen(command, stdout=file, stderr=file, text=True, env=environment) as process:
            try:
                yield process
            finally:
                process.kill()
                process.wait()  # not a zombie, even when Ctrl-C came before


def run_command(name: str, command: list[str], scratch: Path, seconds: float, **variables: str) -> tuple[int, str]:
    """Run a command and return its exit code and its output. Raise ExperimentError if it takes longer."""
    with _child(name, command, scratch, **variables) as process:
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise ExperimentError(f"{name}: not ready after {seconds:.1f} s") from None
    return code, (scratch / f"{name}.out").read_text(encoding="utf-8", errors="replace")


def mnist(scratch: Path, seconds: float, quick: bool) -> Outcome:
    """Time a training to 99.0 % on MNIST."""
    values = ask_child("mnist", scratch, seconds, quick)
    steps, median, accuracies = values["steps"], float(np.median(values["train"])), values["accuracies"]
    shown, compiled = ", ".join(f"{100 * share:.2f}" for share in accuracies), values["compile and train"] - median
    lines = [
        f"a convnet trains {steps:,} steps in {median:.3f} s, the median of the seeds; compiled in {compiled:.1f} s",
        f"test accuracies of the seeds: {shown} %; {'all' if min(accuracies) >= 0.995 else 'not all'} reach 99.5 %",
    ]
    reached = min(accuracies) >= TARGET
    text = f"seconds of training to {100 * TARGET:.1f} % with each seed, at most {TRAINING_SECONDS} s"
    return Outcome(values, lines, [Verdict("mnist", text, median, "s", reached and median <= TRAINING_SECONDS)])


def start(scratch: Path, seconds: float, quick: bool) -> Outcome:
    """Time `python -m experiments digits` with an empty and with a filled compilation cache."""
    device, found = ask_child("device", scratch, seconds, quick), {}
    for name in ("cold", "warm"):
        results = scratch / f"digits-{name}"
        command = [sys.executable, "-m", "experiments", "digits", "--results", str(results)]
        command += ["--epochs", "2"] if quick else []
        code, text = run_command(name, command, scratch, seconds, FNN_CACHE=str(scratch / "cache"))
        if code:
            raise ExperimentError(f"digits ended with {code}: {text.strip().splitlines()[-1:]}")
        found[name] = json.loads((results / "digits" / "run.json").read_text(encoding="utf-8"))["seconds"]
    whole = {name: values["whole"] for name, values in found.items()}
    fitting = {name: values["compile_and_train"] for name, values in found.items()}
    imported, started = device["seconds"]["import jax"], device["seconds"]["find devices"]
    lines = [
        f"`{DIGITS}` takes {whole['cold']:.1f} s from an empty cache, of which `fit` {fitting['cold']:.1f} s",
        f"`{DIGITS}` takes {whole['warm']:.1f} s from a filled cache, of which `fit` {fitting['warm']:.1f} s",
        f"importing JAX takes {imported:.1f} s, finding the devices {started:.1f} s",
    ]
    limits = {"cold": COLD, "warm": WARM}
    verdicts = [
        Verdict("start", f"seconds of `{DIGITS}`, {name}, at most {limit:g} s", whole[name], "s", whole[name] <= limit)
        for name, limit in limits.items()
    ]
    return Outcome({"device": device["seconds"], "digits": found}, lines, verdicts)


def determinism(scratch: Path, seconds: float, quick: bool) -> Outcome:
    """Train with the same key twice, and once in two parts, and compare the bits."""
    values = ask_child("determinism", scratch, seconds, quick)
    differ = {name: [kind for kind, same in found.items() if not same] for name, found in values["networks"].items()}
    wrong = [f"{name} ({', '.join(kinds)})" for name, kinds in differ.items() if kinds]
    text = "networks whose bits differ when trained again or resumed, at most 0"
    line = f"with deterministic=True, of {len(differ)} networks differ: {', '.join(wrong) or 'none'}"
    return Outcome(values, [line], [Verdict("determinism", text, len(wrong), "", not wrong)])


RIGHT = ("test_verified.", "test_correct.", "test_bases_are_right")
PLANTED = ("test_caught", "wrong")


def counts(report: Path) -> dict[str, dict[str, int]]:
    """Return the numbers of tests and failures in a JUnit report: of all, of right and of planted gradients."""
    kinds = {name: {"tests": 0, "failed": 0, "skipped": 0} for name in ("all", "right gradients", "planted errors")}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        planted = any(word in name for word in PLANTED)
        right = not planted and any(word in name for word in RIGHT)
        failed = case.find("failure") is not None or case.find("error") is not None
        for kind, member in (("all", True), ("right gradients", right), ("planted errors", planted)):
            if member:
                kinds[kind]["tests"] += 1
                kinds[kind]["failed"] += failed
                kinds[kind]["skipped"] += case.find("skipped") is not None
    return kinds


def tests(scratch: Path, seconds: float, quick: bool) -> Outcome:
    """Run the tests of accelerators, among them the checker on every layer, loss and network, and on planted errors."""
    report, workers = scratch / "tests.xml", str(min(12, os.cpu_count() or 1))
    command = [sys.executable, "-m", "pytest", "-m", "accelerator", "-q", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(processes.ROOT), f"--junitxml={report}", "--dist", "worksteal"]
    command += ["-n", "0" if quick else workers, "--maxprocesses", workers]
    chosen = "test_layers and dense_one_output or test_a_wrong_layer_is_named" if quick else ""
    paths = ["tests/layers/test_verified.py"] if quick else ["tests"]
    command += [*(["-k", chosen] if chosen else []), *(str(processes.ROOT / path) for path in paths)]
    code, text = run_command("tests", command, scratch, seconds)
    if code not in (0, 1) or not report.exists():
        raise ExperimentError(f"pytest ended with {code}: {' '.join(text.split())[-300:]}")
    kinds, last = counts(report), text.strip().splitlines()[-1]
    failed = sorted(set(re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)))
    lines = [f"{name}: {', '.join(f'{n} {word}' for word, n in of.items())}" for name, of in kinds.items()]
    lines += [f"failed: {name}" for name in failed[:20]]
    texts = {"all": "tests that fail, at most 0", "right gradients": "false alarms of the checker, at most 0",
             "planted errors": "planted errors that are not caught, at most 0"}  # fmt: skip
    verdicts = [
        Verdict("tests", texts[name], of["failed"], "", of["failed"] == 0 if of["tests"] > of["skipped"] else None)
        for name, of in kinds.items()
    ]
    return Outcome({"counts": kinds, "failed": failed, "summary": last}, lines, verdicts)


def without_mnist() -> str:
    """Return why there is no MNIST, or ""."""
    return "" if find_mnist() is not None else "MNIST was not found in $FNN_DATA or in the cache"


def without_pytest() -> str:
    """Return what the tests lack, or ""."""
    missing = [name for name in ("pytest", "xdist", "hypothesis") if importlib.util.find_spec(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}; install with: pip install -e '.[test]'"
    return "" if (processes.ROOT / "tests").is_dir() else "the folder tests is not there"


PARTS = {
    "mnist": Part("MNIST to 99.0 %, convnet, float32", 25.0, mnist, without_mnist),
    "start": Part(f"start of `{DIGITS}`", 45.0, start),
    "determinism": Part("the same key twice, and resumed", 40.0, determinism),
    "tests": Part("`python -m pytest -m accelerator`", 240.0, tests, without_pytest),
}
