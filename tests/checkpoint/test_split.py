"""Checkpoints of trees that are split over the devices of one process, written shard by shard."""

import jax
import numpy as np
import pytest

import fnn
from fnn import sharded_checkpoint
from fnn.checkpoint import store


def test_a_tree_split_over_devices_is_restored_with_another_layout(tmp_path, monkeypatch):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    named = lambda *spec: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    w = np.arange(12, dtype=np.float32).reshape(4, 3)
    tree = {
        "rows": jax.device_put(w, named("data")),
        "half": jax.device_put(w.astype(jax.numpy.bfloat16), named("data")),
        "whole": jax.device_put(w, named()),
        "none": jax.device_put(w[:0], named("data")),
        "host": np.int32(7),
        "key": jax.device_put(jax.random.key(3), named()),
    }
    path = sharded_checkpoint.save(tmp_path, tree, step=5)
    assert sorted(file.name for file in path.iterdir()) == [
        "manifest.json",
        "manifest.sha256",
        "state.orbax",
        "state.safetensors",
    ]
    plain = {name: jax.random.key(0) if name == "key" else np.zeros_like(leaf) for name, leaf in tree.items()}
    for like in (plain, tree, tree | {"rows": jax.device_put(w[::-1].copy(), named(None, None))}):
        restored = sharded_checkpoint.restore(tmp_path, like)
        for name in ("rows", "half", "whole", "none", "host"):
            assert restored[name].dtype == tree[name].dtype
            np.testing.assert_array_equal(restored[name], np.asarray(tree[name]))
        assert restored["key"] == jax.random.key(3)
        assert like is plain or restored["rows"].sharding == like["rows"].sharding
    assert fnn.checkpoint.restore is sharded_checkpoint.restore
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for call in (lambda: sharded_checkpoint.save(tmp_path, tree, step=6), lambda: store.restore(tmp_path, plain)):
        with pytest.raises(ImportError, match=r"needs orbax: pip install 'fnn\[distributed\]'"):
            call()
    assert sharded_checkpoint.save(tmp_path, {"whole": tree["whole"]}, step=7).name == "step-00000007"
    assert int(store.restore(tmp_path, {"whole": w})["whole"][1, 1]) == 4, "a tree without split leaves needs no orbax"
