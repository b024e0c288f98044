"""Checkpoints and parameter files: restoring returns what was saved, or an error says what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fnn
from fnn.checkpoint import DamagedError, LockedError, store
from tests.support.devices import two_devices
from tests.support.oracles import normal
from tests.support.training import NETWORK, OPTIMIZER, bits, fit

STATE = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(3))
DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 float16 bfloat16 float32 float8_e4m3fn float8_e5m2 complex64"


def tree_of_every_kind() -> dict:
    """Return a tree with leaves of every dtype and of unusual shapes and memory layouts."""
    tree = {name: jnp.asarray(normal(1, (3, 2))).astype(name) for name in DTYPES.split()}
    tree |= {"scalar": jnp.float32(3), "empty": jnp.zeros((0, 4)), "none": None, "nothing": ()}
    tree |= {"transposed": normal(2, (4, 3)).T, "strided": normal(3, (9,))[::2], "nan": np.array([np.nan, -0.0], "f4")}
    tree |= {"key": jax.random.key(5), "keys": jax.random.split(jax.random.key(6, impl="rbg"), 3)}
    return tree | {"raw key": jax.random.PRNGKey(7), "nested": [(jnp.ones(1), {"a b": jnp.zeros(1)})]}


@pytest.mark.accelerator
def test_every_kind_of_leaf_is_restored(tmp_path):
    tree = tree_of_every_kind()
    path = store.save(tmp_path, tree, step=12)
    assert path == tmp_path / "step-00000012" == store.latest(tmp_path)
    for like in (tree, jax.eval_shape(lambda: tree)):
        for where in (path, tmp_path, str(tmp_path)):
            back = store.restore(where, like)
            assert jax.tree.structure(back) == jax.tree.structure(tree)
            assert bits(back) == bits(tree)
            assert [a.dtype for a in jax.tree.leaves(back)] == [a.dtype for a in jax.tree.leaves(tree)]
    draw = jax.random.normal(store.restore(path, tree)["keys"][1], (4,))
    np.testing.assert_array_equal(draw, jax.random.normal(tree["keys"][1], (4,)))


@pytest.mark.accelerator
def test_float64_is_restored_as_float64_or_refused(tmp_path, x64):
    tree = {"x": jnp.ones(2, "float64"), "n": jnp.ones(2, "int64"), "u": jnp.ones(2, "uint64")}
    store.save(tmp_path, tree, step=0)
    assert store.restore(tmp_path, tree)["x"].dtype == "float64"
    with jax.enable_x64(False), pytest.raises(ValueError, match="needs jax_enable_x64"):
        store.restore(tmp_path, jax.tree.map(np.asarray, tree))


@pytest.mark.accelerator
def test_split_leaves_are_restored_with_their_sharding(tmp_path):
    mesh = jax.make_mesh((2,), ("d",), devices=two_devices(), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    tree = {"w": jax.device_put(normal(0, (4, 3)), sharding), "b": jnp.zeros(3)}
    store.save(tmp_path, tree, step=0)
    back = store.restore(tmp_path, tree)
    assert back["w"].sharding == sharding
    assert bits(back) == bits(tree)


@pytest.mark.slow
def test_the_state_that_fit_saved_is_restored_like_any_other(tmp_path):
    result = fit(checkpoint_dir=tmp_path, epochs=2, patience=None)
    state = store.restore(tmp_path, jax.eval_shape(lambda: STATE))
    assert bits(state) == bits(result.state)
    assert isinstance(state, fnn.TrainState)
    epoch = fnn.make_epoch(fnn.make_step(NETWORK, fnn.softmax_cross_entropy, OPTIMIZER), 16)
    assert int(epoch(state, (normal(0, (20, 4)), np.zeros(20, "int32")))[0].step) == 12


def test_the_files_of_a_checkpoint_are_those_documented(tmp_path):
    path = store.save(tmp_path, STATE)
    assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "manifest.sha256", "state.safetensors"]
    assert load_file(path / "state.safetensors")["params.0.w"].shape == (4, 8)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["trees"]["state.safetensors"]["opt_state.v.3.b"] == ["float32", [2]]
    assert manifest["versions"]["jax"] == jax.__version__
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "manifest.sha256"], cwd=path, check=True, capture_output=True)


BAD_TREES = {
    "of a dtype that safetensors can store": {"x": np.zeros(2, "complex128")},
    "the leaf 'x' of tree must be of a dtype": {"x": np.zeros(2, ml_dtypes.int4)},
    "the leaf 'x' of tree must be an array, got float 0.5": {"x": 0.5},
    "two named 'a.b'": {"a.b": np.zeros(1), "a": {"b": np.zeros(1)}},
}


@pytest.mark.parametrize("says", BAD_TREES)
def test_a_tree_that_cannot_be_saved_is_refused(says, tmp_path):
    with pytest.raises((TypeError, ValueError), match="save: ") as error:
        store.save(tmp_path, BAD_TREES[says], step=0)
    assert says in str(error.value)
    assert store.latest(tmp_path) is None


LIKES = {  # words of the error -> a `like` that differs from STATE
    "0.w' of like must be float32 of shape (4, 8)": STATE._replace(
        params=fnn.mlp([5, 8, 2], fnn.tanh).init(jax.random.key(0))[:2] + STATE.params[2:]
    ),
    "1 unknown leaf (params.0.extra)": STATE._replace(
        params=({**STATE.params[0]._asdict(), "extra": jnp.zeros(1)}, *STATE.params[1:])
    ),
    "2 missing leaves (params.3.w, params.3.b)": STATE._replace(params=STATE.params[:3]),
    "opt_state.m.0.w": fnn.init_state(NETWORK, fnn.adam(0.1), jax.random.key(0)),
    "'step' of like must be int32": STATE._replace(step=jnp.float32(0)),
    "'key' of like must be key<fry>": STATE._replace(key=jax.random.key(0, impl="rbg")),
    "bfloat16": STATE._replace(params=jax.tree.map(lambda a: a.astype("bfloat16"), STATE.params)),
}


@pytest.mark.parametrize("says", LIKES)
def test_a_different_tree_is_refused_by_the_name_of_its_leaf(says, tmp_path):
    store.save(tmp_path, STATE)
    with pytest.raises(ValueError, match=r"restore: .*like must be ") as error:
        store.restore(tmp_path, LIKES[says])
    assert says in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_bad_calls(tmp_path):
    with pytest.raises(ValueError, match="save: step must be given"):
        store.save(tmp_path, {"x": jnp.ones(1)})
    for step in (-1, 1.5, True):
        with pytest.raises(ValueError, match="save: step must be an integer of at least 0"):
            store.save(tmp_path, {"x": jnp.ones(1)}, step=step)
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(FileNotFoundError, match="restore: there is no"):
            store.restore(path, STATE)
    assert store.latest(tmp_path / "missing") is None


def test_the_newest_checkpoint_has_the_highest_step(tmp_path):
    for step in (99_999_999, 100_000_000, 5, 123_456_789_012):
        store.save(tmp_path, {"x": jnp.float32(step % 1000)}, step=step)
    assert store.latest(tmp_path).name == "step-123456789012"
    assert [path.name for path in store.list_checkpoints(tmp_path)][:2] == ["step-00000005", "step-99999999"]
    store.save(tmp_path, {"x": jnp.float32(-1)}, step=123_456_789_012)
    store.save(tmp_path, {"x": jnp.float32(-2)}, step=123_456_789_012)
    assert float(store.restore(tmp_path, {"x": jnp.float32(0)})["x"]) == -2
    assert len(store.list_checkpoints(tmp_path)) == 4


def test_one_writer_at_a_time(tmp_path):
    tmp_path = tmp_path / "runs"
    with store.open_folder(tmp_path):
        with pytest.raises(LockedError, match=rf"{tmp_path} is in use: process {os.getpid()} .*this process"):
            fit(checkpoint_dir=tmp_path)
        script = "import sys, numpy, fnn; fnn.checkpoint.save(sys.argv[1], {'x': numpy.zeros(1)}, step=0)"
        command = [sys.executable, "-c", script, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == 1
        assert f"LockedError: {tmp_path} is in use: process {os.getpid()} is writing" in done.stderr
        assert store.list_checkpoints(tmp_path) == []
    assert store.save(tmp_path, STATE).exists()


def test_only_temporaries_of_fnn_are_removed(tmp_path):
    temporary = tmp_path / f".tmp-123-{'0f' * 8}-step-00000003"
    others = [tmp_path / name for name in (".tmp-notes", "notes.txt", ".tmp-1-abc-x", "step-3")]
    temporary.mkdir()
    (temporary / "state.safetensors").write_bytes(b"half")
    for path in others:
        path.write_text("keep me")
    store.save(tmp_path, STATE)
    assert not temporary.exists()
    assert [path.read_text() for path in others] == ["keep me"] * 4


@pytest.mark.accelerator
def test_parameters_are_exchanged_with_other_tools(tmp_path):
    path = tmp_path / "params.safetensors"
    params = {"layers": list(STATE.params), "scale": jnp.ones(2, "bfloat16")}
    fnn.checkpoint.export_params(path, params)
    assert bits(fnn.checkpoint.import_params(path, params)) == bits(params)
    torch = pytest.importorskip("safetensors.torch")
    assert torch.load_file(path)["layers.0.w"].shape == (4, 8)
    theirs = {"w": normal(0, (3, 2)), "b": np.zeros(2, "float32")}
    save_file(theirs, tmp_path / "theirs.safetensors", {"format": "pt"})
    got = fnn.checkpoint.import_params(tmp_path / "theirs.safetensors", fnn.dense(3, 2).init(jax.random.key(0)))
    np.testing.assert_array_equal(got.w, theirs["w"])
    with pytest.raises(ValueError, match=r"leaf 'w' of like must be float32 of shape \(3, 2\)"):
        fnn.checkpoint.import_params(tmp_path / "theirs.safetensors", fnn.dense(4, 2).init(jax.random.key(0)))
    with pytest.raises(ValueError, match="1 unknown leaf"):
        fnn.checkpoint.import_params(tmp_path / "theirs.safetensors", theirs | {"c": jnp.ones(1)})
    with pytest.raises(TypeError, match="an array of numbers"):
        fnn.checkpoint.export_params(path, {"k": jax.random.key(0)})
    with pytest.raises(FileNotFoundError):
        fnn.checkpoint.import_params(tmp_path / "none.safetensors", params)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DamagedError, match="text is not a readable safetensors file"):
        fnn.checkpoint.import_params(tmp_path / "text", params)
