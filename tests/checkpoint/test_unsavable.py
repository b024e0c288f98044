"""What cannot be saved is refused before the first epoch; a good file is not replaced by one that nothing reads."""

import os
import stat

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import fnn
from fnn.checkpoint import DamagedError, store
from tests.support.checkpoint_files import names
from tests.support.training import NETWORK, bits, fit


def with_leaf(leaf):
    """A network with one more leaf among its parameters."""
    init = lambda key: {"dense": NETWORK.init(key), **leaf}
    forward = lambda params, x, key=None: NETWORK.forward(params["dense"], x, key)

    def backward(params, residuals, dy):
        dparams, dx = NETWORK.backward(params["dense"], residuals, dy)
        return {"dense": dparams, **jax.tree.map(jnp.zeros_like, leaf)}, dx

    return fnn.types.Layer(init, forward, backward, name="odd")


UNSAVABLE = {
    "of a dtype that safetensors can store": {"odd": jnp.zeros(2, ml_dtypes.int4)},
    "two named 'params.a.b'": {"a.b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}},
    "a tree whose leaves have names that safetensors can hold": {"\ud800": jnp.zeros(1)},
}


@pytest.mark.parametrize("says", UNSAVABLE)
@pytest.mark.parametrize("resume", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_cannot_be_saved_is_refused_before_the_first_epoch(says, resume, tmp_path):
    epochs, optimizer = [], fnn.types.GradientTransformation(lambda params: (), lambda g, s, params=None, **_: (g, s))
    with pytest.raises((TypeError, ValueError), match=r"^fit: ") as error:
        fit(
            network=with_leaf(UNSAVABLE[says]),
            optimizer=optimizer,
            checkpoint_dir=tmp_path,
            resume=resume,
            callback=lambda epoch, *_: epochs.append(epoch),
        )
    assert says in str(error.value)
    assert epochs == []
    assert names(tmp_path) == []


def test_numbers_of_numpy_are_saved(tmp_path):
    fit(checkpoint_dir=tmp_path, patience=np.int64(3), epochs=2)
    fit(checkpoint_dir=tmp_path, patience=3, epochs=3, resume=True)


@pytest.mark.parametrize("name", ["__metadata__", "half a pair \udc00"])
def test_a_name_that_no_file_can_hold_is_refused_and_the_file_stays(name, tmp_path):
    path = tmp_path / "params.safetensors"
    fnn.checkpoint.export_params(path, {"w": jnp.ones(2)})
    good = path.read_bytes()
    with pytest.raises(ValueError, match="export_params: params must be a tree whose leaves have names that"):
        fnn.checkpoint.export_params(path, {name: jnp.ones(2)})
    assert path.read_bytes() == good
    with pytest.raises(ValueError, match="save: tree must be a tree whose leaves have names that"):
        store.save(tmp_path / "runs", {name: jnp.ones(2)}, step=0)
    nested = {"a": {name: jnp.ones(2)}} if name == "__metadata__" else {"a": jnp.ones(2)}
    fnn.checkpoint.export_params(path, nested)
    assert bits(fnn.checkpoint.import_params(path, nested)) == bits(nested)


def test_only_regular_files_are_replaced_and_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/null", tmp_path):
        with pytest.raises(ValueError, match="export_params: path must be that of a file"):
            fnn.checkpoint.export_params(path, {"w": jnp.ones(2)})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    for path in (pipe, "/dev/zero", tmp_path):
        with pytest.raises(DamagedError, match="must be a regular file, got a"):
            fnn.checkpoint.import_params(path, {"w": jnp.ones(2)})
    fnn.checkpoint.export_params(tmp_path / "file", {"w": jnp.ones(2)})
    (tmp_path / "link").symlink_to("file")
    assert float(fnn.checkpoint.import_params(tmp_path / "link", {"w": jnp.ones(2)})["w"][0]) == 1.0
