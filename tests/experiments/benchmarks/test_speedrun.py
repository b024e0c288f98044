"""The speedrun: when the clock stops, how goals are judged, and errors of processes."""

import json
import math

import numpy as np
import pytest

from experiments.__main__ import main as command
from experiments.benchmarks import processes, speedrun, speedrun_recipes, speedrun_reports
from experiments.benchmarks.speedrun import Config, Run
from experiments.benchmarks.speedrun_recipes import Recipe
from experiments.errors import ExperimentError, UsageError

MLP = Recipe(sizes=(9, 10), batch_size=12, epochs=4, peak=0.05, warm_up=0.5)
RUNS = [
    Run("fnn", 0, 1.0, (2.0, 3.0, 4.0), (0.5, 0.98, 0.99)),
    Run("fnn", 1, 1.0, (2.0, 3.0, 5.0), (0.5, 0.9799, 0.9801)),
    Run("fnn", 2, 1.0, (2.0, 3.0, 4.0), (0.5, 0.6, 0.7)),
]


def test_the_clock_stops_at_the_first_epoch_that_reaches_the_target():
    assert [speedrun.time_to(run, 0.98) for run in RUNS] == [3.0, 5.0, math.inf]
    assert speedrun.time_to(RUNS[0], float(np.float32(0.9801))) == 4.0
    float32 = RUNS[0]._replace(accuracies=(0.5, float(np.float32(0.98)), 0.99))
    assert speedrun.time_to(float32, 0.98) == 3.0
    found = speedrun.summarise(RUNS, 0.98)
    assert (found.median, found.low, found.high, found.reached, found.runs) == (5.0, 3.0, math.inf, 2, 3)
    assert (found.epochs, found.accuracy) == (3, 0.98)
    assert speedrun.summarise(RUNS[1:], 0.98).median == math.inf  # although one of two runs reached the target


def test_goals_are_met_missed_or_not_measured():
    ours = speedrun.summarise(RUNS[:1], 0.98)
    slow = ours._replace(side="torch", median=4.6)
    assert speedrun.judge("mlp", {"fnn": ours, "torch": slow}, 0.98) == [
        "mlp: 98.0% within 6 s on two CPU cores: met",
        "mlp: 1.5 times as fast as PyTorch: met",
    ]
    never = ours._replace(median=math.inf)
    assert speedrun.judge("mlp", {"fnn": never, "torch": slow}, 0.98)[0].endswith("missed")
    assert speedrun.judge("mlp", {"fnn": never, "torch": slow}, 0.98)[1].endswith("not measured")
    assert speedrun.judge("mlp", {"fnn": ours, "torch": ours}, 0.98)[1].endswith("missed")
    assert speedrun.judge("mlp", {"fnn": ours}, 0.98)[1].endswith("not measured")
    assert speedrun_reports.finite_or_none({"median": math.inf, "low": 1.0}) == {"median": None, "low": 1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"networks": ("resnet",)}, "--networks must be among mlp, convnet, got resnet"),
        ({"networks": ()}, "--networks must be among mlp, convnet, got none"),
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"mlp_target": 98.0}, "--mlp-target must be above 0 and at most 1, got 98.0"),
        ({"convnet_target": math.nan}, "--convnet-target must be above 0"),
        ({"mlp": Recipe(epochs=0)}, "--mlp.epochs must be at least 1, got 0"),
        ({"mlp": Recipe(sizes=(256, 9))}, "--mlp.sizes must be positive numbers, the last one 10"),
        ({"convnet": Recipe(filters=(8, 8, 8))}, "--convnet.filters must be at most two"),
        ({"mlp": Recipe(peak=math.inf)}, "--mlp.peak must be finite"),
        ({"mlp": Recipe(warm_up=1.0)}, "--mlp.warm-up must be at least 0 and below 1"),
    ],
)
def test_flags(values, message):
    with pytest.raises(UsageError, match=message):
        speedrun.main(Config(**values))


def test_a_wrong_flag_ends_with_2(capsys):
    assert command(["speedrun", "--mlp.batch-size", "0"]) == 2
    assert "--mlp.batch-size must be at least 1, got 0" in capsys.readouterr().err


def test_without_mnist_it_is_skipped_by_name(monkeypatch, tmp_path, capsys):
    def absent():
        raise ExperimentError("no mirror has it; FNN_DATA=folder")

    monkeypatch.setattr(speedrun, "load_mnist", absent)
    assert command(["speedrun", "--results", str(tmp_path)]) == 1
    assert "speedrun: skipped, because MNIST was not found: no mirror has it" in capsys.readouterr().err
    monkeypatch.setattr(speedrun_recipes, "find_mnist", lambda: None)
    with pytest.raises(ExperimentError, match="MNIST was not found"):
        speedrun_recipes.start_loading(MLP).result()


CHILD = """
import argparse, json, time
p = argparse.ArgumentParser()
for flag in ("network", "recipe"): p.add_argument("--" + flag)
p.add_argument("--seed", type=int)
f = p.parse_args()
print(json.dumps({"loaded": True}), flush=True)
for epoch in range(1, json.loads(f.recipe)["epochs"] + 1):
    time.sleep(0.01)
    print(json.dumps({"epoch": epoch, "accuracy": 0.9 + 0.03 * epoch - 0.001 * f.seed}), flush=True)
"""


def test_from_flags_to_files(monkeypatch, tmp_path, capsys):
    (tmp_path / "fake_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(speedrun, "MODULES", {"fnn": "fake_child", "torch": "fake_child"})
    monkeypatch.setattr(speedrun, "load_mnist", lambda: None)
    monkeypatch.setattr(speedrun, "peer_versions", dict)
    speedrun.main(Config(networks=("mlp",), seeds=2, results=tmp_path))
    shown = capsys.readouterr().out
    assert "PyTorch: skipped, not installed" in shown
    assert "2 of 2" in shown
    assert "not of generalisation" in shown
    monkeypatch.setattr(speedrun, "peer_versions", lambda: {"torch": "2"})
    speedrun.main(Config(networks=("mlp",), seeds=2, mlp_target=0.9899, results=tmp_path))
    assert "1 of 2" in capsys.readouterr().out
    report = json.loads((tmp_path / "speedrun" / "speedrun.json").read_text())
    assert sorted(report["runs"]["mlp"]) == ["fnn", "torch"]
    for run in report["runs"]["mlp"]["fnn"]:
        assert 0 < run["loaded"] < run["seconds"][0] < run["seconds"][1] < run["seconds"][2]
        assert run["accuracies"][-1] == pytest.approx(0.99 - 0.001 * run["seed"])
    assert report["summaries"]["mlp"]["torch"]["median"] is None
    assert (tmp_path / "speedrun" / "speedrun.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_process_that_dies_is_named_with_its_last_words(monkeypatch, tmp_path):
    (tmp_path / "dying_child.py").write_text("raise MemoryError('8 GB')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(speedrun, "MODULES", {"fnn": "dying_child"})
    with pytest.raises(processes.WorkerError, match=r"fnn, seed 4: ended with 1; last line: MemoryError: 8 GB"):
        speedrun.train("fnn", "mlp", 4, Config(), tmp_path)
