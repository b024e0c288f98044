"""Manifests and files that somebody else placed are refused or not read; nothing of others is opened or changed."""

import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import fnn
from fnn.checkpoint import CheckpointWarning, DamagedError, store
from tests.support.checkpoint_files import STATE, list_file, names, rewrite
from tests.support.hostile_checkpoints import HOSTILE
from tests.support.training import bits
from tests.support.training import small_fit as fit


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the checkpoints of two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    fit(checkpoint_dir=folder, epochs=2)
    return folder


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_checkpoint_is_damage_and_the_one_before_is_used(what, trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    first, last = store.list_checkpoints(folder)
    HOSTILE[what](last)
    if not last.is_symlink():
        with pytest.raises(DamagedError, match=last.name):
            store.restore(last, STATE)
    with pytest.warns(CheckpointWarning, match=f"{last.name}.*{first.name} is used instead"):
        assert store.latest(folder) == first
    with pytest.warns(CheckpointWarning, match=f"{last.name}.*{first.name} is used instead"):
        fit(checkpoint_dir=folder, epochs=2, resume=True)
    assert f"damaged-{last.name}" in names(folder)


def test_the_file_of_a_hostile_name_is_not_opened(trained, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    secret = folder / "x"
    secret.write_bytes(b"secret")
    last = store.list_checkpoints(folder)[-1]
    rewrite(last, lambda content: list_file(content, "../x", b"secret"))
    opened, open_ = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *args, **options: opened.append(path) or open_(path, *args, **options))
    with pytest.raises(DamagedError, match="plain relative names"):
        store.restore(last, STATE)
    assert not [path for path in opened if os.fspath(path).endswith("x")]


def test_files_that_the_manifest_does_not_list_are_not_read(tmp_path):
    """An unlisted file beside the others changes nothing; one in orbax's folder, which orbax might read, is damage."""
    path = store.save(tmp_path, STATE)
    os.mkfifo(path / "other")
    (path / "training.safetensors").symlink_to("/dev/zero")
    assert bits(store.restore(path, STATE)) == bits(STATE)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    tree = {"w": jax.device_put(np.ones((4, 3)), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d")))}
    path = store.save(tmp_path / "sharded", tree, step=0, sharded=True)
    (path / "state.orbax" / ".DS_Store").write_bytes(b"")
    assert bits(store.restore(path, tree)) == bits(tree)
    (path / "state.orbax" / "ocdbt.process_9").mkdir()
    (path / "state.orbax" / "ocdbt.process_9" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"ocdbt.process_9/manifest.ocdbt is not in the manifest"):
        store.restore(path, tree)
    shutil.rmtree(path / "state.orbax" / "ocdbt.process_9")
    shutil.move(path / "state.orbax" / "d", tmp_path / "d")
    (path / "state.orbax" / "d").symlink_to(tmp_path / "d")
    with pytest.raises(DamagedError, match="must be a folder, got a symbolic link"):
        store.restore(path, tree)


def test_a_newer_format_is_refused_and_kept(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    first, last = store.list_checkpoints(folder)
    rewrite(last, lambda content: {"format": 2, "new": content})
    says = r"format 2; this version of fnn reads format 1. A newer version of fnn wrote it"
    for call in (
        lambda: fit(checkpoint_dir=folder, epochs=3, resume=True),
        lambda: store.latest(folder),
        lambda: store.restore(folder, STATE),
        lambda: store.restore(last, STATE),
    ):
        with pytest.raises(fnn.checkpoint.NewerFormatError, match=says):
            call()
    assert names(folder) == [first.name, last.name]
    store.save(folder, STATE, step=4)
    assert names(folder) == [first.name, last.name, f"{last.name}.1"], "one of the same step is kept"
    shutil.rmtree(folder / f"{last.name}.1")
    os.rename(last, folder / "step-00000001")
    fit(checkpoint_dir=folder, epochs=6, resume=True, keep=1)
    assert names(folder)[0] == "step-00000001", "an old one is not pruned"


@pytest.mark.parametrize("target", ["a file", "nothing"])
def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(target, tmp_path):
    folder, notes = tmp_path / "run", tmp_path / "notes"
    folder.mkdir()
    if target == "a file":
        notes.write_text("precious")
    (folder / ".lock").symlink_to(notes)
    for call in (lambda: store.save(folder, STATE), lambda: fit(checkpoint_dir=folder)):
        with pytest.raises(DamagedError, match="must be a regular file, got a symbolic link"):
            call()
    assert not notes.exists() if target == "nothing" else notes.read_text() == "precious"


def test_a_lock_that_is_something_else_is_refused_and_stays(tmp_path):
    notes = tmp_path / "notes"
    notes.write_text("precious")
    for name, place in {
        "hard link": lambda lock: os.link(notes, lock),
        "pipe": os.mkfifo,
        "folder": Path.mkdir,
        "text": lambda lock: lock.write_text("yarn lockfile v1"),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        place(folder / ".lock")
        with pytest.raises(DamagedError, match=r"\.lock must be"):
            store.save(folder, STATE)
    assert notes.read_text() == "precious"
