"""Several real processes over loopback: they train as one device does, fail together, and resume."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

import fnn
from fnn.checkpoint import store
from tests.support import over_processes
from tests.support.distributed import NETWORK, SIZE, examples
from tests.support.processes import flip, run, run_task

BOUNDS = {"float32": 1e-5, "float64": 1e-12}
LAST = "step-00000028"


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The folder of the compilation cache that all runs share."""
    return tmp_path_factory.mktemp("compiled")


def close(ours, theirs, bound):
    """Check that leaves are equal to within the bound times the largest entry of each."""
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=0, atol=bound * np.abs(their).max())


@pytest.fixture(scope="module")
def alone():
    """The trajectories on one device."""
    return {name: over_processes.trajectory(None, np.dtype(name).type) for name in BOUNDS}


@pytest.mark.parametrize(("count", "devices"), [(2, 2), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_several_processes_train_as_one_device_does(count, devices, alone, tmp_path, cache):
    ended, results = run_task("trains", count, devices, tmp_path, cache, *["only"] * (count > 2))
    assert [end.code for end in ended] == [0] * count, ended[0].err[-2000:]
    x, y = examples()
    each = -(-SIZE // (count * devices))
    assert all(("tensor" in found) == (count == 2) for found in results)
    for i, found in enumerate(results):
        for name in [name for name in ("float32", "float64", "tensor") if name in found]:
            like = found[name]["dtype"]
            assert like == ("float32" if name == "tensor" else name)
            assert len(found[name]["costs"]) == 21
            close([found[name]["costs"]], [alone[like]["costs"]], BOUNDS[like])
            close(found[name]["params"], alone[like]["params"], BOUNDS[like])
        assert (found["size"], found["shape"]) == (SIZE, [each * count * devices, 8])
        own = np.pad(x, ((0, each * count * devices - SIZE), (0, 0))).reshape(count, devices, each, 8)[i]
        np.testing.assert_array_equal(found["shards"], own, "each device holds its own rows and no others")
    if count > 2:
        return
    params = fnn.init_state(NETWORK, over_processes.OPTIMIZER, jax.random.key(1)).params
    close([results[0]["predicted"] + results[1]["predicted"]], [np.asarray(fnn.predict(NETWORK, params, x))], 1e-5)
    for found in results:
        assert found["evaluated"] == pytest.approx(fnn.evaluate(NETWORK, over_processes.LOSS, params, (x, y)), rel=1e-5)
        assert found["saved"] == {"latest": True, "orbax": True, "same": True}
    check_refusals(*(found["refused"] for found in results))


def check_refusals(first, second):
    """Check the errors that each of two processes raised."""
    assert first["few"] == second["few"]
    assert "rows must be [102, 100] in the processes" in first["few"]
    assert first["few"].endswith("got [101, 101]")
    assert first["kind"].endswith("int32 rows () in process 0; float32 rows (8,), float32 rows () in process 1")
    assert second["nan"].startswith("ValueError: fit: data: x must be finite, got NaN")
    assert "process 1 of 2 failed: ValueError: fit: data: x must be finite" in first["nan"]
    for one in (first, second):
        assert "sharding must be a layout over the devices of all 2 processes, got None" in one["alone"]
        split = ", split_optimizer"
        for name in ("layout", "placed"):
            texts = [f"{text} in process {i}" for i, text in enumerate(one[name].split("got ")[1].split("; "))]
            assert one[name].startswith("ValueError: place: the layout must be the same in every process"), texts
            assert [split in text for text in texts] == [name == "layout", name == "placed"]
        assert one["metrics"].startswith("ValueError: fit: metrics must be the same in every process")
        assert one["evaluated"].startswith("ValueError: evaluate: metrics must be the same in every process")
        assert one["memory"].startswith("ValueError: fit: device_memory must be the same in every process")
        assert one["streamed"].startswith("ValueError: fit: data must be the same in every process")
        assert one["drawn"].startswith("ValueError: init_state: key must be the same in every process")
        assert one["params"].startswith("ValueError: place_params: params must be the same in every process")
        assert one["state"].startswith("ValueError: place_state: state must be the same in every process")
        assert one["sweep"].startswith("ValueError: sweep: mesh must be a mesh of this process's devices")
        assert "evaluate: data: x must be finite, got NaN" in one["unlike"]
        assert one["callback"] == "ValueError: fit: callback must be the same in every process, got ['given', None]"
        assert one["key"] == "ValueError: fit: key must be the same in every process, got [[0, 1], [0, 0]]"
        assert "data: batch 1 of epoch 1 must be of 32 rows in all processes together" in one["stream"]
        assert one["again"] == "nothing was raised"
        assert one["other"].startswith("ValueError: initialize: the arguments must be those of the first call")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    """An uninterrupted training by two processes with four devices each and sharded optimizer state."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    ended, results = run_task("fits", 2, 4, folder / "run", cache, "", checkpoints=folder / "checkpoints")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    assert results[0] == results[1]
    assert results[0]["split"] > 0
    assert "epoch 4/4" in ended[0].out
    assert "epoch" not in ended[1].out, "only process 0 reports"
    return results[0], folder / "checkpoints"


SLOW = [pytest.param(*row, marks=pytest.mark.exhaustive) for row in (("kill-first", 0), ("raise", 1), ("exit", 1))]


@pytest.mark.parametrize(("word", "victim"), [pytest.param("kill", 1, marks=pytest.mark.slow), *SLOW])
def test_when_one_process_dies_the_others_end_and_a_restart_resumes(word, victim, uninterrupted, tmp_path, cache):
    ended, _ = run_task("fits", 2, 4, tmp_path / "first", cache, word, checkpoints=tmp_path / "checkpoints")
    survivor = ended[1 - victim]
    alone = word in ("raise", "exit")
    assert ended[victim].code == (1 if alone else -9)
    assert survivor.code != 0
    assert survivor.after < 30, f"{survivor.after:.1f} s"
    message = "process 1 of 2 failed: ArithmeticError: only here"
    message = message if word == "raise" else "process 1 of 2 failed: SystemExit: the quota is used up"
    assert (message in survivor.err) == alone
    clear = "LostProcessError: fit: process" in survivor.err and "with resume=True" in survivor.err
    assert alone or clear or "another task died" in survivor.err, survivor.err[-2000:]
    names = [path.name for path in store.list_checkpoints(tmp_path / "checkpoints")]
    assert names == ["step-00000010", "step-00000014", "step-00000020"], "the training was not near its end"
    damaged = not alone  # without damage, the restart begins inside an epoch
    if damaged:
        flip(next((tmp_path / "checkpoints" / names[-1] / "state.orbax").rglob("d/*")), random.Random(1))
    ended, results = run_task("fits", 2, 4, tmp_path / "again", cache, "resume", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    assert f"resuming from {tmp_path / 'checkpoints' / names[-1 - damaged]}" in ended[0].out.replace("\n", "")
    if damaged:
        assert f"damaged: {tmp_path / 'checkpoints' / names[-1]}: state.orbax/" in ended[0].err
        assert f"{names[-2]} is used instead" in ended[0].err
        assert (tmp_path / "checkpoints" / f"damaged-{names[-1]}").is_dir()
    assert "damaged" not in ended[1].err, "only process 0 warns"
    for name in ("params", "moments", "cost"):
        assert results[0][name] == uninterrupted[0][name], name


@pytest.mark.exhaustive
def test_when_one_of_four_processes_dies_the_others_end_and_a_restart_resumes(uninterrupted, tmp_path, cache):
    ended, _ = run_task("fits", 4, 1, tmp_path / "run", cache, "kill", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [1, 1, 1, -9]
    for i, end in enumerate(ended[:3]):
        assert end.after < 30, f"{end.after:.1f} s"
        assert f"LostProcessError: fit: process {i} of 4 has lost another process" in end.err
    ended, results = run_task("fits", 4, 1, tmp_path / "again", cache, "resume", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [0] * 4, ended[0].err[-2000:]
    np.testing.assert_allclose(results[0]["cost"], uninterrupted[0]["cost"], rtol=1e-5)


def test_a_process_lost_before_an_evaluation_is_reported(tmp_path, cache):
    first, second = run_task("loses", 2, 1, tmp_path, cache)[0]
    assert (first.code, second.code) == (1, -9), first.err[-2000:]
    assert first.after < 30
    assert "LostProcessError: evaluate: process 0 of 2 has lost another process" in first.err


@pytest.mark.slow
def test_a_process_may_have_no_rows(tmp_path, cache):
    """Four processes hold two, two, one and none of five rows, and only one holds the single validation row."""
    ended, results = run_task("few_rows", 4, 1, tmp_path, cache)
    assert [end.code for end in ended] == [0] * 4, ended[-1].err[-2000:]
    alone = over_processes.few_rows(tmp_path, "alone")
    assert [found["rows"] for found in results] == [2, 2, 1, 0]
    for found in results:
        close(found["params"], alone["params"], 1e-5)
        close(found["history"], alone["history"], 1e-5)
        assert found["evaluated"] == pytest.approx(alone["evaluated"], rel=1e-5)
        assert "of at least one row in all processes, got none" in found["none"]
    predicted = [row for found in results for row in found["predicted"]]
    close([predicted], [alone["predicted"]], 1e-5)


@pytest.mark.exhaustive
def test_a_process_that_reads_its_rows_slowly_is_waited_for(tmp_path, cache):
    ended, (first, second) = run_task("reads_slowly", 2, 1, tmp_path, cache)
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    assert first == second


@pytest.mark.exhaustive
def test_when_one_process_dies_even_those_that_do_not_wait_for_it_end(tmp_path, cache):
    first, second = run_task("sleeps", 2, 1, tmp_path, cache)[0]
    assert (first.code, second.code) == (-6, -9)
    assert 5 < first.after < 30, f"{first.after:.1f} s"
    assert "another task died" in first.err


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_restored_and_resumed_on_other_devices(uninterrupted, tmp_path, cache):
    results, folder = uninterrupted
    like = fnn.init_state(NETWORK, over_processes.ADAM, jax.random.key(9))
    back = store.restore(folder, like)
    assert over_processes.to_lists(back.params) == results["params"]
    assert over_processes.to_lists(back.opt_state) == results["moments"]
    assert int(back.step) == 28
    assert np.array_equal(jax.random.key_data(back.key), jax.random.key_data(jax.random.key(1)))
    shutil.copytree(folder, tmp_path / "checkpoints", ignore=shutil.ignore_patterns(LAST))
    before = store.restore(tmp_path / "checkpoints", like)
    ended, (eight,) = run_task(
        "restores_and_resumes", 1, 8, tmp_path / "run", cache, checkpoints=tmp_path / "checkpoints"
    )
    assert ended[0].code == 0, ended[0].err[-2000:]
    params = over_processes.to_lists(before.params)
    assert eight["restored"] == {"params": params, "split": results["split"], "step": 20, "placed": True}
    assert "resuming from" in ended[0].out
    close(eight["trained"]["params"], results["params"], 1e-5)


@pytest.mark.slow
def test_damage_to_any_file_is_named_and_the_previous_checkpoint_is_used(uninterrupted, tmp_path):
    like = fnn.init_state(NETWORK, over_processes.ADAM, jax.random.key(9))
    newest = tmp_path / LAST
    good = uninterrupted[1] / LAST
    names = sorted(str(path.relative_to(good)) for path in good.rglob("*") if path.is_file())
    orbax = [name for name in names if "/" in name]
    assert len(orbax) >= 5
    assert any(name.startswith("state.orbax/ocdbt.process_1/") for name in orbax), "each process wrote its own shards"
    before = store.list_checkpoints(uninterrupted[1])[-2]
    shutil.copytree(before, tmp_path / before.name)
    draw = random.Random(0)
    for name in names:
        shutil.copytree(good, newest)
        flip(newest / name, draw)
        with pytest.warns(store.CheckpointWarning, match=f"{LAST}.*{before.name} is used instead") as warned:
            loaded, damaged = store.newest(tmp_path)
        assert (loaded.path.name, [path.name for path in damaged]) == (before.name, [LAST])
        assert name in str(warned[0].message) or name == "manifest.sha256"
        shutil.rmtree(newest)
    assert int(store.restore(tmp_path, like).step) == int(before.name[-8:])


@pytest.mark.slow
def test_digits_in_two_processes_is_digits_in_one(tmp_path, cache):
    command = ["-m", "experiments", "digits", "--epochs", "4", "--hidden", "64", "--results"]
    run([*command, str(tmp_path / "one")], 1, tmp_path / "run", cache)
    (first, second) = run([*command, str(tmp_path / "two"), "--distributed"], 2, tmp_path / "runs", cache)
    assert (first.code, second.code) == (0, 0), first.err[-2000:]
    assert "saved:" in first.out
    assert all(line.startswith("[Gloo]") for line in second.out.splitlines()), "only process 0 prints"
    one, two = (json.loads((tmp_path / name / "digits" / "run.json").read_text()) for name in ("one", "two"))
    assert two["processes"] == 2
    for name, row in one["results"].items():
        assert two["results"][name]["accuracy"] == row["accuracy"]
        assert two["results"][name]["cost"] == pytest.approx(row["cost"], rel=1e-4)
