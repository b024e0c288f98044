"""`python -m experiments all`: which studies run, which are up to date, failures, and Ctrl-C."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.claims.all import Config, initial_row
from experiments.studies.shared import outcomes, sources, study
from tests.support import fake_studies
from tests.support.fake_studies import COMMAND


def ran(folder: Path) -> list[str]:
    """The studies that have run so far."""
    return (folder / "results" / "ran.txt").read_text(encoding="utf-8").split()


def alive(group: int) -> list[str]:
    """The processes of a group that are left after some time, without zombies."""
    if shutil.which("ps") is None:
        return []
    command, found = ["ps", "-eo", "pgid=,stat=,args="], []
    for _ in range(50):
        rows = [line.split(maxsplit=2) for line in subprocess.check_output(command, text=True).splitlines()]
        found = [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]
        if not found:
            break
        time.sleep(0.2)
    return found


def test_all_reports_each_study(tmp_path: Path):
    fake_studies.make(tmp_path)
    done = fake_studies.run(tmp_path, "all", "--quick")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("error: short (does not hold); broken (failed); dying (failed)")
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("X0")}
    assert list(fake_studies.STUDIES) == sorted(lines, key=lambda name: lines[name])
    assert lines["good"].split()[2:5] == ["✓", "holds", "1/1"]
    assert lines["short"].split()[2:7] == ["✗", "does", "not", "hold", "0/1"]
    assert "failed" in lines["broken"]
    assert "ValueError: no <luck>" in lines["broken"]
    assert "its worker process died" in lines["dying"]
    assert "skipped: needs mnist" in lines["images"]
    assert "5 studies: " in done.stdout
    assert "on the screen" not in done.stdout

    results = tmp_path / "results"
    assert sorted(path.name for path in (results / "good").iterdir()) == ["good.json", "good.png", "good.svg"]
    said = (results / "dying" / "dying.error.txt").read_text(encoding="utf-8")
    assert said.splitlines() == ["on the screen", "last words", "its worker process died"]
    assert "raise ValueError" in (results / "broken" / "broken.error.txt").read_text(encoding="utf-8")
    assert (results / "report.html").is_file()
    assert sorted(ran(tmp_path)) == ["broken", "dying", "good", "short"]


@pytest.mark.slow
def test_all_runs_only_what_is_not_up_to_date(tmp_path: Path):
    fake_studies.make(tmp_path)
    fake_studies.run(tmp_path, "all", "--quick")
    results = tmp_path / "results"

    fake_studies.write(tmp_path, "short", title="Another title.")  # docstrings are not part of the fingerprint
    fake_studies.write(tmp_path, "broken", work="pass  # repaired")
    again = fake_studies.run(tmp_path, "all", "--quick", "--only", "good", "short", "broken")
    assert again.stdout.count("up to date") == 2
    assert ran(tmp_path)[4:] == ["broken"]
    assert not (results / "broken" / "broken.error.txt").exists()

    fake_studies.write(tmp_path, "short", work="time.sleep(0.01)")
    done = fake_studies.run(tmp_path, "all", "--quick", "--only", "good", "short", "--workers", "1")
    assert ran(tmp_path)[5:] == ["short"]
    done = fake_studies.run(tmp_path, "all", "--quick", "--only", "good", "--fresh")
    assert done.returncode == 0
    assert ran(tmp_path)[6:] == ["good"]


def test_all_ends_with_ctrl_c_and_keeps_what_is_done(tmp_path: Path):
    fake_studies.make(tmp_path)
    flags = ["all", "--only", "good", "short", "--workers", "2"]
    with subprocess.Popen(
        [*COMMAND, *flags],
        cwd=tmp_path,
        env=fake_studies.environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert "short" in process.stdout.readline()  # with the full config, `good` sleeps for an hour
        os.killpg(process.pid, signal.SIGINT)  # to the workers as well, as a terminal does
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.strip() == "python -m experiments: interrupted"
    assert "report" not in output
    assert alive(process.pid) == []
    results = tmp_path / "results"
    assert json.loads((results / "short" / "short.json").read_text(encoding="utf-8"))["holds"] is False
    assert not (results / "good" / "good.json").exists()


@pytest.mark.parametrize(
    ("kept", "wanted", "state"),
    [("full", "full", "holds"), ("full", "quick", "holds"), ("quick", "quick", "holds"), ("quick", "full", "waiting")],
)
def test_quick_does_not_replace_what_the_full_config_left(kept: str, wanted: str, state: str, tmp_path: Path):
    loaded = study.load("linear_collapse")
    settings = outcomes.settings(outcomes.make_config(loaded, kept == "quick", tmp_path))
    source = sources.fingerprint(loaded.path)
    values = {"config": settings, "source": source, "criteria": [], "holds": True, "seconds": 1.0}
    path = outcomes.json_path(tmp_path, loaded.name)
    path.parent.mkdir()
    path.write_text(json.dumps(values), encoding="utf-8")
    config = Config(quick=wanted == "quick", results=tmp_path)
    assert initial_row(loaded.name, config).state == state
    path.write_text(json.dumps(values | {"source": "other code"}), encoding="utf-8")
    assert initial_row(loaded.name, config).state == "waiting"


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--only", "nothing"], "--only must be names of studies"), (["--workers", "0"], "--workers")],
)
def test_all_says_what_is_wrong_with_its_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["all", *flags]) == 2
    assert message in capsys.readouterr().err
