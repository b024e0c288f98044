"""What shows a claim: the tests marked with it and the studies that name it; and how each came out."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from experiments.errors import ExperimentError
from experiments.studies import NAMES
from experiments.studies.shared import outcomes, study

ROOT = Path(__file__).parents[2]
GOOD, BAD = ("passed", outcomes.HOLDS), ("failed", outcomes.BROKEN)


class Evidence(NamedTuple):
    """kind: test or study. name: tests/test_x.py::test_y, or the study's. state: one of GOOD, BAD, or not run, data
    missing, skipped.
    """

    kind: str
    name: str
    state: str


def marks(source: str) -> Iterator[tuple[str, str]]:
    """(test, claim) of each `@pytest.mark.claim("C001", …)` over a function, without importing anything.

    >>> list(marks("@pytest.mark.claim('C001', 'C002')" + chr(10) + "def test_shapes(): ..."))
    [('test_shapes', 'C001'), ('test_shapes', 'C002')]
    """
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.claim":
                yield from ((function.name, ast.literal_eval(argument)) for argument in decorator.args)


def marked_tests(root: Path = ROOT) -> dict[str, list[str]]:
    """The tests marked with each claim."""
    tests = defaultdict(list)
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, claim in marks(path.read_text(encoding="utf-8")):
            tests[claim].append(f"{path.relative_to(root).as_posix()}::{name}")
    return tests


def studies() -> dict[str, list[study.Study]]:
    """The studies that show each claim; one that cannot be loaded shows none, and `all` says why."""
    found = defaultdict(list)
    for name in NAMES:
        try:
            one = study.load(name)
        except Exception:
            continue
        for claim in one.claims:
            found[claim].append(one)
    return found


def study_state(one: study.Study, results: Path) -> str:
    """How the study came out when it was last conducted: holds, does not hold, not run, data missing."""
    values = outcomes.read(results, one.name)
    if values is not None:
        return outcomes.state(values)
    return "data missing" if study.missing(one) else outcomes.ABSENT


def reported(report: str) -> dict[str, str]:
    """Of a JUnit report, the state of each test function: failed if it failed with any of its parameters.

    >>> one = '<testcase classname="tests.test_x" name="test_y[1]"/>'
    >>> two = '<testcase classname="tests.test_x" name="test_y[2]"><failure/></testcase>'
    >>> reported(f"<testsuite>{one}{two}</testsuite>")
    {'tests/test_x.py::test_y': 'failed'}
    """
    found: dict[str, str] = {}
    rank = ("skipped", "passed", "failed")
    for case in ElementTree.fromstring(report).iter("testcase"):
        file = case.get("classname", "").replace(".", "/")
        name = f"{file}.py::{case.get('name', '').partition('[')[0]}"
        inside = {child.tag for child in case}
        state = "failed" if inside & {"failure", "error"} else "skipped" if "skipped" in inside else "passed"
        found[name] = max(found.get(name, "skipped"), state, key=rank.index)
    return found


def run_tests(tests: Iterable[str], root: Path = ROOT) -> dict[str, str]:
    """Runs these tests in a process of its own; -> the state of each."""
    if importlib.util.find_spec("pytest") is None or importlib.util.find_spec("xdist") is None:
        raise ExperimentError("not installed: pytest with pytest-xdist; install with: pip install -e '.[test]'")
    tests = sorted(set(tests))
    if not tests:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        processes = ["-n0"] if len(tests) < 10 else []  # for a few, starting more takes longer
        command = [sys.executable, "-m", "pytest", "-q", "-m", "claim", *processes, f"--junitxml={report}", *tests]
        environment = os.environ | {"PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not report.is_file():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise ExperimentError(f"pytest ended with {done.returncode}: {''.join(last)}")
        states = reported(report.read_text(encoding="utf-8"))
    return {test: states.get(test, "not run") for test in tests}


def remembered(path: Path) -> dict[str, str]:
    """The states of the tests when they were last run, from claims.json."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {by["name"]: by["state"] for row in rows for by in row["shown_by"] if by["kind"] == "test"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def verdict(states: Iterable[str]) -> str:
    """One word for all that shows a claim: shown, shown in part, not run, fails; not shown where there is nothing.

    >>> verdict(["passed", "holds"]), verdict(["passed", "data missing"]), verdict(["not run", "failed"]), verdict([])
    ('shown', 'shown in part', 'fails', 'not shown')
    """
    states = list(states)
    if not states:
        return "not shown"
    if any(state in BAD for state in states):
        return "fails"
    good = [state in GOOD for state in states]
    return "shown" if all(good) else "shown in part" if any(good) else "not run"


def gather(results: Path, tests: Mapping[str, list[str]], states: Mapping[str, str]) -> dict[str, list[Evidence]]:
    """All that shows each claim: tests first, then studies."""
    found = defaultdict(list)
    for claim, names in tests.items():
        found[claim] += [Evidence("test", name, states.get(name, "not run")) for name in names]
    for claim, several in studies().items():
        found[claim] += [Evidence("study", one.name, study_state(one, results)) for one in several]
    return found
