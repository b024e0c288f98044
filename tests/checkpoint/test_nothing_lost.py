"""Nothing is lost by mistake: faults of the system, replaced folders, forked processes, hostile files, wrong paths."""

import errno
import json
import multiprocessing
import os
import re
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import fnn
from fnn import hashing
from fnn.checkpoint import CheckpointWarning, DamagedError, LockedError, manifest, store
from tests.support.streaming import BUDGET
from tests.support.streaming import fit as fit_stream
from tests.support.training import LOSS, NETWORK, OPTIMIZER, bits, fit

ROOT = Path(__file__).parents[2]
STATE = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(3))
OF_SYSTEM = (errno.EMFILE, errno.EIO, errno.EACCES, errno.ENOMEM, errno.ESTALE)


def names(folder) -> list[str]:
    """The names of everything in a folder of checkpoints but the lock."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != ".lock")


def failing_open(patch, code: int, *, on: str, which: int = 1) -> None:
    """Make the `which`-th opening of a file whose path contains `on` fail, and no other."""
    real, left = os.open, [which]

    def open_(path, *args, **options):
        if on in os.fspath(path):
            left[0] -= 1
            if not left[0]:
                raise OSError(code, os.strerror(code), os.fspath(path))
        return real(path, *args, **options)

    patch.setattr(os, "open", open_)
    patch.setattr(Path, "read_bytes", lambda self: _read(open_, self))


def _read(open_, path: Path) -> bytes:
    with os.fdopen(open_(path, os.O_RDONLY), "rb") as file:
        return file.read()


def rewrite(path: Path, change) -> None:
    """Change the manifest of a checkpoint, with a fitting hash. `change` gets its content and returns bytes or JSON."""
    changed = change(json.loads((path / "manifest.json").read_text()))
    text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    (path / "manifest.json").write_bytes(text)
    (path / "manifest.sha256").write_text(f"{hashing.sha256(text)}  manifest.json\n")


def list_file(content: dict, name: str, data: bytes = b"") -> dict:
    """List another file in the content of a manifest."""
    entry = {"sha256": hashing.sha256(data), "bytes": len(data)}
    return content | {"files": content["files"] | {name: entry}}


# Errors of the system are not damage.


@pytest.mark.parametrize("code", OF_SYSTEM)
@pytest.mark.parametrize("file", ["manifest.json", "manifest.sha256", "state.safetensors", "training.safetensors"])
def test_an_error_of_the_system_while_resuming_is_raised_and_nothing_is_set_aside(code, file, tmp_path):
    fit(checkpoint_dir=tmp_path, epochs=2, patience=None)
    before = names(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        failing_open(patch, code, on=f"{before[-1]}/{file}")
        with pytest.raises(OSError, match=os.strerror(code)) as error:
            fit(checkpoint_dir=tmp_path, epochs=3, patience=None, resume=True)
    assert error.value.errno == code
    assert names(tmp_path) == before
    for call in (lambda: store.latest(tmp_path), lambda: store.restore(tmp_path, STATE)):
        with pytest.MonkeyPatch.context() as patch:
            failing_open(patch, code, on=f"{before[-1]}/{file}")
            with pytest.raises(OSError, match=os.strerror(code)):
                call()
    assert store.latest(tmp_path).name == before[-1]


def test_a_checkpoint_that_cannot_be_read_is_not_pruned(tmp_path):
    """The best checkpoint is old, and its manifest cannot be opened while a resumed training prunes."""
    costs = iter([0.1, 0.9, 0.8, 0.7, 0.6, 0.5])
    options = {"patience": None, "keep": 1, "epochs": 3}
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
    fit(checkpoint_dir=tmp_path, epochs=12, patience=None, keep=100)
    reads, read = [], manifest.read_manifest
    monkeypatch.setattr(manifest, "read_manifest", lambda path: reads.append(path.name) or read(path))
    fit(checkpoint_dir=tmp_path, epochs=20, patience=None, keep=100, resume=True)
    assert len(names(tmp_path)) == 20
    assert len(reads) <= 12 + 1, "each manifest is read for its score once, and one to resume"
    assert all(reads.count(name) <= 2 for name in reads)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_best_checkpoint_is_kept_with_remembered_scores(keep, tmp_path):
    """The same checkpoints stay as if every manifest were read at every save."""
    result = fit(checkpoint_dir=tmp_path, epochs=9, patience=None, keep=keep, l2=0.3, optimizer=fnn.sgd(3.0))
    costs = result.history["validation_cost"]
    kept = {int(np.argmin(costs)) + 1, *range(10 - keep, 10)}
    assert [int(name[5:]) // 5 for name in names(tmp_path)] == sorted(kept)


# The folder is removed and made again.


def replacing(folder, again):
    """A callback that removes the folder after the second epoch and lets another training save into a new one."""

    def callback(epoch, logs, state):
        if epoch == 2:
            shutil.rmtree(folder)
            if again:
                for step in (100, 101, 102):
                    store.save(folder, STATE, step=step)

    return callback


@pytest.mark.parametrize("again", [True, False])
def test_a_training_does_not_write_into_a_folder_that_replaced_its_own(again, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(LockedError, match=f"{folder} was removed or replaced"):
        fit(checkpoint_dir=folder, keep=1, patience=None, callback=replacing(folder, again))
    assert (names(folder) if again else folder.exists()) == (
        ["step-00000100", "step-00000101", "step-00000102"] if again else False
    )


def test_a_folder_that_is_replaced_while_a_checkpoint_is_written_is_not_pruned(tmp_path):
    folder = tmp_path / "run"
    with store.open_folder(folder) as held:
        path = store.write(held, 1, {manifest.STATE: STATE})
        os.rename(folder, tmp_path / "moved")
        other = store.save(folder, STATE, step=1)
        with pytest.raises(LockedError, match="removed or replaced"):
            store.write(held, 1, {manifest.STATE: STATE})
        assert names(folder) == [other.name] == names(tmp_path / "moved") == [path.name]


def test_a_callback_may_change_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    fit(checkpoint_dir="run", patience=None, callback=lambda *_: os.chdir(tmp_path / "elsewhere"))
    assert len(names(tmp_path / "run")) >= 3
    assert names(tmp_path / "elsewhere") == []


def test_the_same_folder_under_another_name_is_locked_too(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with store.open_folder(tmp_path / "run"), pytest.raises(LockedError, match="in use"):
        store.save(tmp_path / "link", STATE)
    assert store.save(tmp_path / "link", STATE).exists(), "a link to the folder itself is followed"


# Trees and names that cannot be saved.


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
@pytest.mark.parametrize("resume", [False, True])
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


@pytest.mark.parametrize("value", [np.int64(3), np.int32(3)])
def test_numbers_of_numpy_are_saved(value, tmp_path):
    fit(checkpoint_dir=tmp_path, patience=value, epochs=2)
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


# Manifests and files that somebody else placed.


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


def link_to_foreign(path: Path) -> None:
    foreign = path.parent / "foreign"
    shutil.move(path / "state.safetensors", foreign)
    (path / "state.safetensors").symlink_to(foreign)


def pipe_for(path: Path, name: str) -> None:
    (path / name).unlink()
    os.mkfifo(path / name)


def folder_for(path: Path, name: str) -> None:
    (path / name).unlink()
    (path / name).mkdir()


def linked_folder(path: Path) -> None:
    shutil.move(path, path.parent / "foreign")
    path.symlink_to("foreign")


def without(content: dict, *keys: str) -> dict:
    """The content without the entry at these keys."""
    if len(keys) == 1:
        return {key: value for key, value in content.items() if key != keys[0]}
    return content | {keys[0]: without(content[keys[0]], *keys[1:])}


def with_leaf_of_state(content: dict, name: str, shape: list) -> dict:
    """The content with this description of a leaf of the state."""
    leaves = content["trees"]["state.safetensors"] | {name: ["int32", shape]}
    return content | {"trees": content["trees"] | {"state.safetensors": leaves}}


HOSTILE = {
    "a list": lambda path: rewrite(path, lambda content: []),
    "a number": lambda path: rewrite(path, lambda content: 7),
    "null": lambda path: rewrite(path, lambda content: None),
    "not JSON": lambda path: rewrite(path, lambda content: b"{"),
    "not Unicode": lambda path: rewrite(path, lambda content: b'{"a": "\xff"}'),
    "a number of 5,000 digits": lambda path: rewrite(path, lambda content: b"[" + b"1" * 5000 + b"]"),
    "10,000 levels": lambda path: rewrite(path, lambda content: deep(10_000).encode()),
    "100,000 objects": lambda path: rewrite(path, lambda content: b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "500 levels below": lambda path: rewrite(path, lambda content: content | {"configuration": json.loads(deep(500))}),
    "no state": lambda path: rewrite(path, lambda content: without(content, "files", "state.safetensors")),
    "no tree of the state": lambda path: rewrite(path, lambda content: without(content, "trees", "state.safetensors")),
    "no files": lambda path: rewrite(path, lambda content: content | {"files": {}}),
    "files is a list": lambda path: rewrite(path, lambda content: content | {"files": []}),
    "an entry is null": lambda path: rewrite(
        path, lambda content: content | {"files": content["files"] | {"training.safetensors": None}}
    ),
    "a size is text": lambda path: rewrite(
        path,
        lambda content: content | {"files": content["files"] | {"training.safetensors": {"sha256": "", "bytes": ""}}},
    ),
    "trees is text": lambda path: rewrite(path, lambda content: content | {"trees": "state.safetensors"}),
    "a shape is text": lambda path: rewrite(
        path, lambda content: content | {"trees": content["trees"] | {"state.safetensors": {"step": ["int32", "x"]}}}
    ),
    "no versions": lambda path: rewrite(path, lambda content: without(content, "versions")),
    "versions is a list": lambda path: rewrite(path, lambda content: content | {"versions": ["jax"]}),
    "no format": lambda path: rewrite(path, lambda content: without(content, "format")),
    "format is text": lambda path: rewrite(path, lambda content: content | {"format": "2"}),
    "format is true": lambda path: rewrite(path, lambda content: content | {"format": True}),
    "training is a list": lambda path: rewrite(path, lambda content: content | {"training": [1]}),
    "an epoch is text": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"epoch": "2"}}
    ),
    "an epoch is huge": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"epoch": 10**30}}
    ),
    "a score is text": lambda path: rewrite(
        path, lambda content: content | {"training": content["training"] | {"score": "low"}}
    ),
    "no configuration": lambda path: rewrite(path, lambda content: without(content, "configuration")),
    "configuration is a list": lambda path: rewrite(path, lambda content: content | {"configuration": []}),
    "identity is text": lambda path: rewrite(
        path, lambda content: content | {"configuration": content["configuration"] | {"identity": "x"}}
    ),
    "version 1 without an optimizer": lambda path: rewrite(
        path, lambda content: without(without(content, "configuration", "identity"), "configuration", "optimizer")
    ),
    "../x": lambda path: rewrite(path, lambda content: list_file(content, "../x")),
    "an absolute name": lambda path: rewrite(path, lambda content: list_file(content, "/dev/zero")),
    "a name in a folder above": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/../../x")),
    "an empty name": lambda path: rewrite(path, lambda content: list_file(content, "")),
    "a name with a zero byte": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/a\0b")),
    "a long name": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/" + "x" * 5000)),
    "half a surrogate pair": lambda path: rewrite(path, lambda content: list_file(content, "state.orbax/\ud800")),
    "a name of no tree": lambda path: rewrite(path, lambda content: list_file(content, "other")),
    "a leaf more": lambda path: rewrite(path, lambda content: with_leaf_of_state(content, "x", [])),
    "a leaf less": lambda path: rewrite(path, lambda content: without(content, "trees", "state.safetensors", "step")),
    "another shape": lambda path: rewrite(path, lambda content: with_leaf_of_state(content, "step", [1])),
    "a pipe as manifest": lambda path: pipe_for(path, "manifest.json"),
    "a pipe as hash": lambda path: pipe_for(path, "manifest.sha256"),
    "a pipe as state": lambda path: pipe_for(path, "state.safetensors"),
    "a folder as state": lambda path: folder_for(path, "state.safetensors"),
    "a folder as manifest": lambda path: folder_for(path, "manifest.json"),
    "a link as state": link_to_foreign,
    "a device behind a link": lambda path: (
        (path / "state.safetensors").unlink(),
        (path / "state.safetensors").symlink_to("/dev/zero"),
    ),
    "a link as checkpoint": linked_folder,
    "a link to nothing as checkpoint": lambda path: (shutil.rmtree(path), path.symlink_to("nothing")),
    "a file as checkpoint": lambda path: (shutil.rmtree(path), path.write_bytes(b"")),
    "a pipe as checkpoint": lambda path: (shutil.rmtree(path), os.mkfifo(path)),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the checkpoints of two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    fit(checkpoint_dir=folder, epochs=2, patience=None)
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
        fit(checkpoint_dir=folder, epochs=2, patience=None, resume=True)
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
        lambda: fit(checkpoint_dir=folder, epochs=3, patience=None, resume=True),
        lambda: store.latest(folder),
        lambda: store.restore(folder, STATE),
        lambda: store.restore(last, STATE),
    ):
        with pytest.raises(fnn.checkpoint.NewerFormatError, match=says):
            call()
    assert names(folder) == [first.name, last.name]
    store.save(folder, STATE, step=10)
    assert names(folder) == [first.name, last.name, f"{last.name}.1"], "one of the same step is kept"
    shutil.rmtree(folder / f"{last.name}.1")
    os.rename(last, folder / "step-00000001")
    fit(checkpoint_dir=folder, epochs=6, patience=None, resume=True, keep=1)
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


# Processes forked from a training.


def sleeping_child(released) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX and Python warn of forks in processes with threads
        child = multiprocessing.get_context("fork").Process(target=released.wait, daemon=True)
        child.start()
    return child


def test_a_forked_process_does_not_hold_the_lock(tmp_path):
    released, children = multiprocessing.get_context("fork").Event(), []

    def callback(epoch, logs, state):
        if epoch == 1:
            children.append(sleeping_child(released))

    try:
        whole = fit(checkpoint_dir=tmp_path, patience=None, callback=callback, epochs=3)
        assert children[0].is_alive()
        again = fit(checkpoint_dir=tmp_path, patience=None, epochs=3, resume=True)
        assert bits(again.state) == bits(whole.state)
        store.save(tmp_path, STATE, step=1000)
    finally:
        released.set()
        for child in children:
            child.join()


FORKED = """
import os, pathlib, sys, time, warnings
import numpy as np
import fnn
from fnn.checkpoint import store

warnings.simplefilter("ignore")
folder, how = sys.argv[1:]


def fork():
    with store.open_folder(pathlib.Path(folder)) as held:
        child = os.fork()
        if child == 0:
            try:
                held.check()
            except fnn.checkpoint.LockedError as error:
                os.write(1, f"refused: {error}\\n".encode())
            if how == "leaves the context":
                return
            os.close(1), os.close(2)
            time.sleep(60)
            os._exit(0)
        os.write(1, f"child {child}\\n".encode())
        if how == "is killed":
            time.sleep(1)
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
        held.check()
        try:
            fnn.checkpoint.save(folder, {"x": np.zeros(1)}, step=1)
        except fnn.checkpoint.LockedError:
            os.write(1, b"still locked\\n")


parent = os.getpid()
fork()
if os.getpid() != parent:
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["is killed", "leaves the context"])
def test_the_lock_goes_with_the_process_that_took_it(how, tmp_path):
    """A child that outlives its killed parent holds nothing; one that ends first releases nothing of the parent's."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path), how], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == (-9 if how == "is killed" else 0), done.stderr
    (child,) = map(int, re.findall(r"child (\d+)\n", done.stdout))
    assert ("still locked" in done.stdout) == (how == "leaves the context")
    try:
        assert store.save(tmp_path, STATE).exists()
    finally:
        if how == "is killed":
            os.kill(child, 9)
    assert "refused:" in done.stdout
    assert "does not hold the lock" in done.stdout


# Paths.

ADDRESSES = ["gs://bucket/run", "s3://bucket/run", "hdfs://host/run", "file:///tmp/run", "gs:/bucket/run"]
PATHS = {  # function: argument -> a call
    "fit: checkpoint_dir": lambda path: fit(checkpoint_dir=path),
    "save: folder": lambda path: fnn.checkpoint.save(path, STATE),
    "restore: path": lambda path: fnn.checkpoint.restore(path, STATE),
    "latest: folder": fnn.checkpoint.latest,
    "export_params: path": lambda path: fnn.checkpoint.export_params(path, STATE.params),
    "import_params: path": lambda path: fnn.checkpoint.import_params(path, STATE.params),
    "save_csv: path": lambda path: fnn.sweeps.table.Table({"x": np.ones(1)}).save_csv(path),
}


@pytest.mark.parametrize("name", PATHS)
def test_addresses_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address in ADDRESSES:
        for path in (address, Path(address)):
            with pytest.raises(ValueError, match=f"{name} must be a path of this machine"):
                PATHS[name](path)
    for path in (3, "", b"run", "a\0b"):
        with pytest.raises(TypeError, match=f"{name} must be a path"):
            PATHS[name](path)
    with pytest.raises(ValueError, match="names a user of this machine"):
        PATHS[name]("~no such user/run")
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    fit(checkpoint_dir="~/run", epochs=1)
    fit(checkpoint_dir=Path("~/run"), epochs=1, resume=True)
    assert fnn.checkpoint.latest("~/run").parent == home / "run"
    assert fnn.checkpoint.restore("~/run", STATE).step == 5
    fnn.checkpoint.save("~/saved", STATE)
    fnn.checkpoint.export_params("~/params", STATE.params)
    assert bits(fnn.checkpoint.import_params("~/params", STATE.params)) == bits(STATE.params)
    fnn.sweeps.table.Table({"x": np.ones(1)}).save_csv("~/table.csv")
    assert sorted(path.name for path in home.iterdir()) == ["params", "run", "saved", "table.csv"]
    assert list((tmp_path / "work").iterdir()) == []


# Systems without locks.


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_a_warning(code, tmp_path, monkeypatch):
    import fcntl

    def flock(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(CheckpointWarning, match=f"{tmp_path} cannot be locked .*{os.strerror(code)}"):
        whole = fit(checkpoint_dir=tmp_path, epochs=2)
    with pytest.warns(CheckpointWarning, match="cannot be locked"):
        assert bits(fit(checkpoint_dir=tmp_path, epochs=2, resume=True)) == bits(whole)
    with pytest.warns(CheckpointWarning), store.open_folder(tmp_path), pytest.raises(LockedError, match="this process"):
        store.save(tmp_path, STATE)
    with pytest.warns(CheckpointWarning), pytest.raises(LockedError, match="removed or replaced"):
        fit(checkpoint_dir=tmp_path / "run", patience=None, callback=replacing(tmp_path / "run", False))


def test_another_error_of_the_lock_is_raised(tmp_path, monkeypatch):
    import fcntl

    def flock(descriptor, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"Input/output error.*\.lock"):
        store.save(tmp_path, STATE)


def test_a_file_system_that_cannot_flush_folders(tmp_path, monkeypatch):
    fsync = os.fsync

    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    store.save(tmp_path, STATE)
    assert bits(store.restore(tmp_path, STATE)) == bits(STATE)


WITHOUT_FCNTL = """
import sys, warnings
sys.modules["fcntl"] = None
import numpy as np
import fnn
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for step in (1, 2):
        path = fnn.checkpoint.save(sys.argv[1], {"x": np.full(1, step, "float32")}, step=step)
print(len([w for w in caught if w.category is fnn.checkpoint.CheckpointWarning and "fcntl" in str(w.message)]))
print(fnn.checkpoint.restore(sys.argv[1], {"x": np.zeros(1, "float32")})["x"])
"""


def test_python_without_fcntl_imports_and_saves_with_a_warning(tmp_path):
    command = [sys.executable, "-c", WITHOUT_FCNTL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["2", "[2.]"]


# The data of a training.


def test_arrays_in_memory_are_compared_as_a_whole(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1200, 4)).astype("float32"), rng.integers(0, 2, 1200)
    options = {"device_memory": 8000, "validation": None, "patience": None, "network": NETWORK, "loss": LOSS}
    fit(data=(x, y), checkpoint_dir=tmp_path, epochs=1, **options)
    other = x.copy()
    sampled = np.linspace(0, len(x) - 1, 256).astype(int)
    changed = np.setdiff1d(np.arange(len(x)), sampled)[7]
    other[changed] += 1
    with pytest.raises(ValueError, match="data was"):
        fit(data=(other, y), checkpoint_dir=tmp_path, epochs=2, resume=True, **options)
    fortran = np.asfortranarray(x)
    fit(data=(fortran, y), checkpoint_dir=tmp_path, epochs=2, resume=True, **options)


@pytest.mark.parametrize("view", [lambda x: x, lambda x: np.asarray(x)[:]])
def test_files_are_compared_by_size_and_time_too(view, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1200, 4)).astype("float32"), rng.integers(0, 2, 1200)
    np.save(tmp_path / "x.npy", x)
    mapped = lambda: view(np.load(tmp_path / "x.npy", mmap_mode="r"))
    options = {"device_memory": 8000, "validation": None, "patience": None, "checkpoint_dir": tmp_path / "run"}
    fit(data=(mapped(), y), epochs=1, **options)
    status = os.stat(tmp_path / "x.npy")
    rows = np.setdiff1d(np.arange(len(x)), np.linspace(0, len(x) - 1, 256).astype(int))
    other = x.copy()
    other[rows] = 0
    np.save(tmp_path / "x.npy", other)
    os.utime(tmp_path / "x.npy", ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    with pytest.raises(ValueError, match=r"data was .*file of \d+ bytes, changed 20"):
        fit(data=(mapped(), y), epochs=2, resume=True, **options)
    np.save(tmp_path / "x.npy", x)
    os.utime(tmp_path / "x.npy", ns=(status.st_atime_ns, status.st_mtime_ns))
    fit(data=(mapped(), y), epochs=2, resume=True, **options)


def test_checkpoints_without_the_size_of_files_are_resumed(tmp_path):
    """Those of an earlier version record only the sample."""
    options = {"window": 40, "device_memory": BUDGET, "epochs": 3}
    whole = fit_stream(**options)
    fit_stream(checkpoint_dir=tmp_path, **options | {"epochs": 2})
    for path in store.list_checkpoints(tmp_path):

        def earlier(content):
            data = [text.partition("; all ")[0] for text in content["configuration"]["data"]]
            assert data != content["configuration"]["data"]
            return content | {"configuration": content["configuration"] | {"data": data}}

        rewrite(path, earlier)
    assert bits(fit_stream(checkpoint_dir=tmp_path, resume=True, **options)) == bits(whole)


def test_hashing_copies_no_memory(monkeypatch):
    class Watched(np.ndarray):
        def tobytes(self, *args, **options):
            raise AssertionError("a copy of all bytes")

    big = np.arange(3_000_000, dtype="float32").view(Watched)
    assert hashing.hash_array(big) == f"float32 (3000000,) #{hashing.sha256(np.asarray(big).tobytes())[:12]}"
    import tracemalloc

    transposed = np.arange(16_000_000, dtype="float32").reshape(4000, 4000).T
    tracemalloc.start()
    hashing.hash_array(transposed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < transposed.nbytes / 4


def test_arrays_of_every_layout_have_the_hash_of_their_bytes(monkeypatch):
    monkeypatch.setattr(hashing, "_BLOCK", 100)
    values = np.random.default_rng(0).standard_normal((7, 5, 3)).astype("float32")
    for array in (
        values,
        values.T,
        values[::2, :, ::-1],
        values[:0],
        values[0, 0, 0],
        np.broadcast_to(values[0], (50, 5, 3)),
        values.transpose(1, 0, 2)[None],
        values.astype(ml_dtypes.bfloat16).T,
        np.ones((3, 40), ml_dtypes.int4).T,
        values > 0,
        np.array(["a", "bcd"]),
    ):
        assert hashing.sha256_array(array) == hashing.sha256(np.ascontiguousarray(array).tobytes())
