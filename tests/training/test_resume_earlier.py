"""Resuming from a checkpoint of fnn 0.1.0, whose fingerprint describes functions by modules and private names.

`checkpoint_0_1_0` holds the checkpoint after 3 of the 6 epochs of `train`, written by that version.
"""

import json
import shutil
import warnings
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import fnn
from fnn.checkpoint import store
from fnn.training.compatibility import find_differences
from fnn.training.epoch import Program
from fnn.training.fingerprint import training_fingerprint

SAVED = Path(__file__).parent / "checkpoint_0_1_0"
INDEX = np.arange(37 * 4, dtype=np.float32)
X, Y = (INDEX * INDEX % 17 / 8 - 1).reshape(37, 4), np.arange(37) % 3  # exact in float32
HELD_OUT = X[:11], Y[:11]
NETWORK, LOSS, OPTIMIZER = fnn.mlp([4, 3]), fnn.softmax_cross_entropy, fnn.momentum(0.5, 0.75)


def train(network=NETWORK, loss=LOSS, optimizer=OPTIMIZER, data=(X, Y), **options):
    options = {
        "epochs": 6,
        "batch_size": 8,
        "key": jax.random.key(0),
        "l2": 0.01,
        "validation": HELD_OUT,
        "patience": 4,
        "progress": False,
    } | options
    return fnn.fit(network, loss, optimizer, data, **options)


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(SAVED, tmp_path / "checkpoints"))


def test_a_checkpoint_of_version_0_1_0_resumes_with_a_warning(folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed = train(checkpoint_dir=folder, resume=True)
    messages = [str(warning.message) for warning in caught if warning.category is store.CheckpointWarning]
    assert any("earlier version of fnn" in message and "cannot be compared" in message for message in messages)
    assert all("earlier version" in message or "other versions" in message for message in messages)
    whole = train()
    assert len(whole.history["cost"]) == 6
    for name in ("cost", "validation_cost"):
        np.testing.assert_allclose(resumed.history[name], whole.history[name], rtol=1e-5)
    assert set(resumed.history) == set(whole.history)
    assert int(resumed.state.step) == int(whole.state.step)
    for one, other in zip(
        jax.tree.leaves((resumed.state.params, resumed.state.opt_state)),
        jax.tree.leaves((whole.state.params, whole.state.opt_state)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    newest = store.latest(folder)
    assert newest is not None
    assert json.loads((newest / "manifest.json").read_text())["configuration"]["identity"] == 2


CHANGES = {  # what differs from the training that was saved, and how the error names it
    "optimizer was fnn.optimizers.momentum.<locals>.update(beta=0.75, learning_rate=0.5), is momentum(": {
        "optimizer": fnn.momentum(0.25, 0.75)
    },
    "is momentum(beta=0.5": {"optimizer": fnn.momentum(0.5, 0.5)},
    "is heavy_ball": {"optimizer": fnn.heavy_ball(0.5, 0.75)},
    "data was": {"data": (X + 1, Y)},
    "network was serial(dense(4, 3))": {"network": fnn.serial(fnn.dense(4, 3), fnn.identity)},
    "is another": {"loss": LOSS._replace(name="another")},
    "metrics was": {"metrics": {"right": fnn.accuracy}},
    "batch_size was 8, is 9": {"batch_size": 9},
    "l2 was 0.01, is 0.02": {"l2": 0.02},
    "is_weight was is_weight": {"is_weight": lambda path, leaf: True},
    "patience was 4, is 5": {"patience": 5},
    "micro_batch_size was None, is 4": {"micro_batch_size": 4},
    "validation was": {"validation": (X[:12], Y[:12])},
    "key was": {"key": jax.random.key(1)},
}
SLOW = [pytest.param(says, marks=pytest.mark.slow) for says in list(CHANGES)[5:]]


@pytest.mark.parametrize("says", [*list(CHANGES)[:5], *SLOW])
def test_what_differs_is_refused(says, folder):
    with pytest.raises(ValueError, match=r"fnn.checkpoint.restore\('.*step-00000015', like\)") as error:
        train(checkpoint_dir=folder, resume=True, **CHANGES[says])
    assert says in str(error.value)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["step-00000015"]


def saved(**changes):
    """The saved fingerprint, with changes."""
    return json.loads((SAVED / "step-00000015" / "manifest.json").read_text())["configuration"] | changes


def fingerprint(optimizer=OPTIMIZER, l2=0.01, **changes):
    program = Program(NETWORK, LOSS, optimizer, l2, LOSS.metrics, 8, 4, **changes)
    data = tuple(map(jax.numpy.asarray, (X, Y)))
    return training_fingerprint(program, jax.random.key(0), data, (data[0][:11], data[1][:11]))


ADAM = "fnn.optimizers.adam.<locals>.update(beta1=0.9, beta2=0.999, epsilon=1e-08, learning_rate=0.001)"
CHAIN = "optax.transforms._combining.chain.<locals>.update_fn(update_fns=tuple(optax._src.base… #0123456789ab"
CUT = "fnn.optimizers.sgd.<locals>.update(learning_rate=optax.schedules._schedule.poly… #0123456789ab"


@pytest.mark.parametrize(
    ("text", "same", "other"),
    [
        (ADAM, fnn.adam(0.001), fnn.adam(0.001, epsilon=1e-7)),
        (CHAIN, optax.adam(0.1), fnn.adam(0.1)),
        (CUT, fnn.sgd(0.5), fnn.momentum(0.5)),
    ],
)
def test_optimizers_are_compared_as_far_as_they_were_recorded(text, same, other):
    """The numbers of a text that was cut are not known."""
    assert find_differences(saved(optimizer=text), fingerprint(same)) == []
    assert len(find_differences(saved(optimizer=text), fingerprint(other))) == 1


def test_which_leaves_are_weights_matters_with_a_penalty_only():
    every = lambda path, leaf: True
    assert find_differences(saved(l2=0.0), fingerprint(l2=0.0, is_weight=every)) == []
    assert len(find_differences(saved(), fingerprint(is_weight=every))) == 1


def test_a_checkpoint_of_a_newer_version_is_refused():
    message = "a newer version of fnn wrote it (identity was 3, is 2)"
    assert find_differences(fingerprint() | {"identity": 3}, fingerprint()) == [message]
