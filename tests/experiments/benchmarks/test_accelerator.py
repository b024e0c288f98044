"""The command `accelerator`: refusals, the time limit, failures that end nothing, tables, counts of tests, workers."""

import io
import json

import numpy as np
import pytest

from experiments.benchmarks import accelerator, accelerator_parts, accelerator_reports, peers, worker
from experiments.benchmarks.accelerator import Config
from experiments.benchmarks.accelerator_works import ACCELERATOR_WORKLOADS, GOALS, SECONDS, WORKS, tokens
from experiments.benchmarks.goals import judge
from experiments.benchmarks.timings import Row
from experiments.benchmarks.workloads import WORKLOADS, Data, flops
from experiments.errors import ExperimentError, UsageError
from tests.experiments.benchmarks.test_peers import TINY, ready, tiny_data

GPU = {"platform": "gpu", "kind": "H100", "count": 1, "memory": 2**36, "seconds": {}, "versions": {"jax": "0.11.2"}}
DEVICE = {"find devices": 2.0, "import jax": 1.0}


@pytest.fixture
def on_a_gpu(monkeypatch):
    monkeypatch.setattr(accelerator, "ask_child", lambda *arguments: json.loads(json.dumps(GPU)))
    monkeypatch.setattr(accelerator, "save_arrays", lambda *arguments: "no data")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"works": ("lstm",)}, "--works must be among large, nets.* got lstm"),
        ({"works": ()}, "--works must be among .* got none"),
        ({"seconds": 0.0}, "--seconds must be finite and at least 1.0, got 0.0"),
        ({"rounds": 0}, "--rounds must be at least 1, got 0"),
    ],
)
def test_flags(values, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        accelerator.main(Config(results=tmp_path, **values))


def test_a_cpu_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "ask_child", lambda *arguments: GPU | {"platform": "cpu", "versions": {}})
    with pytest.raises(ExperimentError, match=r"^accelerator: JAX finds only a CPU here; `--quick` runs a smoke test"):
        accelerator.main(Config(results=tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_every_work_has_a_place_and_an_estimate():
    assert set(accelerator.ORDER) == {*WORKS, *accelerator_parts.PARTS}
    assert set(SECONDS) == set(WORKS)
    assert {goal.work for goal in GOALS} <= set(WORKS)
    assert not set(WORKLOADS) & set(ACCELERATOR_WORKLOADS)
    assert flops(WORKS["large"]) == 2 * 11 * 8192**3 * 2  # eleven products in a step
    assert tokens(WORKS["gpt-124m"]) == 32 * 1024
    assert tokens(WORKS["relu"]) is None


def test_a_peer_without_a_work_is_said_to_lack_it_before_anything_else_is_missing(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda module: None)
    monkeypatch.setattr(peers, "find_driver", lambda: None)
    assert peers.reason_to_skip("torch-graph", WORKS["nets"]) == "not implemented for this workload"
    assert peers.reason_to_skip("torch-graph", WORKS["relu"]) == "not installed: torch"


def test_what_no_longer_fits_is_skipped_by_name(on_a_gpu, tmp_path, capsys):
    accelerator.main(Config(works=("gpt-124m", "tests", "start"), seconds=20.0, results=tmp_path))
    page = (tmp_path / "accelerator" / "accelerator.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.count("skipped: 20 s are left of --seconds, and it takes about ") == 3
    assert "- gpt-124m: skipped: 20 s are left of --seconds, and it takes about 60 s" in page
    assert "H100 (gpu, 1 of them), driver " in page
    assert "jax 0.11.2" in page
    assert "medians of interleaved rounds" not in page  # there is no table of times, nor one of goals
    assert "| goal |" not in page


def test_one_failure_does_not_end_the_others_and_each_work_is_saved(on_a_gpu, tmp_path, monkeypatch, capsys):
    report, seen = tmp_path / "accelerator" / "accelerator.json", []

    def run_workload(work, config, flags, scratch, report_line, ends, deadline):
        assert ends <= deadline
        seen.append((work.name, sorted(json.loads(report.read_text())["works"])))
        if work.name == "nets":
            raise ExperimentError("nets: no answer")
        return {
            "fnn": Row("fnn", (1.0, 1.0), accuracies=(0.5,), peak=2**30),
            "jax": Row("jax", (2.0, 0.5), accuracies=(0.9,)),
            "flax": Row("flax", failed="flax: ended with 1; last line: out of memory"),
            "torch-graph": Row("torch-graph", skipped="no CUDA device"),
        }

    monkeypatch.setattr(accelerator.bench, "run_workload", run_workload)
    monkeypatch.setitem(
        accelerator.PARTS, "start", accelerator_parts.PARTS["start"]._replace(run=lambda *arguments: 1 / 0)
    )
    with pytest.raises(ExperimentError, match=r"^failed: cnn flax, relu flax, nets, start; see above$"):
        accelerator.main(Config(works=("start", "relu", "nets", "cnn"), results=tmp_path))
    assert seen == [("nets", []), ("cnn", []), ("relu", ["cnn"])]
    values, page = json.loads(report.read_text()), report.with_suffix(".md").read_text(encoding="utf-8")
    assert values["failed"] == {"nets": "nets: no answer", "start": "ZeroDivisionError: division by zero"}
    assert values["works"]["cnn"]["peers"]["jax"]["ratio"] == 1.25
    assert page.count("\n\nSeconds of a unit: medians of interleaved rounds") == 1
    assert f"| cnn: {WORKS['cnn'].title} | 1 s | 1.25 s (1.25x) | failed |" in page
    assert "- cnn: NOT EQUAL: JAX by hand + optax: accuracy 0.9000, fnn's 0.5000" in page
    assert "- cnn: skipped, no CUDA device: PyTorch, CUDA graph" in page
    assert "- cnn: peak MiB on the device: fnn 1,024" in page
    assert "| cnn | time of JAX by hand over fnn's, at least 1 x | 1.25 x | met |" in page


def test_ctrl_c_ends_the_command(on_a_gpu, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(accelerator.bench, "run_workload", interrupt)
    with pytest.raises(KeyboardInterrupt):
        accelerator.main(Config(works=("relu", "nets"), results=tmp_path))
    assert (tmp_path / "accelerator" / "accelerator.json").exists()


def test_goals_of_the_large_network():
    rows = {"fnn": Row("fnn", (1.0,)), "square": Row("square", (0.79,)), "jax": Row("jax", (1.0,))}
    met = {verdict.text: (verdict.value, verdict.met) for verdict in judge({"large": rows}, GOALS)}
    assert met["rate over that of matrix products 8192x8192, at least 80 %"] == (pytest.approx(79), False)
    assert met["time of JAX by hand over fnn's, at least 1 x"] == (1.0, True)
    assert met["time of jax.grad of fnn's forward over fnn's, at least 1 x"] == (None, None)
    assert "TFLOP/s: fnn 24.2" in "".join(accelerator_reports.rates(WORKS["large"], rows))
    assert "tokens/s: fnn 32,768" in "".join(accelerator_reports.rates(WORKS["gpt-124m"], rows))


ANSWERS = {
    "mnist": {"steps": 1250, "train": [0.5, 0.6, 0.4], "accuracies": [0.991, 0.995, 0.992], "compile and train": 9.5},
    "determinism": {"networks": {"gpt": {"twice": False, "resumed": True}, "a": {"twice": True}}},
}


@pytest.mark.parametrize(
    ("name", "change", "met", "line"),
    [
        ("mnist", {}, [True], "trains 1,250 steps in 0.500 s, the median of the seeds; compiled in 9.0 s"),
        ("mnist", {"accuracies": [0.9899, 0.995]}, [False], "seeds: 98.99, 99.50 %; not all reach 99.5 %"),
        ("mnist", {"train": [0.8]}, [False], "1,250 steps in 0.800 s"),
        ("determinism", {}, [False], "with deterministic=True, of 2 networks differ: gpt (twice)"),
        ("determinism", {"networks": {"a": {"twice": True}}}, [True], "of 1 networks differ: none"),
    ],
)
def test_parts(name, change, met, line, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator_parts, "ask_child", lambda *arguments: ANSWERS[name] | change)
    outcome = accelerator_parts.PARTS[name].run(tmp_path, 10.0, False)
    assert [verdict.met for verdict in outcome.verdicts] == met
    assert line in "\n".join(outcome.lines)


def test_the_start_is_read_from_the_runs_of_digits(tmp_path, monkeypatch):
    def run_command(name, command, scratch, seconds, **environment):
        folder = tmp_path / f"digits-{name}" / "digits"
        folder.mkdir(parents=True)
        times = {"cold": {"whole": 20.0, "compile_and_train": 9.0}, "warm": {"whole": 3.0, "compile_and_train": 1.0}}
        (folder / "run.json").write_text(json.dumps({"seconds": times[name]}))
        assert environment == {"FNN_CACHE": str(tmp_path / "cache")}
        return 0, ""

    monkeypatch.setattr(accelerator_parts, "ask_child", lambda *arguments: {"seconds": DEVICE})
    monkeypatch.setattr(accelerator_parts, "run_command", run_command)
    outcome = accelerator_parts.start(tmp_path, 10.0, False)
    assert [(verdict.value, verdict.met) for verdict in outcome.verdicts] == [(20.0, False), (3.0, True)]
    monkeypatch.setattr(accelerator_parts, "run_command", lambda *arguments, **environment: (1, "a\nno"))
    with pytest.raises(ExperimentError, match=r"digits ended with 1: \['no'\]"):
        accelerator_parts.start(tmp_path, 10.0, False)


def test_commands_that_take_too_long_are_ended(tmp_path):
    command = [accelerator_parts.CHILD[0], "-c", "import time; print('so it goes', flush=True); time.sleep(600)"]
    with pytest.raises(ExperimentError, match=r"^it: not ready after 0\.5 s$"):
        accelerator_parts.run_command("it", command, tmp_path, 0.5)


REPORT = """<testsuites><testsuite>
<testcase classname="tests.layers.test_verified" name="test_layers[relu]"/>
<testcase classname="tests.layers.test_verified" name="test_layers[dense]"><failure/></testcase>
<testcase classname="tests.layers.test_verified" name="test_a_wrong_layer_is_named"/>
<testcase classname="tests.gradcheck.test_mutations" name="test_bases_are_right[mlp]"><skipped/></testcase>
<testcase classname="tests.gradcheck.test_mutations" name="test_caught[tanh: sign]"><error/></testcase>
<testcase classname="tests.training.test_fit" name="test_it_learns"/>
</testsuite></testsuites>"""


def test_tests_are_counted(tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT)
    assert accelerator_parts.counts(tmp_path / "tests.xml") == {
        "all": {"tests": 6, "failed": 2, "skipped": 1},
        "right gradients": {"tests": 3, "failed": 1, "skipped": 1},
        "planted errors": {"tests": 2, "failed": 1, "skipped": 0},
    }


def test_workers_wait_and_repeat(monkeypatch):
    units = []
    job = peers.Job(lambda: units.append(1), lambda: units.clear(), None)
    monkeypatch.setattr(worker.peers, "make", lambda *arguments: job)
    out, work = io.StringIO(), WORKLOADS["relu"]
    commands = io.StringIO("go\ngo\nend\n")
    worker.serve(commands, out, "numpy", work, Data(*[np.zeros(0)] * 4), wait=True, repeat=3)
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert answers[0] == {"started": True}
    assert answers[1]["ready"]
    assert len(units) == 3
    assert sorted(answers[2]) == ["cpu", "parts", "seconds"]
    assert answers[3]["accuracies"] == []


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["fnn-autodiff", "jax", "torch"])
def test_peers_in_bfloat16_train_the_same_network(peer):
    work = TINY["relu"]._replace(dtype="bfloat16")
    ready(peer, work)
    assert "not implemented" in peers.reason_to_skip("numpy", work)
    both = []
    for name in ("fnn", peer):
        job = peers.make(name, work, tiny_data(work))
        for _ in range(3):
            job.unit()
        assert job.predict is not None
        both.append(job.predict().astype("float32"))
    np.testing.assert_allclose(both[1], both[0], atol=0.02 * np.abs(both[0]).max())


@pytest.mark.slow
def test_from_flags_to_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.benchmarks.workloads.find_mnist", lambda: None)
    monkeypatch.setattr(accelerator, "QUICK_PEERS", ("fnn", "jax"))
    accelerator.main(Config(works=("sigmoid", "large", "determinism"), quick=True, results=tmp_path))
    shown = capsys.readouterr().out
    assert "A smoke test: its times are meaningless." in shown
    assert "- large: skipped: too large for --quick" in shown
    values = json.loads((tmp_path / "accelerator" / "accelerator.json").read_text())
    rows = values["works"]["sigmoid"]["peers"]
    assert sorted(name for name, row in rows.items() if row["seconds"]) == ["fnn", "jax"]
    assert all(len(row["seconds"]) == 2 and not row["failed"] for row in rows.values())
    assert values["parts"]["determinism"]["networks"] == {"dense, dropout": {"twice": True, "resumed": True}}
    assert values["device"]["platform"] == "cpu"
