"""A checkpoint that cannot be read now is neither set aside, nor pruned, nor passed over for an older one."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

import fnn
from fnn.checkpoint import manifest, store
from tests.support.checkpoint_files import STATE, failing_open, names, rewrite
from tests.support.training import VALIDATION
from tests.support.training import small_fit as fit

RISING = fnn.sgd(30.0)  # the cost rises and falls
OF_SYSTEM = (errno.EMFILE, errno.EIO, errno.EACCES, errno.ENOMEM, errno.ESTALE)


@pytest.mark.parametrize("code", OF_SYSTEM)
@pytest.mark.parametrize("file", ["manifest.json", "manifest.sha256", "state.safetensors", "training.safetensors"])
def test_an_error_of_the_system_while_resuming_is_raised_and_nothing_is_set_aside(code, file, tmp_path):
    fit(checkpoint_dir=tmp_path, epochs=2)
    before = names(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        failing_open(patch, code, on=f"{before[-1]}/{file}")
        with pytest.raises(OSError, match=os.strerror(code)) as error:
            fit(checkpoint_dir=tmp_path, epochs=3, resume=True)
    assert error.value.errno == code
    assert names(tmp_path) == before
    for call in (lambda: store.latest(tmp_path), lambda: store.restore(tmp_path, STATE)):
        with pytest.MonkeyPatch.context() as patch:
            failing_open(patch, code, on=f"{before[-1]}/{file}")
            with pytest.raises(OSError, match=os.strerror(code)):
                call()
    assert store.latest(tmp_path).name == before[-1]


@pytest.mark.parametrize("code", [errno.EACCES, errno.ESTALE, errno.ENOENT])
def test_a_training_does_not_begin_anew_in_a_folder_that_cannot_be_listed(code, tmp_path):
    fit(checkpoint_dir=tmp_path, epochs=2)
    before, left, iterdir = names(tmp_path), [2], Path.iterdir  # the first list is that of temporary files

    def failing(path):
        left[0] -= 1
        if not left[0]:
            raise OSError(code, os.strerror(code), str(path))
        return iterdir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "iterdir", failing)
        with pytest.raises(OSError, match=os.strerror(code)):
            fit(checkpoint_dir=tmp_path, epochs=3, resume=True)
    assert left == [0]
    assert names(tmp_path) == before


def test_a_checkpoint_that_cannot_be_read_is_not_pruned(tmp_path):
    """The best checkpoint is old, and its manifest cannot be opened while a resumed training prunes."""
    costs = iter([0.1, 0.9, 0.8, 0.7, 0.6, 0.5])
    options = {"keep": 1, "epochs": 3}
    fit(checkpoint_dir=tmp_path, **options | {"keep": 3})
    for path in store.list_checkpoints(tmp_path):
        rewrite(path, lambda content: content | {"training": content["training"] | {"score": next(costs)}})
    best = store.list_checkpoints(tmp_path)[0]
    with pytest.MonkeyPatch.context() as patch:
        failing_open(patch, errno.EMFILE, on=f"{best.name}/manifest.json")
        fit(checkpoint_dir=tmp_path, resume=True, **options | {"epochs": 4})
    assert names(tmp_path)[0] == best.name
    fit(checkpoint_dir=tmp_path, resume=True, **options | {"epochs": 5})
    assert names(tmp_path)[0] == best.name, "it is still the best one"
    assert len(names(tmp_path)) == 2


def test_an_earlier_checkpoint_of_the_same_step_is_kept_if_it_cannot_be_read(tmp_path):
    path = store.save(tmp_path, STATE)
    with pytest.MonkeyPatch.context() as patch:
        failing_open(patch, errno.EIO, on=f"{path.name}/manifest.json")
        store.save(tmp_path, STATE)
    assert names(tmp_path) == [path.name, f"{path.name}.1"]


def test_scores_are_read_once(tmp_path, monkeypatch):
    fit(checkpoint_dir=tmp_path, epochs=12, keep=100)
    reads, read = [], manifest.read_manifest
    monkeypatch.setattr(manifest, "read_manifest", lambda path: reads.append(path.name) or read(path))
    fit(checkpoint_dir=tmp_path, epochs=20, keep=100, resume=True)
    assert len(names(tmp_path)) == 20
    assert len(reads) <= 12 + 1, "each manifest is read for its score once, and one to resume"
    assert all(reads.count(name) <= 2 for name in reads)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_best_checkpoint_is_kept_with_remembered_scores(keep, tmp_path):
    """The same checkpoints stay as if every manifest were read at every save."""
    result = fit(checkpoint_dir=tmp_path, epochs=9, keep=keep, optimizer=RISING, validation=VALIDATION)
    costs = result.history["validation_cost"]
    kept = {int(np.argmin(costs)) + 1, *range(10 - keep, 10)}
    assert 1 < int(np.argmin(costs)) + 1 < 10 - keep, "the best one is not among the last"
    assert [int(name[5:]) // 2 for name in names(tmp_path)] == sorted(kept)
