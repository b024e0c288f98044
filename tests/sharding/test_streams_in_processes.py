"""Data larger than the devices in several real processes: they train as one process does, fail together, and resume."""

import shutil

import numpy as np
import pytest

from fnn.checkpoint import store
from tests.support import shared_streams
from tests.support.processes import run_task
from tests.support.shared_streams import SIZE, write_files
from tests.support.streams_over_processes import NAMES, one_of

BOUNDS = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The folder of the compilation cache that the runs share. The data are in files meanwhile."""
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FILES", str(folder))
        yield tmp_path_factory.mktemp("compiled")


@pytest.fixture(autouse=True)
def children_compile_quickly(request, monkeypatch, slow_cases_compile_quickly):
    """Those of slow cases, too."""
    if request.node.get_closest_marker("slow"):
        monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def run_streams(name, count, devices, folder, cache, *word, **options):
    return run_task(name, count, devices, folder, cache, *word, module="streams_over_processes", **options)


def results_of(name, count, devices, tmp_path, cache, *word):
    ended, results = run_streams(name, count, devices, tmp_path, cache, *word)
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


def test_two_processes_train_as_one_does_and_refuse_together(tmp_path, cache):
    results = results_of("two_and_refused", 2, 1, tmp_path, cache)
    theirs = one_of("plain float32", None, None, 1)
    assert len(theirs["history"]["cost"]) == 3
    for found in results:
        assert_same_training(found["files"], theirs, "float32")
    first, second = (found["refused"] for found in results)
    assert second["stops"] == "OSError: the disk is gone"
    assert first["stops"] == "RuntimeError: fit: process 1 of 2 failed: OSError: the disk is gone"
    for name, text in {
        "poisoned": "row 0 of batch 2 of epoch 1",
        "row that is not finite": "row 7",
    }.items():
        text = f"ValueError: fit: data: x must be finite, got NaN or infinity, first in {text}"
        quoted = f"RuntimeError: fit: process {{}} of 2 failed: {text}"
        assert (first[name], second[name]) in ((text, quoted.format(0)), (quoted.format(1), text)), name
    for refused in (first, second):
        assert "fit: data: batch 2 of epoch 1 must be of 30 rows in all processes together" in refused["short"]
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


SLOW = {
    (2, 2): ["calibrated float64", "dataset float64", "from_files, small windows float64"],
    (4, 1): ["plain float64", "skewed float64"],
}


@pytest.mark.parametrize(
    ("count", "devices", "names"),
    [
        *(pytest.param(*key, names, marks=pytest.mark.slow, id=f"{key}") for key, names in SLOW.items()),
        *(pytest.param(*key, NAMES, marks=pytest.mark.exhaustive, id=f"{key}, all") for key in [*SLOW, (3, 1)]),
    ],
)
def test_several_processes_train_as_one_does(count, devices, names, tmp_path, cache):
    """From files, with windows, weights, uneven sizes and batch norm; from shares: the tiles of the mesh, strides,
    sizes that differ from step to step, and the last batch from one process only; and from datasets of Grain.
    """
    if any("dataset" in name for name in names):
        pytest.importorskip("grain")
    results = results_of("several", count, devices, tmp_path, cache, ";".join(names))
    for name in names:
        theirs = one_of(name, None, None, count)
        for found in results:
            assert_same_training(found[name], theirs, name.split()[-1])
            assert found[name] == results[0][name]
            for case, text in found.get("refused", {}).items():
                assert "fit: data must be the same in every process" in text, case


KILLS = [
    pytest.param("stateful", "twice", marks=pytest.mark.slow),
    *(
        pytest.param(kind, event, marks=pytest.mark.exhaustive)
        for kind in ("files", "function", "stateful", "calibrated")
        for event in ("kill", "all", "terminate", "interrupt", "Ctrl-C")
    ),
]
CODES = {"kill": (1, -9), "terminate": (143, 143), "interrupt": (1, 130), "Ctrl-C": (130, 130)}


@pytest.mark.parametrize(("kind", "event"), KILLS)
def test_a_restart_inside_an_epoch_gives_the_same_bits(kind, event, tmp_path, cache):
    """One process, or each, is killed or gets a signal while it reads, inside an epoch."""
    run = lambda name, *word: run_streams(name, 2, 1, tmp_path / name, cache, *word, checkpoints=tmp_path / "saved")
    ended, _ = run("stops", f"{kind} {event}")
    codes = [end.code for end in ended]
    if event in CODES:
        assert tuple(codes) == CODES[event], ended[0].err[-2000:]
    else:
        assert -9 in codes, ended[0].err[-2000:]
        assert 0 not in codes
    assert max(end.after for end in ended) < 30
    if event == "kill":
        assert "LostProcessError: fit: process 0 of 2 has lost another process" in ended[0].err
    if event == "twice":
        assert "fit: stopped by SIGINT after epoch 1, step" in ended[0].err, "of process 1, while it waits"
    per_epoch, paths = -(-SIZE // shared_streams.BATCH), store.list_checkpoints(tmp_path / "saved")
    while int(paths[-1].name[5:]) % per_epoch == 0:  # go on inside an epoch
        shutil.rmtree(paths.pop())
    position = int(paths[-1].name[5:]) % per_epoch
    ended, results = run("resumes", kind)
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    for found in results:
        assert found["again"]["params"] == found["whole"]["params"]
        assert found["again"]["history"] == found["whole"]["history"]
    if kind in ("stateful", "function"):  # after the first batch, which is inspected
        read = results[0]["again"]["read"]
        assert read[1] == (position if kind == "stateful" else 0), "what was trained on is not read again"
