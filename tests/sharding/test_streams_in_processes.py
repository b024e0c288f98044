"""Data larger than the devices in several real processes: they train as one process does, fail together, and resume."""

import shutil

import numpy as np
import pytest

import fnn
from fnn.checkpoint import store
from tests.support import shared_streams
from tests.support.processes import run_task
from tests.support.shared_streams import SHARES, SIZE, dataset, files, shared_stream, write_files
from tests.support.streams_over_processes import CASES, trained

BOUNDS = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The folder of the compilation cache that the runs share. The data are in files meanwhile."""
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FILES", str(folder))
        yield tmp_path_factory.mktemp("compiled")


def run_streams(name, count, devices, folder, cache, *word, **options):
    return run_task(name, count, devices, folder, cache, *word, module="streams_over_processes", **options)


def results_of(name, count, devices, tmp_path, cache):
    ended, results = run_streams(name, count, devices, tmp_path, cache)
    assert [end.code for end in ended] == [0] * count, ended[0].err[-2000:]
    return results


def assert_same_training(ours, theirs, dtype):
    """Check parameters and history to within the bound times the largest entry."""
    bound = BOUNDS[dtype]
    assert list(ours["history"]) == list(theirs["history"])
    largest = max(np.abs(leaf).max() for leaf in map(np.asarray, theirs["params"]))
    for our, their in zip(ours["params"], theirs["params"], strict=True):
        np.testing.assert_allclose(our, their, rtol=0, atol=bound * largest)
    for name, column in theirs["history"].items():
        np.testing.assert_allclose(ours["history"][name], column, rtol=bound, atol=bound, err_msg=name)


def alone(dtype, **options):
    """The training in this process."""
    return trained(None, np.dtype(dtype).type, **options)


def test_two_processes_train_as_one_does_and_refuse_together(tmp_path, cache):
    results = results_of("two_and_refused", 2, 1, tmp_path, cache)
    theirs = alone("float32", **CASES["windows"])
    assert len(theirs["history"]["cost"]) == 3
    for found in results:
        assert_same_training(found["files"], theirs, "float32")
    first, second = (found["refused"] for found in results)
    assert second["stops"] == "OSError: the disk is gone"
    assert first["stops"] == "RuntimeError: fit: process 1 of 2 failed: OSError: the disk is gone"
    for name, text in {
        "poisoned": "row 0 of batch 4 of epoch 1",
        "row that is not finite": "row 7",
    }.items():
        text = f"ValueError: fit: data: x must be finite, got NaN or infinity, first in {text}"
        quoted = f"RuntimeError: fit: process {{}} of 2 failed: {text}"
        assert (first[name], second[name]) in ((text, quoted.format(0)), (quoted.format(1), text)), name
    for refused in (first, second):
        assert "fit: data: batch 3 of epoch 1 must be of 30 rows in all processes together" in refused["short"]
        assert "got 16 + 13. Each process yields its share of every batch: dataset[process::2]" in refused["short"]
        assert "fit: data must be the same in every process, got [['float32 (102, 8)" in refused["own rows"]
        assert refused["own rows"].endswith("Each process passes all rows, and reads those that it needs.")
        assert "fit: data must be the same in every process" in refused["other rows"]
        assert refused["kinds"] == "ValueError: fit: data must be the same in every process, got ['False', 'True']"
        assert '[[8], "float32"], [[], "int32"]] in process 0; [[[5], "float32"]' in refused["row"]
        assert refused["nothing"] == "ValueError: fit: data must be a stream of at least one batch in epoch 1, got none"
        assert "fit: device_memory must be the same in every process, got [5281, 5280]" in refused["memory"]
        assert "fit: window must be the same in every process, got [60, 61]" in refused["window"]
        assert "fit: window must be None for a stream in several processes, got int 60" in refused["shuffled"]


@pytest.mark.slow
def test_two_processes_of_two_devices_train_as_one_does(tmp_path, cache):
    """From files with windows, weights, uneven sizes and batch norm: early stopping and validation as in one."""
    results = results_of("streams", 2, 2, tmp_path, cache)
    for name, options in CASES.items():
        for dtype, ours in results[0][name].items():
            theirs = alone(dtype, **options)
            assert_same_training(ours, theirs, dtype)
            assert results[1][name][dtype] == ours
    assert sorted(results[0]["windows"]) == ["float32", "float64"]


@pytest.mark.exhaustive
def test_four_processes_train_as_one_does(tmp_path, cache):
    results = results_of("streams", 4, 1, tmp_path, cache)
    for name, options in CASES.items():
        for dtype, ours in results[0][name].items():
            assert_same_training(ours, alone(dtype, **options), dtype)
            assert all(found[name][dtype] == ours for found in results)


@pytest.mark.parametrize(
    ("count", "devices"),
    [pytest.param(4, 1, marks=pytest.mark.slow), pytest.param(2, 2, marks=pytest.mark.exhaustive)],
)
def test_shares_of_any_sizes_make_the_batches(count, devices, tmp_path, cache):
    """The tiles of the mesh, strides, sizes that differ from step to step, and the last batch from one process only."""
    results = results_of("shares", count, devices, tmp_path, cache)
    for kind in SHARES:
        theirs = alone("float64", data=shared_stream(kind, np.float64, None, count))
        for found in results:
            assert_same_training(found[kind], theirs, "float64")


@pytest.mark.slow
def test_datasets_of_grain_are_shared(tmp_path, cache):
    pytest.importorskip("grain")
    results = results_of("datasets", 2, 2, tmp_path, cache)
    from_files = fnn.data.from_files(*files(np.float32), window=60)
    twice = from_files.map(lambda rows: (rows[0] * 2, rows[1]))
    expected = {
        "shares": alone("float32", data=dataset(np.float32, None, 2)),
        "mapped": alone("float32", data=twice),
        "few": alone("float32", data=dataset(np.float32, None, 2, 1), patience=None),
    }
    for found in results:
        for name, theirs in expected.items():
            assert_same_training(found[name], theirs, "float32")
        assert "fit: data must be the same in every process" in found["sliced"]


KILLS = [
    pytest.param("stateful", "all", marks=pytest.mark.slow),
    pytest.param("function", "terminate", marks=pytest.mark.slow),
    *(
        pytest.param(kind, event, marks=pytest.mark.exhaustive)
        for kind in ("files", "function", "stateful", "calibrated")
        for event in ("kill", "all", "terminate", "interrupt")
        if (kind, event) not in (("stateful", "all"), ("function", "terminate"))
    ),
]


@pytest.mark.parametrize(("kind", "event"), KILLS)
def test_a_restart_inside_an_epoch_gives_the_same_bits(kind, event, tmp_path, cache):
    """One process, or each, is killed or gets a signal while it reads, inside an epoch."""
    run = lambda word, name: run_streams(
        "resumes", 2, 1, tmp_path / word.replace(" ", "-"), cache, word, checkpoints=tmp_path / name
    )
    ended, whole = run(kind, "whole")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    ended, _ = run(f"{kind} {event}", "checkpoints")
    codes = {"kill": (1, -9), "terminate": (143, 143), "interrupt": (1, 130)}
    if event == "all":
        assert -9 in (ended[0].code, ended[1].code), ended[0].err[-2000:]
        assert 0 not in (ended[0].code, ended[1].code)
    else:
        assert (ended[0].code, ended[1].code) == codes[event], ended[0].err[-2000:]
    assert max(end.after for end in ended) < 30
    if event == "kill":
        assert "LostProcessError: fit: process 0 of 2 has lost another process" in ended[0].err
    per_epoch, paths = -(-SIZE // shared_streams.BATCH), store.list_checkpoints(tmp_path / "checkpoints")
    while int(paths[-1].name[5:]) % per_epoch == 0:  # go on inside an epoch
        shutil.rmtree(paths.pop())
    position = int(paths[-1].name[5:]) % per_epoch
    ended, again = run(f"{kind} resume", "checkpoints")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    for ours, theirs in zip(again, whole, strict=True):
        assert ours["params"] == theirs["params"]
        assert ours["history"] == theirs["history"]
    if kind in ("stateful", "function"):  # after the first batch, which is inspected
        assert again[0]["read"][1] == (position if kind == "stateful" else 0), "what was trained on is not read again"
