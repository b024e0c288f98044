"""The lock of a folder: replaced folders, forked processes, and systems without locks."""

import errno
import multiprocessing
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from fnn.checkpoint import CheckpointWarning, LockedError, manifest, store, writing
from tests.support.checkpoint_files import STATE, names
from tests.support.held_saves import threads
from tests.support.training import bits
from tests.support.training import small_fit as fit

ROOT = Path(__file__).parents[2]


def replacing(folder, again):
    """A callback that removes the folder after the second epoch and lets another training save into a new one."""

    def callback(epoch, logs, state):
        if epoch == 2:
            while threads():  # it would write into the folder that is being removed
                time.sleep(0.01)
            shutil.rmtree(folder)
            if again:
                for step in (100, 101, 102):
                    store.save(folder, STATE, step=step)

    return callback


@pytest.mark.parametrize("again", [True, False])
def test_a_training_does_not_write_into_a_folder_that_replaced_its_own(again, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(LockedError, match=f"{folder} was removed or replaced"):
        fit(checkpoint_dir=folder, keep=1, epochs=4, callback=replacing(folder, again))
    assert (names(folder) if again else folder.exists()) == (
        ["step-00000100", "step-00000101", "step-00000102"] if again else False
    )


def test_a_folder_that_is_replaced_while_a_checkpoint_is_written_is_not_pruned(tmp_path):
    folder = tmp_path / "run"
    with store.open_folder(folder) as held:
        path = writing.write(held, 1, {manifest.STATE: STATE})
        os.rename(folder, tmp_path / "moved")
        other = store.save(folder, STATE, step=1)
        with pytest.raises(LockedError, match="removed or replaced"):
            writing.write(held, 1, {manifest.STATE: STATE})
        assert names(folder) == [other.name] == names(tmp_path / "moved") == [path.name]


def test_the_same_folder_under_another_name_is_locked_too(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with store.open_folder(tmp_path / "run"), pytest.raises(LockedError, match="in use"):
        store.save(tmp_path / "link", STATE)
    assert store.save(tmp_path / "link", STATE).exists(), "a link to the folder itself is followed"


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
        whole = fit(checkpoint_dir=tmp_path, callback=callback, epochs=3)
        assert children[0].is_alive()
        again = fit(checkpoint_dir=tmp_path, epochs=3, resume=True)
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
        fit(checkpoint_dir=tmp_path / "run", epochs=4, callback=replacing(tmp_path / "run", False))


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
