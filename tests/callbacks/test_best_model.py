"""fnn.callbacks.best_model: what the file holds, resuming, other files, failing disks."""

import errno
import math
import os

import jax.numpy as jnp
import pytest

import fnn
from fnn.checkpoint import atomic
from fnn.checkpoint.params_file import notes_of
from tests.support.training import SMALL, VALIDATION, bits, small_fit


class State:
    """What the callback reads of a state."""

    def __init__(self, params):
        self.params = params


def params(fill):
    return {"w": jnp.full(2, fill)}


def call(callback, values, start=1):
    for epoch, value in enumerate(values, start):
        names = "validation_cost", "accuracy", "squared_error"
        callback(epoch, dict.fromkeys(names, value), State(params(float(epoch))))


def epoch_in(path):
    return float(fnn.checkpoint.import_params(path, params(0.0))["w"][0])


def test_the_file_holds_the_parameters_of_the_best_epoch(tmp_path):
    path, kept = tmp_path / "runs" / "best.safetensors", {}
    keep = lambda epoch, logs, state: kept.update({epoch: (logs["validation_accuracy"], state.params)})
    best = fnn.callbacks.best_model(path, "validation_accuracy", network=SMALL)
    small_fit(callback=[best, keep], epochs=6, validation=VALIDATION, optimizer=fnn.sgd(3.0))
    epoch = max(kept, key=lambda epoch: (kept[epoch][0], -epoch))
    assert epoch not in (1, 6), "the best epoch must be inside for this test to say anything"
    assert bits(fnn.checkpoint.import_params(path, kept[1][1])) == bits(kept[epoch][1])
    notes = notes_of("test", path)
    assert notes is not None
    assert notes["epoch"] == epoch
    assert fnn.checkpoint.architecture(path)["name"] == SMALL.name


def test_lower_or_higher_is_better_and_nan_is_worse(tmp_path):
    nan, path = math.nan, tmp_path / "best"
    for name, lower, values, expected in (
        ("validation_cost", None, [nan, 3.0, 1.0, 1.0, nan, 2.0], 3),
        ("accuracy", None, [nan, 3.0, 1.0, 4.0, nan, 4.0], 4),
        ("accuracy", True, [3.0, 1.0, 4.0], 2),
        ("squared_error", None, [3.0, 1.0, 4.0], 2),
    ):
        call(fnn.callbacks.best_model(path, name, lower_is_better=lower), values)
        assert epoch_in(path) == expected
        path.unlink()


def test_a_resumed_training_goes_on_from_the_best_before(tmp_path):
    path = tmp_path / "best"
    call(fnn.callbacks.best_model(path), [3.0, 1.0, 2.0])
    call(fnn.callbacks.best_model(path), [2.0, 1.5], start=3)  # another process, from a checkpoint after epoch 2
    assert epoch_in(path) == 2
    call(fnn.callbacks.best_model(path), [0.5], start=5)
    assert epoch_in(path) == 5
    call(fnn.callbacks.best_model(path), [0.9], start=4)  # repeats epochs: what the file has is of a later one
    assert epoch_in(path) == 4
    call(fnn.callbacks.best_model(path), [9.0])  # a new training
    assert epoch_in(path) == 1


def test_another_file_is_refused_and_kept(tmp_path):
    path = tmp_path / "best"
    fnn.checkpoint.export_params(path, params(7.0))
    for other in (path.read_bytes(), b"a,b\n1,2\n"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="best"):
            call(fnn.callbacks.best_model(path), [1.0])
        assert path.read_bytes() == other
    path.unlink()
    call(fnn.callbacks.best_model(path), [1.0])
    with pytest.raises(
        ValueError, match=r"a new file, or one that best_model wrote for 'accuracy', got .*another file"
    ):
        call(fnn.callbacks.best_model(path, "accuracy"), [1.0], start=2)


def test_wrong_arguments(tmp_path):
    with pytest.raises(
        ValueError, match=r"best_model: name must be one of .*, got 'validation_cost'. Names that begin"
    ):
        small_fit(callback=fnn.callbacks.best_model(tmp_path / "best"))
    for options in ({"name": 3}, {"lower_is_better": "no"}, {"network": 3}, {"path": 3}):
        with pytest.raises(TypeError, match="best_model: "):
            fnn.callbacks.best_model(**{"path": tmp_path / "best"} | options)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=str(tmp_path)):
        call(fnn.callbacks.best_model(tmp_path / "file" / "best"), [1.0])


def test_a_full_disk_keeps_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "best"
    best = fnn.callbacks.best_model(path)
    call(best, [3.0])

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        call(best, [1.0], start=2)
    assert epoch_in(path) == 1
    monkeypatch.undo()
    call(best, [2.0], start=3)  # better than the file, not than the value that could not be written
    assert epoch_in(path) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["best"]
