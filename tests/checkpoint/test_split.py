"""Checkpoints of trees that are split over the devices of one process."""

import jax
import numpy as np
import pytest

from fnn.checkpoint import split, store


def test_a_tree_split_over_devices_goes_from_one_layout_to_another(tmp_path, monkeypatch):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    at = lambda *spec: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
    w = np.arange(12, dtype=np.float32).reshape(4, 3)
    tree = {
        "rows": jax.device_put(w, at("data")),
        "half": jax.device_put(w.astype(jax.numpy.bfloat16), at("data")),
        "whole": jax.device_put(w, at()),
        "none": jax.device_put(w[:0], at("data")),
        "host": np.int32(7),
        "key": jax.device_put(jax.random.key(3), at()),
    }
    path = split.save(tmp_path, tree, step=5)
    assert sorted(file.name for file in path.iterdir()) == [
        "manifest.json",
        "manifest.sha256",
        "state.orbax",
        "state.safetensors",
    ]
    plain = {name: jax.random.key(0) if name == "key" else np.zeros_like(leaf) for name, leaf in tree.items()}
    for restore in (split.restore, store.restore):
        for like in (plain, tree, tree | {"rows": jax.device_put(w[::-1].copy(), at(None, None))}):
            back = restore(tmp_path, like)
            for name in ("rows", "half", "whole", "none", "host"):
                assert back[name].dtype == tree[name].dtype
                np.testing.assert_array_equal(back[name], np.asarray(tree[name]))
            assert back["key"] == jax.random.key(3)
            assert like is plain or back["rows"].sharding == like["rows"].sharding
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for call in (lambda: split.save(tmp_path, tree, step=6), lambda: store.restore(tmp_path, plain)):
        with pytest.raises(ImportError, match=r"needs orbax: pip install 'fnn\[distributed\]'"):
            call()
    assert split.save(tmp_path, {"whole": tree["whole"]}, step=7).name == "step-00000007"
    assert int(store.restore(tmp_path, {"whole": w})["whole"][1, 1]) == 4, "what nothing splits needs no orbax"
