"""Refusals to resume: checkpoints of another training, bad arguments; warnings of other versions of libraries."""

import jax
import pytest

import fnn
from fnn.checkpoint import manifest, store
from tests.support.training import NETWORK, OPTIMIZER, X, Y, content, fit

CHANGES = {  # what differs from the training that was saved, and how the error names it
    "network was serial(dense(4, 8), tanh": {"network": fnn.serial(fnn.dense(4, 8), fnn.relu, fnn.dense(8, 2))},
    "loss was": {"loss": fnn.softmax_cross_entropy._replace(name="another")},
    "optimizer was momentum(beta=0.9, learning_rate=2), is momentum(beta=0.9, learning_rate=1)": {
        "optimizer": fnn.momentum(1.0)
    },
    "is adam(beta1=0.9": {"optimizer": fnn.adam(0.1)},
    "batch_size was 16, is 17": {"batch_size": 17},
    "l2 was 0.0, is 0.5": {"l2": 0.5},
    "patience was 5, is 6": {"patience": 6},
    "data was ['float32 (74, 4)": {"data": (X[:73], Y[:73])},
    "#": {"data": (X[1:75], Y[1:75])},
    "is_weight was is_weight": {"is_weight": lambda path, leaf: True},
    "validation was": {"validation": (X[70:], Y[70:])},
    "key was": {"key": jax.random.key(1)},
    "metrics was": {"metrics": {"right": fnn.accuracy}},
}


@pytest.mark.parametrize("says", CHANGES)
def test_a_checkpoint_of_another_training_is_refused(says, tmp_path):
    fit(checkpoint_dir=tmp_path, epochs=1)
    before = content(tmp_path)
    with pytest.raises(
        ValueError, match="fit: checkpoint_dir must be a folder of checkpoints of this same training"
    ) as error:
        fit(checkpoint_dir=tmp_path, resume=True, **CHANGES[says])
    assert says in str(error.value)
    assert "step-00000005" in str(error.value)
    assert "pass state=fnn.checkpoint.restore(" in str(error.value)
    assert content(tmp_path) == before


def test_bad_calls(tmp_path):
    fit(checkpoint_dir=tmp_path, epochs=2)
    with pytest.raises(ValueError, match=r"without checkpoints.*, the newest step-00000010. To resume from it"):
        fit(checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="fit: epochs must be at least 2"):
        fit(checkpoint_dir=tmp_path, epochs=1, resume=True)
    for options in ({"resume": True}, {"checkpoint_every_steps": 1}):
        with pytest.raises(ValueError, match="fit: checkpoint_dir must be given"):
            fit(**options)
    for options in ({"keep": 0}, {"checkpoint_every": 0}, {"checkpoint_every_steps": 0}):
        with pytest.raises(ValueError, match="positive integer"):
            fit(checkpoint_dir=tmp_path, **options)
    for options in ({"checkpoint_dir": 3}, {"checkpoint_dir": tmp_path, "resume": 1}):
        with pytest.raises(TypeError):
            fit(**options)
    alone = tmp_path / "alone"
    store.save(alone, fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(0)))
    with pytest.raises(ValueError, match="a folder of checkpoints of fit"):
        fit(checkpoint_dir=alone, resume=True)


def test_other_versions_are_a_warning(tmp_path, monkeypatch):
    fit(checkpoint_dir=tmp_path, epochs=1)
    now = manifest.versions()
    monkeypatch.setattr(manifest, "versions", lambda: now | {"jax": "9.9"})
    with pytest.warns(store.CheckpointWarning, match=r"jax .* -> 9\.9"):
        fit(checkpoint_dir=tmp_path, epochs=2, resume=True)
