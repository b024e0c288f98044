"""What shows a claim: marked tests and studies, with the result of each."""

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
    """A test or a study that shows a claim.

    kind     test or study
    name     tests/test_x.py::test_y, or the name of the study
    state    one of GOOD or BAD, or: not run, data missing, skipped
    """

    kind: str
    name: str
    state: str


def claim_marks(source: str) -> Iterator[tuple[str, str]]:
    """Yield (test, claim) for each `@pytest.mark.claim("C001", …)` on a function, without importing it.

    >>> list(claim_marks("@pytest.mark.claim('C001', 'C002')" + chr(10) + "def test_shapes(): ..."))
    [('test_shapes', 'C001'), ('test_shapes', 'C002')]
    """
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.claim":
                yield from ((function.name, ast.literal_eval(argument)) for argument in decorator.args)


def marked_tests(root: Path = ROOT) -> dict[str, list[str]]:
    """Return the tests that are marked with each claim."""
    tests = defaultdict(list)
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, claim in claim_marks(path.read_text(encoding="utf-8")):
            tests[claim].append(f"{path.relative_to(root).as_posix()}::{name}")
    return tests


def studies() -> dict[str, list[study.Study]]:
    """Return the studies that show each claim.

    Studies that cannot be loaded are skipped; `all` reports them.
    """
    found = defaultdict(list)
    for name in NAMES:
        try:
            loaded = study.load(name)
        except Exception:
            continue
        for claim in loaded.claims:
            found[claim].append(loaded)
    return found


def study_state(loaded: study.Study, results: Path) -> str:
    """Return the result of the study's last run: holds, does not hold, not run, or data missing."""
    values = outcomes.read(results, loaded.name)
    if values is not None:
        return outcomes.state(values)
    return "data missing" if study.missing_data(loaded) else outcomes.ABSENT


def reported(report: str) -> dict[str, str]:
    """Return the state of each test function in a JUnit report.

    A parametrised test has failed if it failed with any of its parameters.

    >>> one = '<testcase classname="tests.experiments.test_x" name="test_y[1]"/>'
    >>> two = '<testcase classname="tests.experiments.test_x" name="test_y[2]"><failure/></testcase>'
    >>> reported(f"<testsuite>{one}{two}</testsuite>")
    {'tests/experiments/test_x.py::test_y': 'failed'}
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
    """Run these tests in a separate process and return the state of each."""
    if importlib.util.find_spec("pytest") is None or importlib.util.find_spec("xdist") is None:
        raise ExperimentError("not installed: pytest with pytest-xdist; install with: pip install -e '.[test]'")
    tests = sorted(set(tests))
    if not tests:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        processes = ["-n0"] if len(tests) < 10 else []  # for few tests, starting workers takes longer
        command = [sys.executable, "-m", "pytest", "-q", "-m", "claim", *processes, f"--junitxml={report}", *tests]
        environment = os.environ | {"PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not report.is_file():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise ExperimentError(f"pytest ended with {done.returncode}: {''.join(last)}")
        states = reported(report.read_text(encoding="utf-8"))
    return {test: states.get(test, "not run") for test in tests}


def recorded_states(path: Path) -> dict[str, str]:
    """Return the states of the tests' last run, read from claims.json."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {by["name"]: by["state"] for row in rows for by in row["shown_by"] if by["kind"] == "test"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def combined_state(states: Iterable[str]) -> str:
    """Combine the states of all tests and studies of a claim. Returns "not shown" if there are none.

    >>> combined_state(["passed", "holds"]), combined_state(["passed", "data missing"])
    ('shown', 'shown in part')
    >>> combined_state(["not run", "failed"]), combined_state([])
    ('fails', 'not shown')
    """
    states = list(states)
    if not states:
        return "not shown"
    if any(state in BAD for state in states):
        return "fails"
    good = [state in GOOD for state in states]
    return "shown" if all(good) else "shown in part" if any(good) else "not run"


def gather(results: Path, tests: Mapping[str, list[str]], states: Mapping[str, str]) -> dict[str, list[Evidence]]:
    """Return all evidence for each claim: tests first, then studies."""
    found = defaultdict(list)
    for claim, names in tests.items():
        found[claim] += [Evidence("test", name, states.get(name, "not run")) for name in names]
    for claim, shown_by in studies().items():
        found[claim] += [Evidence("study", loaded.name, study_state(loaded, results)) for loaded in shown_by]
    return found
