"""Several real processes over loopback: they train as one device does, fail together, and go on from checkpoints."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

import fnn
from fnn.checkpoint import split, store
from tests.support import over_processes
from tests.support.distributed import NETWORK, SIZE, examples
from tests.support.processes import asked, flip, run

BOUNDS = {"float32": 1e-5, "float64": 1e-12}
LAST = "step-00000028"


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where what one of the runs compiled is kept for the next."""
    return tmp_path_factory.mktemp("compiled")


def close(ours, theirs, bound):
    """Equal to within the bound of the largest entry, leaf by leaf."""
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=0, atol=bound * np.abs(their).max())


@pytest.fixture(scope="module")
def alone():
    """The trajectories of one device."""
    return {name: over_processes.trajectory(None, np.dtype(name).type) for name in BOUNDS}


@pytest.mark.parametrize(("count", "devices"), [(2, 2), (4, 1)])
def test_they_train_as_one_device_does(count, devices, alone, tmp_path, cache):
    ended, said = asked("trains", count, devices, tmp_path, cache, *["only"] * (count > 2))
    assert [end.code for end in ended] == [0] * count, ended[0].err[-2000:]
    x, y = examples()
    each = -(-SIZE // (count * devices))
    assert all(("tensor" in found) == (count == 2) for found in said)
    for i, found in enumerate(said):
        for name in [name for name in ("float32", "float64", "tensor") if name in found]:
            like = found[name]["dtype"]
            assert like == ("float32" if name == "tensor" else name)
            assert len(found[name]["costs"]) == 21
            close([found[name]["costs"]], [alone[like]["costs"]], BOUNDS[like])
            close(found[name]["params"], alone[like]["params"], BOUNDS[like])
        assert (found["size"], found["shape"]) == (SIZE, [each * count * devices, 8])
        own = np.pad(x, ((0, each * count * devices - SIZE), (0, 0))).reshape(count, devices, each, 8)[i]
        np.testing.assert_array_equal(found["shards"], own, "each device has its rows and no others")
    if count > 2:
        return
    params = fnn.init_state(NETWORK, over_processes.OPTIMIZER, jax.random.key(1)).params
    close([said[0]["predicted"] + said[1]["predicted"]], [np.asarray(fnn.predict(NETWORK, params, x))], 1e-5)
    for found in said:
        assert found["evaluated"] == pytest.approx(fnn.evaluate(NETWORK, over_processes.LOSS, params, (x, y)), rel=1e-5)
    check_refusals(*(found["refused"] for found in said))


def check_refusals(first, second):
    """What each of two processes was told."""
    assert first["few"] == second["few"]
    assert "rows must be [102, 100] in the processes" in first["few"]
    assert first["few"].endswith("got [101, 101]")
    assert first["kind"].endswith("int32 rows () in process 0; float32 rows (8,), float32 rows () in process 1")
    assert second["nan"].startswith("ValueError: fit: data: x must be finite, got NaN")
    assert "process 1 of 2 failed: ValueError: fit: data: x must be finite" in first["nan"]
    for one in (first, second):
        assert "sharding must be a layout over the devices of all 2 processes, got None" in one["alone"]
        split = ", the optimizer's state split"
        for name in ("layout", "placed"):
            there = [f"{text} in process {i}" for i, text in enumerate(one[name].split("got ")[1].split("; "))]
            assert one[name].startswith("ValueError: place: the layout must be the same in every process"), there
            assert [split in text for text in there] == [name == "layout", name == "placed"]
        assert one["metrics"].startswith("ValueError: fit: metrics must be the same in every process")
        assert one["evaluated"].startswith("ValueError: evaluate: metrics must be the same in every process")
        assert one["memory"].startswith("ValueError: fit: device_memory must be the same in every process")
        assert "fit: data must be arrays for the devices, where there are several processes" in one["streamed"]
        assert one["drawn"].startswith("ValueError: init_state: key must be the same in every process")
        assert one["params"].startswith("ValueError: place_params: params must be the same in every process")
        assert one["state"].startswith("ValueError: place_state: state must be the same in every process")
        assert one["sweep"].startswith("ValueError: sweep: mesh must be one of this process's devices")
        assert "evaluate: data: x must be finite, got NaN" in one["unlike"]
        assert one["callback"] == "ValueError: fit: callback must be the same in every process, got ['given', None]"
        assert one["key"] == "ValueError: fit: key must be the same in every process, got [[0, 1], [0, 0]]"
        assert "got a stream" in one["stream"]
        assert one["again"] == "nothing was raised"
        assert one["other"].startswith("ValueError: initialize: the arguments must be those of the first call")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    """A training by two processes with four devices each, its optimizer's state split, and its checkpoints."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended, said = asked("fits", 2, 4, folder / "run", cache, "", checkpoints=folder / "checkpoints")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    assert said[0] == said[1]
    assert said[0]["split"] > 0
    assert "epoch 4/4" in ended[0].out
    assert "epoch" not in ended[1].out, "process 0 alone reports"
    return said[0], folder / "checkpoints"


ALSO = [pytest.param(*row, marks=pytest.mark.slow) for row in (("kill-first", 0), ("raise", 1), ("exit", 1))]


@pytest.mark.parametrize(("word", "victim"), [("kill", 1), *ALSO])
def test_one_that_dies_ends_the_others_and_a_restart_goes_on(word, victim, undisturbed, tmp_path, cache):
    ended, _ = asked("fits", 2, 4, tmp_path / "first", cache, word, checkpoints=tmp_path / "checkpoints")
    survivor = ended[1 - victim]
    alone = word in ("raise", "exit")
    assert ended[victim].code == (1 if alone else -9)
    assert survivor.code != 0
    assert survivor.after < 30, f"{survivor.after:.1f} s"
    said = "process 1 of 2 failed: ArithmeticError: only here"
    said = said if word == "raise" else "process 1 of 2 failed: SystemExit: the quota is used up"
    assert (said in survivor.err) == alone
    clear = "LostProcessError: fit: process" in survivor.err and "with resume=True" in survivor.err
    assert alone or clear or "another task died" in survivor.err, survivor.err[-2000:]
    names = [path.name for path in store.listed(tmp_path / "checkpoints")]
    assert names == ["step-00000010", "step-00000014", "step-00000020"], "it was far from its end"
    damaged = not alone  # where it is not, the restart begins inside an epoch
    if damaged:
        flip(next((tmp_path / "checkpoints" / names[-1] / "state.orbax").rglob("d/*")), random.Random(1))
    ended, said = asked("fits", 2, 4, tmp_path / "again", cache, "resume", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    assert f"going on from {tmp_path / 'checkpoints' / names[-1 - damaged]}" in ended[0].out.replace("\n", "")
    if damaged:
        assert f"damaged: {tmp_path / 'checkpoints' / names[-1]}: state.orbax/" in ended[0].err
        assert f"{names[-2]} is used instead" in ended[0].err
        assert (tmp_path / "checkpoints" / f"damaged-{names[-1]}").is_dir()
    assert "damaged" not in ended[1].err, "process 0 alone warns"
    for name in ("params", "moments", "cost"):
        assert said[0][name] == undisturbed[0][name], name


@pytest.mark.slow
def test_one_of_four_that_dies_ends_the_others_and_a_restart_goes_on(undisturbed, tmp_path, cache):
    ended, _ = asked("fits", 4, 1, tmp_path / "run", cache, "kill", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [1, 1, 1, -9]
    for i, end in enumerate(ended[:3]):
        assert end.after < 30, f"{end.after:.1f} s"
        assert f"LostProcessError: fit: process {i} of 4 has lost another one" in end.err
    ended, said = asked("fits", 4, 1, tmp_path / "again", cache, "resume", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [0] * 4, ended[0].err[-2000:]
    np.testing.assert_allclose(said[0]["cost"], undisturbed[0]["cost"], rtol=1e-5)


def test_one_that_dies_before_an_evaluation_is_named(tmp_path, cache):
    first, second = asked("loses", 2, 1, tmp_path, cache)[0]
    assert (first.code, second.code) == (1, -9), first.err[-2000:]
    assert first.after < 30
    assert "LostProcessError: evaluate: process 0 of 2 has lost another one" in first.err


def test_a_process_may_have_no_rows(tmp_path, cache):
    """Five over four processes are two, two, one and none; of one row for validation three have none."""
    ended, said = asked("few", 4, 1, tmp_path, cache)
    assert [end.code for end in ended] == [0] * 4, ended[-1].err[-2000:]
    alone = over_processes.few(tmp_path, "alone")
    assert [found["rows"] for found in said] == [2, 2, 1, 0]
    for found in said:
        close(found["params"], alone["params"], 1e-5)
        close(found["history"], alone["history"], 1e-5)
        assert found["evaluated"] == pytest.approx(alone["evaluated"], rel=1e-5)
        assert "of at least one row in all processes, got none" in found["none"]
    predicted = [row for found in said for row in found["predicted"]]
    close([predicted], [alone["predicted"]], 1e-5)


@pytest.mark.slow
def test_one_that_is_long_at_its_rows_is_waited_for(tmp_path, cache):
    ended, (first, second) = asked("late", 2, 1, tmp_path, cache)
    assert [end.code for end in ended] == [0, 0], ended[0].err[-2000:]
    assert first == second


@pytest.mark.slow
def test_one_that_dies_ends_even_those_that_do_not_wait_for_it(tmp_path, cache):
    first, second = asked("sleeps", 2, 1, tmp_path, cache)[0]
    assert (first.code, second.code) == (-6, -9)
    assert 5 < first.after < 30, f"{first.after:.1f} s"
    assert "another task died" in first.err


def test_a_signal_to_one_stops_all_after_the_same_step(tmp_path, cache):
    ended, _ = asked("fits", 2, 4, tmp_path / "run", cache, "terminate", checkpoints=tmp_path / "checkpoints")
    assert [end.code for end in ended] == [143, 143], ended[0].err[-2000:]
    assert "stopped by SIGTERM after epoch 3, step 21" in ended[0].err
    assert "stopped by" not in ended[1].err
    assert store.listed(tmp_path / "checkpoints")[-1].name == "step-00000021"


def test_what_two_wrote_is_read_on_one_device_and_on_eight_and_gone_on_with(undisturbed, tmp_path, cache):
    said, folder = undisturbed
    like = fnn.init_state(NETWORK, over_processes.ADAM, jax.random.key(9))
    back = store.restore(folder, like)
    assert over_processes.listed(back.params) == said["params"]
    assert over_processes.listed(back.opt_state) == said["moments"]
    assert int(back.step) == 28
    assert np.array_equal(jax.random.key_data(back.key), jax.random.key_data(jax.random.key(1)))
    shutil.copytree(folder, tmp_path / "checkpoints", ignore=shutil.ignore_patterns(LAST))
    before = store.restore(tmp_path / "checkpoints", like)
    ended, (eight,) = asked("goes_on", 1, 8, tmp_path / "run", cache, checkpoints=tmp_path / "checkpoints")
    assert ended[0].code == 0, ended[0].err[-2000:]
    params = over_processes.listed(before.params)
    assert eight["restored"] == {"params": params, "split": said["split"], "step": 20, "placed": True}
    assert "going on from" in ended[0].out
    close(eight["trained"]["params"], said["params"], 1e-5)


def test_damage_to_any_file_is_named_and_the_one_before_is_used(undisturbed, tmp_path):
    like = fnn.init_state(NETWORK, over_processes.ADAM, jax.random.key(9))
    newest = tmp_path / LAST
    good = undisturbed[1] / LAST
    names = sorted(str(path.relative_to(good)) for path in good.rglob("*") if path.is_file())
    orbax = [name for name in names if "/" in name]
    assert len(orbax) >= 5
    assert any(name.startswith("state.orbax/ocdbt.process_1/") for name in orbax), "each wrote its own part"
    before = store.listed(undisturbed[1])[-2]
    shutil.copytree(before, tmp_path / before.name)
    draw = random.Random(0)
    for name in names:
        shutil.copytree(good, newest)
        flip(newest / name, draw)
        with pytest.warns(store.CheckpointWarning, match=f"{LAST}.*{before.name} is used instead") as told:
            loaded, damaged = split.newest(tmp_path)
        assert (loaded.path.name, [path.name for path in damaged]) == (before.name, [LAST])
        assert name in str(told[0].message) or name == "manifest.sha256"
        shutil.rmtree(newest)
    assert int(store.restore(tmp_path, like).step) == int(before.name[-8:])


def test_digits_in_two_processes_is_digits_in_one(tmp_path, cache):
    command = ["-m", "experiments", "digits", "--epochs", "4", "--hidden", "64", "--results"]
    run([*command, str(tmp_path / "one")], 1, tmp_path / "run", cache)
    (first, second) = run([*command, str(tmp_path / "two"), "--distributed"], 2, tmp_path / "runs", cache)
    assert (first.code, second.code) == (0, 0), first.err[-2000:]
    assert "saved:" in first.out
    assert all(line.startswith("[Gloo]") for line in second.out.splitlines()), "process 0 alone speaks"
    one, two = (json.loads((tmp_path / name / "digits" / "run.json").read_text()) for name in ("one", "two"))
    assert two["processes"] == 2
    for name, row in one["results"].items():
        assert two["results"][name]["accuracy"] == row["accuracy"]
        assert two["results"][name]["cost"] == pytest.approx(row["cost"], rel=1e-4)
