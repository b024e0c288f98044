"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed into it.

What was renamed survives a crash of the process at any moment, and one of the machine as far as its fsync does what
it says. For POSIX: it needs `fcntl` and folders that can be flushed.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

_TEMPORARY = re.compile(r"\.tmp-\d+-[0-9a-f]{16}-.+")
_LOCK = ".lock"


class LockedError(RuntimeError):
    """Another process, or another training of this one, is writing into the folder."""


def sha256(data: bytes) -> str:
    """The hash in hexadecimal.

    >>> sha256(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> tuple[str, int]:
    """The hash of a file of any size, and how many bytes it has."""
    with open(path, "rb") as file, _named(path):
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """An OSError of an open file (disk full, file too large) says neither which file nor where: this adds it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(folder: Path) -> None:
    """Flushes the folder's list of names to the disk: only then is a rename in it durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _named(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """The folder, made durably with those above it that were missing."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)
    return folder


def _write(path: Path, data: bytes) -> None:
    with _named(path), open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def temporary_path(path: Path) -> Path:
    return path.parent / f".tmp-{os.getpid()}-{secrets.token_hex(8)}-{path.name}"


def write_file(path: Path, data: bytes) -> None:
    """Replaces the file, or leaves the one before as it is and raises the OSError that names what failed."""
    temporary = temporary_path(path)
    try:
        _write(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Flushes what another program wrote into the file to the disk."""
    with open(path, "rb+") as file, _named(path):
        os.fsync(file.fileno())


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """A new folder with these files: all of it, or an OSError that names what failed and nothing at `path`."""
    temporary = temporary_path(path)
    try:
        temporary.mkdir()
        finish_folder(temporary, path, files)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def finish_folder(temporary: Path, path: Path, files: Mapping[str, bytes]) -> None:
    """The temporary folder, with these files in it too, at `path`."""
    for name, data in files.items():
        _write(temporary / name, data)
    sync_folder(temporary)
    os.rename(temporary, path)
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Renamed before it is emptied: what is cut short leaves a temporary, never half of something good."""
    temporary = temporary_path(path)
    os.rename(path, temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def remove_temporaries(folder: Path) -> None:
    """Removes the temporaries that killed processes left. Only for the holder of the folder's lock."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keeps a second writer out of the folder; the kernel lets go of it when the process ends, however it ends.

    LockedError names the folder and the process that holds it.
    """
    path = folder / _LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            with _named(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            message = f"{folder} is in use: process {holder} is writing checkpoints into it"
            raise LockedError(message + " (this process)" * (holder == str(os.getpid()))) from None
        with _named(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
