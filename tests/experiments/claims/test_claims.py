"""The ledger of claims is complete, matches tests and studies, and its command reports failures."""

import json
from collections import Counter
from pathlib import Path

import pytest

from experiments.claims import claims, evidence
from experiments.claims.claims import KINDS, VERDICTS, Config, load, main
from experiments.data.mnist import FILES
from experiments.errors import ExperimentError, UsageError
from experiments.studies import NAMES
from experiments.studies.shared import study

LEDGER = load()
TESTS = """
import pytest

@pytest.mark.claim("C001")
def test_that_passes(): pass

@pytest.mark.claim("C001", "C002")
@pytest.mark.parametrize("x", [1, 2])
def test_that_fails_once(x): assert x == 1

@pytest.mark.skip
@pytest.mark.claim("C003")
def test_that_is_skipped(): pass

def test_of_nothing(): pass
"""


def test_every_claim_is_there_once():
    assert sorted(claim.id for claim in LEDGER) == [f"C{number:03}" for number in range(1, 267)]
    assert [claim.number for claim in LEDGER] == sorted(claim.number for claim in LEDGER)
    assert len({(claim.number, claim.section) for claim in LEDGER}) == 16


def test_verdicts_and_kinds():
    verdicts = Counter(claim.verdict for claim in LEDGER)
    assert verdicts == dict(zip(VERDICTS, (153, 24, 47, 23, 13, 6), strict=True))
    kinds = Counter(claim.kind for claim in LEDGER)
    assert kinds == dict(zip(KINDS, (103, 68, 52, 33, 10), strict=True))


def test_what_is_not_right_has_its_correction_and_what_is_not_tested_its_reason():
    for claim in LEDGER:
        assert bool(claim.correction) == (claim.verdict in ("WRONG", "TYPO", "QUALIFIED")), claim.id
        assert claim.where[:3] in ("000", "001", "002", "003", "004"), claim.id
        assert claim.claim
    without = [claim for claim in LEDGER if claim.untestable]
    assert {claim.verdict for claim in without} <= {"DESCRIPTIVE", "CONVENTION", "TYPO", "RIGHT"}
    assert len(without) <= 20


def test_tests_and_studies_name_claims_that_exist():
    tests = evidence.marked_tests()
    assert claims.unknown_claims(LEDGER, tests) == []
    studies = [study.load(name) for name in NAMES]
    assert claims.unknown_claims(LEDGER, [id for one in studies for id in one.claims]) == []
    assert all(one.claims for one in studies)


def test_what_is_wrong_is_shown_by_a_test():
    tests = evidence.marked_tests()
    assert [claim.id for claim in LEDGER if claim.verdict == "WRONG" and claim.id not in tests] == []


def test_every_claim_that_can_be_tested_is():
    shown = set(evidence.marked_tests()) | set(evidence.studies())
    assert [claim.id for claim in LEDGER if not claim.untestable and claim.id not in shown] == []


def test_nothing_that_has_a_reason_not_to_be_tested_is():
    shown = set(evidence.marked_tests()) | set(evidence.studies())
    assert [claim.id for claim in LEDGER if claim.untestable and claim.id in shown] == []


@pytest.fixture
def momentum(monkeypatch):
    """Two wrong claims of section 9: a test shows C184; tests add one for C188."""
    tests = {"C184": ["tests/data/test_arrays.py::test_an_epoch"]}
    monkeypatch.setattr(evidence, "marked_tests", lambda: tests)
    monkeypatch.setattr(evidence, "studies", dict)
    monkeypatch.setattr(evidence, "run_tests", lambda names: dict.fromkeys(names, "passed"))
    return tests


def command(tmp_path: Path, **options):
    main(Config(section=9, verdict="WRONG", results=tmp_path, **options))


def test_a_claim_without_test_and_study_is_an_error(momentum, tmp_path, capsys):
    with pytest.raises(ExperimentError, match=r"^not shown: C188$"):
        command(tmp_path, run=True)
    momentum["C188"] = ["tests/test_optimizers.py::test_momentum"]
    command(tmp_path, run=True)
    out = capsys.readouterr().out
    assert "passed:" in out
    assert "2 claims by state: 2 shown" in out


def test_a_test_that_fails_is_an_error_also_later(momentum, tmp_path, monkeypatch, capsys):
    momentum["C188"] = ["tests/test_optimizers.py::test_momentum"]
    command(tmp_path)
    assert "not run:" in capsys.readouterr().out
    states = {"tests/test_optimizers.py::test_momentum": "failed", "tests/data/test_arrays.py::test_an_epoch": "passed"}
    monkeypatch.setattr(evidence, "run_tests", lambda names: states)
    for run in (True, False):  # the states of the last --run are kept
        with pytest.raises(ExperimentError, match=r"^fails: C188$"):
            command(tmp_path, run=run)
    rows = json.loads((tmp_path / "claims" / "claims.json").read_text(encoding="utf-8"))
    assert len(rows) == 266
    row = next(row for row in rows if row["id"] == "C188")
    assert {"where", "claim", "kind", "verdict", "correction", "section"} <= set(row)
    assert row["state"] == "fails"
    assert row["shown_by"] == [{"kind": "test", "name": "tests/test_optimizers.py::test_momentum", "state": "failed"}]


def test_a_claim_that_is_not_in_the_ledger_is_an_error(momentum, tmp_path):
    momentum["C999"] = ["tests/data/test_arrays.py::test_x"]
    with pytest.raises(ExperimentError, match=r"not in the ledger.*C999"):
        command(tmp_path)


def test_a_section_that_is_not_there(momentum, tmp_path):
    with pytest.raises(UsageError, match="--section must be 1 to 16, got 17"):
        main(Config(section=17, results=tmp_path))


@pytest.mark.slow
def test_marked_tests_are_run_and_their_states_told(tmp_path):
    file = tmp_path / "tests" / "inner" / "test_x.py"
    file.parent.mkdir(parents=True)
    file.write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = claim", encoding="utf-8")
    tests = evidence.marked_tests(tmp_path)
    names = [f"tests/inner/test_x.py::test_that_{what}" for what in ("passes", "fails_once", "is_skipped")]
    assert tests == {"C001": names[:2], "C002": names[1:2], "C003": names[2:]}
    states = evidence.run_tests([name for several in tests.values() for name in several], tmp_path)
    assert states == dict(zip(names, ("passed", "failed", "skipped"), strict=True))
    file.write_text("import nothing_of_this_name", encoding="utf-8")
    with pytest.raises(ExperimentError, match="pytest ended with"):
        evidence.run_tests(names, tmp_path)


def test_states_of_studies(tmp_path, monkeypatch):
    one = study.load("linear_collapse")
    file = tmp_path / one.name / f"{one.name}.json"
    assert evidence.study_state(one, tmp_path) == "not run"
    file.parent.mkdir()
    written = '{"criteria": [], "holds": true}', '{"criteria": [], "holds": false}', "{"
    for text, state in zip(written, ("holds", "does not hold", "not run"), strict=True):
        file.write_text(text, encoding="utf-8")
        assert evidence.study_state(one, tmp_path) == state
    file.unlink()
    away = one._replace(needs=("mnist",))
    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    assert evidence.study_state(away, tmp_path) == "data missing"
    cached = tmp_path / "cache" / "fnn"
    cached.mkdir(parents=True)
    for name in FILES:
        (cached / name).write_text("not read yet")
    assert evidence.study_state(away, tmp_path) == "not run"
