"""The experiment `sweep` from its flags to its files, with few trainings."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from experiments.examples.sweep import WIDTHS
from tests.experiments.test_main import COMMAND, ENVIRONMENT, ROOT

FLAGS = {"rates": 2, "lowest-rate": 0.01, "highest-rate": 0.5, "penalties": 2, "seeds": 2, "epochs": 2}


def start(folder: Path, flags: dict) -> subprocess.CompletedProcess:
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    command = [*COMMAND, "sweep", *words, "--results", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_sweep_from_flags_to_files(tmp_path: Path):
    done = start(tmp_path, FLAGS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = tmp_path / "sweep"
    files = [folder / name for name in ("table.csv", "widths.csv", "curves.npz", "sweep.json", "sweep.png")]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("sweep: 8 trainings, 2 learning rates x 2 L2 strengths x 2 seeds")
    assert lines[-1] == "saved: " + ", ".join(map(str, files))
    assert sorted(folder.iterdir()) == sorted(files)
    assert files[4].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    names, *rows = csv.reader(files[0].read_text(encoding="utf-8").splitlines())
    cost = [float(row[names.index("validation_cost")]) for row in rows]
    assert len(rows) == 4
    assert cost == sorted(cost)
    assert len(set(cost)) == 4
    assert len(files[1].read_text(encoding="utf-8").splitlines()) == 1 + len(WIDTHS)
    with np.load(files[2]) as curves:
        assert curves["cost"].shape == (4, 2, 2)
        assert (curves["cost"][..., 1] < curves["cost"][..., 0]).all()
        final = curves["validation_cost"][..., -1].mean(axis=1)
    np.testing.assert_allclose(sorted(final), cost, rtol=1e-5)

    report = json.loads(files[3].read_text(encoding="utf-8"))
    assert report["trainings"] == 8
    assert report["best"]["validation_cost"] == pytest.approx(min(final), rel=1e-5)
    assert report["best"]["learning_rate"] == pytest.approx(0.5)
    assert len(report["test_accuracy"]) == 2
    assert min(report["test_accuracy"]) > 0.5


def test_invalid_flags_of_a_sweep(tmp_path: Path):
    done = start(tmp_path, FLAGS | {"lowest-rate": 2.0})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--lowest-rate must be at most --highest-rate, 0.5" in done.stderr
    assert list(tmp_path.iterdir()) == []
