"""Another training than the saved one is refused, or allowed by name and continued with its history."""

import json
import shutil
import warnings

import jax
import numpy as np
import pytest

import fnn
from fnn.checkpoint import manifest, store
from fnn.training import fingerprint
from fnn.training.compatibility import CHANGEABLE, find_differences
from tests.support.held_values import OPTIMIZERS
from tests.support.training import SGD, SMALL, VALIDATION, bits, fit, small_fit


def test_another_optimizer_is_refused_and_the_error_says_how_to_go_on(tmp_path):
    make = OPTIMIZERS["MultiSteps"]
    with jax.numpy_dtype_promotion("standard"):  # optax divides numbers by counters
        small_fit(optimizer=make(0.9), checkpoint_dir=tmp_path, epochs=1)
        with pytest.raises(ValueError, match=r"optimizer was MultiSteps.*pass allow_changes=\('optimizer',\)"):
            small_fit(optimizer=make(0.1), checkpoint_dir=tmp_path, resume=True)
        assert int(small_fit(optimizer=make(0.9), checkpoint_dir=tmp_path, resume=True).state.step) == 4


@pytest.mark.slow
def test_another_start_with_the_same_key_is_refused(tmp_path):
    start = fnn.init_state(SMALL, SGD, jax.random.key(0))
    other = start._replace(params=jax.tree.map(lambda leaf: leaf + 1, start.params))
    options = {"key": None, "checkpoint_dir": tmp_path, "resume": True}
    small_fit(state=start, epochs=1, **options)
    for given in ({"state": other}, {"state": start._replace(step=start.step + 1)}, {"key": start.key}):
        with pytest.raises(ValueError, match=r"state was \d+ arrays #.*is (\d+ arrays #|drawn from the key)"):
            small_fit(epochs=2, **options | given)
    resumed = small_fit(state=start, epochs=2, **options)
    assert bits(resumed.state) == bits(small_fit(state=start, key=None, epochs=2).state)
    small_fit(state=other, epochs=3, allow_changes=["state"], **options)


def test_a_lower_rate_midway_keeps_epochs_history_and_early_stopping(tmp_path):
    options = {"checkpoint_dir": tmp_path, "resume": True, "validation": VALIDATION, "patience": 5}
    first = small_fit(optimizer=fnn.momentum(2.0), epochs=3, **options)
    lower = small_fit(optimizer=fnn.momentum(0.5), epochs=6, allow_changes=("optimizer",), **options)
    whole = small_fit(optimizer=fnn.momentum(2.0), epochs=6, validation=VALIDATION, patience=5)
    for name, column in first.history.items():
        assert column.tolist() == lower.history[name][:3].tolist()
        assert len(lower.history[name]) == 6
    assert lower.history["cost"].tolist() != whole.history["cost"].tolist()
    assert bits(small_fit(optimizer=fnn.momentum(0.5), epochs=6, **options).state) == bits(lower.state)
    with pytest.raises(ValueError, match="optimizer was"):
        small_fit(optimizer=fnn.momentum(2.0), epochs=7, **options)
    with pytest.raises(ValueError, match=r"l2 was 0.0, is 0.5.*allow_changes=\('l2', 'optimizer'\)"):
        small_fit(optimizer=fnn.momentum(2.0), l2=0.5, epochs=7, allow_changes=("optimizer",), **options)


def test_other_numerics_are_refused_or_allowed_by_name_and_older_checkpoints_have_none(tmp_path, monkeypatch):
    options = {"checkpoint_dir": tmp_path, "resume": True}
    first = small_fit(epochs=1, precision="tf32", **options)
    small_fit(epochs=1, **options)  # on a CPU all levels compute the same
    monkeypatch.setattr(fingerprint, "platform_of", lambda arrays: "gpu")
    message = r"precision was highest, is high\. To go on with the change, pass allow_changes=\('precision',\)"
    with pytest.raises(ValueError, match=message):
        small_fit(epochs=2, precision="tf32", **options)
    with jax.default_matmul_precision("bfloat16"), pytest.raises(ValueError, match="precision was highest, is default"):
        small_fit(epochs=2, **options)
    resumed = small_fit(epochs=2, precision="tf32", allow_changes=("precision",), **options)
    assert resumed.history["cost"][0] == first.history["cost"][0]
    saved = json.loads((store.list_checkpoints(tmp_path)[-1] / "manifest.json").read_text())["configuration"]
    assert saved["precision"] == "high"
    with pytest.raises(ValueError, match=r"deterministic was False, is True\..*allow_changes=\('deterministic',\)"):
        small_fit(epochs=3, precision="tf32", deterministic=True, **options)
    older = {name: value for name, value in saved.items() if name not in ("precision", "deterministic")}
    assert find_differences(older, saved | {"precision": "default", "deterministic": True}) == []
    assert "deterministic" in CHANGEABLE


@pytest.mark.slow
def test_early_stopping_goes_on_over_a_change(tmp_path):
    """The waited epochs and the best state are those of the whole training."""
    options = {"patience": 2, "epochs": 30, "checkpoint_dir": tmp_path, "resume": True}
    stopped = fit(optimizer=fnn.momentum(2.0), **options)
    ran = len(stopped.history["cost"])
    assert ran < 30
    again = fit(optimizer=fnn.momentum(1.0), allow_changes=("optimizer",), **options)
    assert len(again.history["cost"]) == ran
    assert bits(again.state.params) == bits(stopped.state.params)
    longer = fit(optimizer=fnn.momentum(1.0), allow_changes=("patience", "optimizer"), **options | {"patience": 3})
    assert len(longer.history["cost"]) > ran


@pytest.mark.slow
def test_new_numbers_replace_those_in_the_state(tmp_path):
    make = OPTIMIZERS["inject_hyperparams in a chain"]
    small_fit(optimizer=make(0.9), checkpoint_dir=tmp_path, epochs=1)
    options = {"checkpoint_dir": tmp_path, "resume": True}
    with pytest.raises(ValueError, match="optimizer was"):
        small_fit(optimizer=make(0.1), epochs=2, **options)
    state = small_fit(optimizer=make(0.1), epochs=2, allow_changes=("optimizer",), **options).state
    assert float(state.opt_state[1].hyperparams["learning_rate"]) == np.float32(0.1)
    state = small_fit(optimizer=make(0.1), epochs=3, **options).state
    assert float(state.opt_state[1].hyperparams["learning_rate"]) == np.float32(0.1)


def test_allow_changes_takes_names():
    for names, kind in {"optimizer": TypeError, 3: TypeError, ("key",): ValueError, ("rate",): ValueError}.items():
        with pytest.raises(kind, match="fit: allow_changes must be"):
            fit(allow_changes=names, epochs=1)
    assert "key" not in CHANGEABLE


@pytest.mark.slow
def test_inside_an_epoch_the_batches_stay(tmp_path):
    def stop(epoch, logs, state):
        raise RuntimeError

    options = {"checkpoint_dir": tmp_path, "checkpoint_every_steps": 3, "resume": True}
    with pytest.raises(RuntimeError):
        fit(callback=stop, epochs=2, **options)
    newest = store.list_checkpoints(tmp_path)[-1]
    assert manifest.read_manifest(newest)["training"]["position"] == 0
    for path in store.list_checkpoints(tmp_path)[1:]:
        shutil.rmtree(path)
    with pytest.raises(ValueError, match="Inside an epoch neither batch_size nor data can change"):
        fit(epochs=2, batch_size=8, allow_changes=("batch_size",), **options)


SCRIPT = """
import sys, warnings
import jax, numpy as np
import fnn
RATE = 0.5
class Schedule:
    def __call__(self, step):
        return RATE / (1 + step.astype("float32"))
def metric(prediction, target):
    return target.astype("float32")
def train(epochs):
    x = np.ones((8, 2), "float32")
    fnn.fit(fnn.mlp([2, 2]), fnn.softmax_cross_entropy, fnn.sgd(Schedule()), (x, np.zeros(8, "int32")), epochs=epochs,
            batch_size=4, key=jax.random.key(0), metrics={"own": metric}, checkpoint_dir=FOLDER, resume=True,
            progress=False)
"""


def run_as(name, folder, source=SCRIPT, epochs=1):
    names = {"__name__": name, "FOLDER": folder}
    exec(compile(source, "script.py", "exec"), names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names["train"](epochs)
    return [str(warning.message) for warning in caught if warning.category is store.CheckpointWarning]


def test_a_script_may_become_a_module_and_change_its_code_with_a_warning(tmp_path):
    assert run_as("__main__", tmp_path) == []
    assert run_as("a_package.a_module", tmp_path, epochs=2) == []
    (message,) = run_as("__main__", tmp_path, SCRIPT.replace("RATE / (1", "RATE / (2"), epochs=3)
    assert "the code of functions in optimizer is not what it was" in message
    with pytest.raises(ValueError, match="optimizer was"):
        run_as("__main__", tmp_path, SCRIPT.replace("RATE = 0.5", "RATE = 0.25"), epochs=4)
