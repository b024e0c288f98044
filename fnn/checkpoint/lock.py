"""The lock of a folder of checkpoints: one training at a time writes into it.

The lock is the kernel's (`flock`) on the file `.lock`, which holds the number of the process that has it. The kernel
releases it when the process ends, however it ends. A process that was forked from the holder does not have it.
"""

import contextlib
import errno
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fnn.checkpoint.atomic import name_errors
from fnn.checkpoint.regular_files import DamagedError, file_kind, same_file

try:
    import fcntl as _fcntl
except ImportError:  # Python without POSIX's locks, for example on Windows
    _fcntl = None
fcntl: Any = _fcntl

_LOCK = ".lock"
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
_FLAGS = os.O_RDWR | os.O_CREAT | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))


class LockedError(RuntimeError):
    """Another training writes into the folder, or the folder is no longer the one that this training locked."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged or was saved with other versions of libraries, or its folder cannot be locked."""


class FolderLock:
    """The lock of a folder, held by this process from `lock` on until the context ends.

    Attributes:
      folder: the folder.
      descriptor: the open file `.lock`; None in a process that does not hold the lock.
    """

    def __init__(self, folder: Path, descriptor: int | None) -> None:
        self.folder, self.descriptor = folder, descriptor

    def check(self) -> None:
        """Check that this process still holds the lock, and that the folder is still the one it locked.

        Raises:
          LockedError: if the folder was removed or replaced, or if this process was forked from the one that holds it.
        """
        if self.descriptor is None:
            raise LockedError(f"{self.folder}: process {os.getpid()} does not hold the lock of this folder")
        try:
            current = os.lstat(self.folder / _LOCK)
        except (FileNotFoundError, NotADirectoryError):
            current = None
        if current is None or not same_file(current, os.fstat(self.descriptor)):
            raise LockedError(
                f"{self.folder} was removed or replaced after process {os.getpid()} locked it; nothing is written to "
                "it, and nothing in it is removed"
            )


_held: set[FolderLock] = set()


def _close_after_fork() -> None:
    """Close the locks that a forked process inherited, without releasing them: they are the parent's."""
    for held in _held:
        descriptor, held.descriptor = held.descriptor, None
        if descriptor is not None:
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[FolderLock]:
    """Hold the folder's lock for the duration of the context.

    A file system or a Python without locks is a CheckpointWarning: nothing then keeps out another process.

    Raises:
      LockedError: if the lock is held; the error names the folder and the process that holds it.
      DamagedError: if `.lock` is something else than the lock of a folder of checkpoints. It is left as it is.
    """
    path = folder / _LOCK
    descriptor = _open(path)
    held = FolderLock(folder, descriptor)
    try:
        for other in _held:
            if other.descriptor is not None and same_file(os.fstat(other.descriptor), os.fstat(descriptor)):
                raise _in_use(folder, str(os.getpid()))
        _lock(folder, path, descriptor)
        with name_errors(path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        _held.add(held)
        yield held
    finally:
        _held.discard(held)
        if held.descriptor is not None:  # None after a fork: the parent holds the lock
            held.descriptor = None
            _unlock(descriptor)
            os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock's file, which is created if it is missing. No link is followed."""
    try:
        kind = file_kind(os.lstat(path))
    except FileNotFoundError:
        kind = ""
    if kind:
        raise DamagedError(f"{path} must be a regular file, got {kind}; remove it if no training uses the folder")
    descriptor = os.open(path, _FLAGS, 0o644)
    try:
        content = os.read(descriptor, 33) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b"not a file"
        if not re.fullmatch(rb"\d{0,31}\n?", content):  # perhaps a hard link to a file of somebody else's
            raise DamagedError(f"{path} must be the lock of a folder of checkpoints, got a file with other content")
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(folder: Path, path: Path, descriptor: int) -> None:
    if fcntl is None:
        _warn(folder, "this Python has no fcntl")
        return
    try:
        with name_errors(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        content = os.read(descriptor, 32)
        raise _in_use(folder, content.decode("ascii", "replace").strip() or "unknown") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(folder, f"its file system has no locks: {error.strerror}")


def _in_use(folder: Path, holder: str) -> LockedError:
    message = f"{folder} is in use: process {holder} is writing checkpoints into it"
    return LockedError(message + " (this process)" * (holder == str(os.getpid())))


def _warn(folder: Path, reason: str) -> None:
    advice = "Make sure that no other training writes checkpoints into it"
    warnings.warn(f"{folder} cannot be locked ({reason}). {advice}", CheckpointWarning, stacklevel=6)


def _unlock(descriptor: int) -> None:
    """Release the lock also for a process that inherited it in a way that Python does not know of."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
