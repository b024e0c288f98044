"""The benchmark: statistics of times, and errors that name workers that die or hang."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import bench, bench_reports, goals, peers, processes, timings, worker
from experiments.benchmarks.timings import Row
from experiments.benchmarks.workloads import (
    WORKLOADS,
    Data,
    flops,
    hyperparameters,
    initial_weights,
    load,
    shrunk,
    stacked_weights,
)
from experiments.errors import UsageError


def test_flops_are_those_of_the_products():
    work = WORKLOADS["sigmoid"]._replace(examples=1)
    assert flops(work) == 2 * (2 * 784 * 30 + 3 * 30 * 10)
    assert flops(WORKLOADS["predict"]._replace(examples=1)) == 2 * (784 * 512 + 512 * 512 + 512 * 10)
    cnn = WORKLOADS["cnn"]._replace(examples=1)
    first, second = 24 * 24 * 25 * 20, 8 * 8 * 25 * 20 * 40
    assert flops(cnn) == 2 * (2 * first + 3 * (second + 640 * 100 + 100 * 10))
    lstm = WORKLOADS["lstm"]._replace(examples=1)
    assert flops(lstm) == 2 * (100 * 512 * (2 * 64 + 3 * 128) + 3 * 128 * 10)
    gpt = WORKLOADS["gpt"]._replace(examples=1)
    assert flops(gpt) == 6 * 64 * (4 * (12 * 128**2 + 2 * 64 * 128) + 65 * 128)
    assert flops(WORKLOADS["nets"]) == 64 * 10000 * flops(work)


def test_networks_of_a_work_differ():
    work = WORKLOADS["planar"]._replace(networks=3)
    (w, b), _ = stacked_weights(work)
    assert w.shape == (3, 2, 4)
    assert b.shape == (3, 4)
    assert not np.array_equal(w[0], w[1])
    np.testing.assert_array_equal(w[0], initial_weights(work, 0)[0][0])
    values = hyperparameters(work)
    assert sorted(values) == ["alpha", "beta", "l2"]
    assert all(len(set(v.tolist())) == 3 for v in values.values())


def test_shrunk_works_keep_whole_batches():
    for work in WORKLOADS.values():
        small = shrunk(work, 20)
        assert small.examples <= work.examples
        assert small.examples % small.batch == 0
        assert small.networks >= 1
        assert shrunk(work, 1) == work


def test_targets_are_what_the_losses_want(monkeypatch):
    from experiments.benchmarks import workloads
    from experiments.data.generators import mnist_like

    monkeypatch.setattr(workloads, "find_mnist", lambda: None)
    work = WORKLOADS["sigmoid"]._replace(examples=30)
    data = load(work, None)
    expected = mnist_like(0, train=30)
    np.testing.assert_array_equal(data.y.argmax(axis=1), expected.train_y)
    assert data.y.dtype == np.float32
    assert data.y.sum() == 30
    assert load(WORKLOADS["relu"]._replace(examples=30), None).y.dtype == np.int32
    assert load(WORKLOADS["planar"], None).y.shape == (400, 1)


ROWS = {
    "fnn": Row("fnn", (1.0, 2.0, 3.0), accuracies=(0.9, 0.8)),
    "torch": Row("torch", (4.0, 4.0, 30.0), scale=8.0, note="timed on 1 networks", accuracies=(0.89,)),
    "numpy": Row("numpy", (1.0, 1.0, 1.0), accuracies=(0.5, 0.8)),
    "jax-scan": Row("jax-scan", (9.0, 9.0, 9.0), scale=33.0, note="timed on 384 examples", accuracies=(0.1,)),
    "flax": Row("flax", skipped="not installed: flax"),
    "jax": Row("jax", failed="jax: ended with 1; last line: out of memory"),
}


def test_ratios_are_of_medians_their_spread_of_rounds():
    numbers = timings.summary(ROWS["torch"], ROWS["fnn"])
    assert numbers is not None
    assert numbers.median == 4.0
    assert numbers.ratio == 2.0
    assert (numbers.ratio_low, numbers.ratio_high) == (3.0, 7.0)  # quartiles of 4, 2, 10
    assert timings.summary(ROWS["flax"], ROWS["fnn"]) is None
    assert timings.ratio(ROWS, "jax") is None
    assert timings.ratio(ROWS, "absent") is None
    timed = {"fnn": Row("fnn", cpu=(1.0, 2.0, 9.0)), "torch": Row("torch", cpu=(3.0, 3.0, 4.0)), "jax": Row("jax")}
    assert timings.cpu_ratio(timed, "torch") == 1.5
    assert timings.cpu_ratio(timed, "jax") is None
    assert timings.cpu_ratio(timed, "absent") is None


def test_accuracies_that_differ_are_named():
    work = WORKLOADS["relu"]
    assert timings.disagreement(work, ROWS["torch"], ROWS["fnn"]) == ""  # compares the first network only
    assert "accuracy 0.6500, fnn's 0.8500" in timings.disagreement(work, ROWS["numpy"], ROWS["fnn"])
    assert timings.disagreement(work, ROWS["jax-scan"], ROWS["fnn"]) == ""  # trained on less
    lines = "\n".join(bench_reports.remarks(work, ROWS))
    assert "NOT EQUAL: NumPy loop" in lines
    assert "skipped, not installed: flax: Flax NNX" in lines
    assert "out of memory" in lines
    assert "timed on 384 examples" in lines


def test_growth_has_an_exponent_and_no_memory():
    parts = {f"{n} examples": (1e-3 * n**1.1, 1e-3 * n**1.1) for n in (10, 100, 1000)} | {"resident MB": (100.0, 103.0)}
    power, grown = timings.growth(Row("fnn", (1.0, 1.0), parts=parts))
    assert power == pytest.approx(1.1)
    assert grown == pytest.approx(0.03)


def test_goals_are_met_missed_or_not_measured():
    verdicts = {v.text: v for v in goals.judge({"sigmoid": ROWS, "cnn": ROWS})}
    assert all(v.work in ("sigmoid", "cnn") for v in verdicts.values())
    met = {text: v.met for text, v in verdicts.items()}
    assert met["time of PyTorch over fnn's, at least 1.5 x"] is True
    assert met["time of PyTorch over fnn's, at least 6 x"] is False
    assert met["time of JAX by hand over fnn's, at least 1.15 x"] is None
    products = {"fnn": Row("fnn", (1.0,)), "products": Row("products", (0.8,)), "square": Row("square", (0.7,))}
    assert goals.share_of_products(products) == pytest.approx(70)  # relative to the faster products
    assert {goal.work for goal in goals.GOALS} <= set(WORKLOADS)


def test_goals_of_recurrent_networks():
    times = {"fnn": 1.0, "fnn-autodiff": 1.3, "flax": 1.1, "equinox": 1.2, "torch": 9.0, "torch-passive": 0.9}
    rows = {
        name: Row(name, (value,), cpu=(value,), parts={"temporary MiB": (10 * value,)}) for name, value in times.items()
    }
    found = {(v.work, v.text.split(" over")[0]): (v.value, v.met) for v in goals.judge({"lstm": rows, "gru": rows})}
    assert found["lstm", "CPU time of jax.grad"] == (pytest.approx(1.3), True)
    assert found["gru", "CPU time of jax.grad"] == (pytest.approx(1.3), False)
    assert found["lstm", "memory of jax.grad"] == (pytest.approx(1.3), True)
    assert found["lstm", "time of the fastest library"] == (pytest.approx(0.9), False)
    without = {name: row for name, row in rows.items() if name != "fnn-autodiff"}
    assert {v.met for v in goals.judge({"gru": without}) if "jax.grad" in v.text} == {None}


def test_answers_of_the_right_form():
    labels = np.array([1, 0, 1])
    logits = np.array([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]])
    assert worker.accuracies(logits, labels) == [pytest.approx(2 / 3), 1.0]
    sequences = np.stack([logits[0], logits[1]])
    assert worker.accuracies(sequences, np.stack([labels, labels])) == [pytest.approx(5 / 6)]  # one for all positions
    assert worker.accuracies(np.array([[1.0], [-1.0], [-1.0]]), labels) == [pytest.approx(2 / 3)]
    assert worker.finite_or_none({"a": 1.0, "b": float("nan")}) == {"a": 1.0, "b": None}
    job = peers.Job(lambda: None, lambda: None, lambda: np.full((3, 2), np.nan))
    with pytest.raises(FloatingPointError):
        worker.answer(job, Data(*[labels] * 4), "end")
    with pytest.raises(ValueError, match="no command 'stop'"):
        worker.answer(job, Data(*[labels] * 4), "stop")


def fake(tmp_path: Path, body: str, **variables: str) -> processes.Worker:
    return processes.start("fake", [], tmp_path, (sys.executable, "-S", "-c", body), variables)


def test_a_worker_answers_line_by_line(tmp_path):
    running = fake(tmp_path, "for line in iter(input, 'end'): print('{\"said\": \"' + line + '\"}', flush=True)")
    assert processes.ask(running, "go", 30) == {"said": "go"}
    processes.stop(running)
    assert running.process.poll() is not None


def test_a_worker_keeps_bytecode_and_knows_no_cache_of_jaxs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    body = (
        "import json, os, sys; input(); cached = 'JAX_COMPILATION_CACHE_DIR' in os.environ; "
        "print(json.dumps({'without bytecode': sys.dont_write_bytecode, 'cached': cached}), flush=True)"
    )
    running = fake(tmp_path, body)
    assert processes.ask(running, "go", 30) == {"without bytecode": False, "cached": False}
    processes.stop(running)


def test_all_workers_compute_float32_products_in_full(tmp_path):
    body = (
        "import json, jax; input(); "
        "print(json.dumps({'precision': jax.config.jax_default_matmul_precision}), flush=True)"
    )
    running = processes.start("fake", [], tmp_path, (sys.executable, "-c", body))
    assert processes.ask(running, "go", 60) == {"precision": "highest"}
    processes.stop(running)
    assert processes.environment(tmp_path, {})["NVIDIA_TF32_OVERRIDE"] == "0"


def test_a_worker_has_the_environment_variables_of_its_peer(tmp_path):
    body = "import os; input(); print('{\"waits\": \"' + os.environ['OMP_WAIT_POLICY'] + '\"}', flush=True)"
    running = fake(tmp_path, body, **dict(peers.PEERS["torch-passive"].variables))
    assert processes.ask(running, "go", 30) == {"waits": "PASSIVE"}
    processes.stop(running)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; print('so it goes', file=sys.stderr); sys.exit(3)", "fake: ended with 3; last line: so it goes"),
        ("raise MemoryError('8 GB')", "last line: MemoryError: 8 GB"),
        ("print('hello', flush=True); input()", "fake: answered 'hello', not a line of JSON"),
        ("print('[1]', flush=True); input()", r"answered '\[1\]'"),
        ("pass", r"fake: ended with 0; last line: \(no output\)"),
    ],
)
def test_a_worker_that_dies_is_named_with_its_last_line(tmp_path, body, message):
    running = fake(tmp_path, body)
    with pytest.raises(processes.WorkerError, match=message):
        processes.ask(running, "go", 30)
    processes.stop(running)


def test_a_worker_that_hangs_is_given_up(tmp_path):
    running = fake(tmp_path, "import time; time.sleep(600)")
    with processes.stopping({"fake": running}), pytest.raises(processes.WorkerError, match=r"no answer in 0.2 s"):
        processes.answer(running, 0.2)
    assert running.process.poll() is not None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"works": ("mnist",)}, "--works must be among sigmoid, relu.* got mnist"),
        ({"peers": ("tensorflow",)}, "--peers must be among fnn, .* got tensorflow"),
        ({"peers": ()}, "--peers must be among fnn, .* got none"),
        ({"rounds": 0}, "--rounds must be at least 1, got 0"),
        ({"timeout": 0.0}, "--timeout"),
    ],
)
def test_flags(values, message):
    with pytest.raises(UsageError, match=message):
        bench.main(bench.Config(**values))


@pytest.mark.slow
def test_from_flags_to_files(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FNN_DATA", raising=False)
    monkeypatch.setattr("experiments.benchmarks.workloads.find_mnist", lambda: None)
    bench.main(bench.Config(works=("sigmoid",), peers=("jax", "numpy"), quick=True, results=tmp_path))
    shown = capsys.readouterr().out
    assert "784-30-10 sigmoid, batch 10, 50,000 examples; here shrunk 20x; synthetic images" in shown
    for label in ("fnn", "JAX by hand + optax", "NumPy loop"):
        assert f"│ {label} " in shown
    assert "Goals" in shown
    report = json.loads((tmp_path / "bench" / "bench.json").read_text())
    rows = report["works"]["sigmoid"]["peers"]
    assert sorted(rows) == ["fnn", "jax", "numpy"]
    for row in rows.values():
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) > 0
        assert row["failed"] == row["skipped"] == row["disagrees"] == ""
        assert 0.1 < row["accuracies"][0] <= 1
    assert rows["jax"]["ratio"] == pytest.approx(rows["jax"]["median"] / rows["fnn"]["median"])
    assert {goal["met"] for goal in report["goals"] if "PyTorch" in goal["text"]} == {None}
    assert (tmp_path / "bench" / "bench.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
