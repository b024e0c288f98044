"""Failing disks raise an error and never cost a checkpoint or leave half of one."""

import builtins
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fnn
from fnn.checkpoint import atomic, store
from tests.support.training import bits, fit

ROOT = Path(__file__).parents[2]
ONE, TWO = {"x": np.arange(3000.0, dtype="float32")}, {"x": -np.arange(3000.0, dtype="float32")}


class Failing:
    """Pass calls through, except that the n-th call raises an OSError with this errno."""

    def __init__(self, number: int, code: int):
        self.left, self.code, self.done = number, code, False

    def due(self) -> bool:
        self.left -= 1
        self.done |= self.left == 0
        return self.left == 0

    def around(self, function):
        def call(*args, **kwargs):
            if self.due():
                raise OSError(self.code, os.strerror(self.code))
            return function(*args, **kwargs)

        return call

    def open(self, *args, **kwargs):
        """Open a file whose n-th write stops half way."""
        file = builtins.open(*args, **kwargs)  # noqa: SIM115
        write = file.write

        def half(data):
            if self.due():
                write(data[: len(data) // 2])
                raise OSError(self.code, os.strerror(self.code))
            return write(data)

        return Proxy(file, half)


class Proxy:
    def __init__(self, file, write):
        self.file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def raised(function) -> OSError | None:
    """Call the function and return the OSError that it raises, if any."""
    try:
        function()
    except OSError as error:
        return error
    return None


FAULTS = {  # operation -> error codes it fails with
    "write": (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EDQUOT),
    "open": (errno.EACCES, errno.EROFS, errno.EMFILE),
    "fsync": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EACCES, errno.ENOSPC, errno.EXDEV),
    "replace": (errno.EACCES, errno.ENOSPC),
    "mkdir": (errno.EACCES, errno.EROFS, errno.ENOSPC),
}


def fail(patch, operation: str, number: int, code: int) -> Failing:
    """Make the n-th operation of this kind fail."""
    fault = Failing(number, code)
    if operation == "write":
        patch.setattr(atomic, "open", fault.open, raising=False)
    elif operation == "open":
        patch.setattr(atomic, "open", fault.around(builtins.open), raising=False)
    else:
        patch.setattr(os, operation, fault.around(getattr(os, operation)))
    return fault


@pytest.mark.parametrize("operation", [name for name in FAULTS if name != "replace"])
def test_a_fault_at_any_point_of_saving_raises_and_costs_nothing(operation, tmp_path):
    points = 0
    for code in FAULTS[operation]:
        for number in range(1, 100):
            folder = tmp_path / f"{code}-{number}"
            store.save(folder, ONE, step=1)
            with pytest.MonkeyPatch.context() as patch:
                fault = fail(patch, operation, number, code)
                error = raised(lambda folder=folder: store.save(folder, TWO, step=2))
            if not fault.done:
                assert error is None
                break
            points += 1
            case = f"{operation} {number} fails with {errno.errorcode[code]}"
            assert error is not None, f"{case}: no error was raised"
            assert error.errno == code, case
            latest = store.latest(folder)
            restored = bits(store.restore(folder, ONE))
            assert restored == bits({1: ONE, 2: TWO}[int(latest.name[5:])])
            assert bits(store.restore(folder / "step-00000001", ONE)) == bits(ONE)
            assert not list(folder.glob(".tmp-*"))
            store.save(folder, TWO, step=3)
            assert bits(store.restore(folder, ONE)) == bits(TWO)
    assert points >= len(FAULTS[operation])


@pytest.mark.parametrize("operation", ["write", "open", "fsync", "replace"])
def test_a_fault_in_writing_parameters_keeps_the_previous_file(operation, tmp_path):
    path, points = tmp_path / "p.safetensors", 0
    for code in FAULTS[operation]:
        for number in range(1, 10):
            fnn.checkpoint.export_params(path, ONE)
            with pytest.MonkeyPatch.context() as patch:
                fault = fail(patch, operation, number, code)
                error = raised(lambda: fnn.checkpoint.export_params(path, TWO))
            if not fault.done:
                assert error is None
                break
            points += 1
            assert error is not None
            assert error.errno == code
            now = bits(fnn.checkpoint.import_params(path, ONE))
            after_rename = operation == "fsync" and number == 2  # of the folder: the new file is complete
            assert now == bits(TWO if after_rename else ONE)
            assert [p.name for p in tmp_path.iterdir()] == ["p.safetensors"]
    assert points >= len(FAULTS[operation])


def test_a_fit_on_a_full_disk_raises_and_resumes_when_there_is_room(tmp_path):
    whole = fit()
    with pytest.MonkeyPatch.context() as patch:
        opened = builtins.open
        full = Failing(1, errno.ENOSPC)
        open_ = lambda path, *args: (full.open if "step-00000010" in str(path) else opened)(path, *args)
        patch.setattr(atomic, "open", open_, raising=False)
        with pytest.raises(OSError, match=r"No space left on device.*step-00000010"):
            fit(checkpoint_dir=tmp_path)
    assert store.latest(tmp_path).name == "step-00000005"
    assert bits(fit(checkpoint_dir=tmp_path, resume=True)) == bits(whole)


LIMITED = """
import resource, sys, numpy as np
import fnn
folder, big = sys.argv[1], {"x": np.zeros(100_000, "float32")}
fnn.checkpoint.save(folder, {"x": np.zeros(10, "float32")}, step=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    fnn.checkpoint.save(folder, big, step=2)
except OSError as error:
    print(error.errno, error.filename)
print(fnn.checkpoint.latest(folder).name)
"""


def test_a_file_too_large_for_the_process(tmp_path):
    """The kernel raises a real EFBIG."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{errno.EFBIG} {tmp_path}/.tmp-")
    assert second == "step-00000001"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000


def test_a_read_only_folder(tmp_path):
    """A user without write permission gets a real EACCES."""
    folder = tmp_path / "runs"
    store.save(folder, ONE, step=1)
    me, nobody = os.geteuid(), 65534
    for path in (tmp_path, *tmp_path.parents[:2], folder):
        path.chmod(0o755)
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 0o001:
            pytest.skip(f"{parent} is not accessible to other users")
    folder.chmod(0o555)
    (folder / ".lock").chmod(0o444)
    if me == 0:
        os.seteuid(nobody)
    try:
        with pytest.raises(PermissionError) as error:
            store.save(folder, TWO, step=2)
        with pytest.raises(PermissionError):
            fit(checkpoint_dir=folder / "deeper")
        assert bits(store.restore(folder, ONE)) == bits(ONE)
    finally:
        if me == 0:
            os.seteuid(me)
        folder.chmod(0o755)
    assert str(folder) in str(error.value)


def test_a_path_that_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            fit(checkpoint_dir=path)
