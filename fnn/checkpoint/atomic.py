"""Durable, atomic writes of files and folders.

Data are written under a temporary name, flushed to the disk, read back and compared, and then renamed. A reader
therefore sees the whole new file or the previous one. A renamed file survives a crash of the process at any moment. It
survives a crash of the machine if the disk's fsync does what it promises.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fnn import hashing

_TEMPORARY = re.compile(r"\.tmp-\d+-[0-9a-f]{16}-.+")
_CANNOT_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextlib.contextmanager
def name_errors(path: Path) -> Iterator[None]:
    """Add the path to an OSError that has none.

    Errors of an open file (disk full, file too large) name no file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk.

    A rename in the folder is durable only after this. Some systems cannot flush folders, and then nothing is done.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with name_errors(folder):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """Create a folder and its missing parents durably, and return it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)
    return folder


def write_new(path: Path, parts: Iterable[Any], check: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Write a new file from parts (bytes, or memory), flush it and verify it: what the system then reads from it must
    have the SHA-256 of the parts.

    `check` is called before each part, and may raise to end the work.

    Returns:
      The file's entry in a manifest: `{"sha256": …, "bytes": …}`.
    """
    digest, size = hashlib.sha256(), 0
    with name_errors(path), open(path, "xb") as file:
        for part in parts:
            check()
            digest.update(part)
            file.write(part)
            size += len(part)
        file.flush()
        os.fsync(file.fileno())
    with name_errors(path), open(path, "rb") as file:
        if hashing.sha256_file(file) != (digest.hexdigest(), size):
            raise OSError(errno.EIO, "what was written is read back differently", str(path))
    return {"sha256": digest.hexdigest(), "bytes": size}


def temporary_path(path: Path) -> Path:
    """Return a new hidden name beside `path`, for `remove_temporaries` to find."""
    return path.parent / f".tmp-{os.getpid()}-{secrets.token_hex(8)}-{path.name}"


def write_file(path: Path, data: bytes | Iterable[Any]) -> None:
    """Write or replace a file atomically, with these bytes or parts.

    Raises:
      OSError: if a step fails; the error names the file, and the previous file is unchanged.
    """
    temporary = temporary_path(path)
    try:
        write_new(temporary, [data] if isinstance(data, bytes) else data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Flush a file that another library wrote to the disk."""
    with open(path, "rb+") as file, name_errors(path):
        os.fsync(file.fileno())


def finish_folder(temporary: Path, path: Path, check: Callable[[], None]) -> None:
    """Flush a temporary folder and rename it to `path`, unless `check` raises."""
    sync_folder(temporary)
    check()
    os.rename(temporary, path)
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Rename a folder to a temporary name, then delete it.

    An interrupted deletion thus never leaves half a checkpoint.
    """
    temporary = temporary_path(path)
    os.rename(path, temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left.

    The caller must hold the folder's lock.
    """
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
