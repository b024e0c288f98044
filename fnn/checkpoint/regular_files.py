"""Reading files that may be missing, damaged or placed by somebody else.

Only regular files are opened. No link is followed below the folder, and nothing is read from pipes and devices. What
is missing or is something else than a file raises DamagedError. An error of the system (too many open files, a failing
disk, missing permissions) says nothing about the file and stays an OSError.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from fnn.checkpoint.atomic import name_errors

_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}
_MAX_NAME = 255  # bytes of one part of a name
_FOLDER = "a folder"
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: _FOLDER,
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class DamagedError(ValueError):
    """The content of a file is missing or wrong, for example because it differs from its recorded SHA-256."""


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Return True if both are of the same file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def file_kind(status: os.stat_result) -> str:
    """Return what a file is, in words; nothing for a regular file."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "" if stat.S_ISREG(status.st_mode) else "a special file")


def is_plain_name(name: Any) -> bool:
    """Return True for a relative name of a file, with `/` between its parts, that does not leave its folder.

    >>> [is_plain_name(name) for name in ("state.safetensors", "state.orbax/d/0", "../x", "/dev/zero", "a//b")]
    [True, True, False, False, False]
    """
    if not isinstance(name, str) or "\0" in name or "\\" in name:
        return False
    try:
        sizes = [len(part.encode()) for part in name.split("/")]
    except UnicodeEncodeError:
        return False
    inside = not {".", ".."} & set(name.split("/")) and not PurePosixPath(name).is_absolute()
    return inside and all(0 < size <= _MAX_NAME for size in sizes)


@contextlib.contextmanager
def open_regular(folder: Path, name: str) -> Iterator[BufferedReader]:
    """Open a file in a folder, given its plain name, for reading.

    Raises:
      DamagedError: if there is none, or if it, the folder or a folder between them is not what it should be.
      OSError: if it cannot be opened now.
    """
    path = folder / name
    try:
        status, parents = os.lstat(path), [folder, *(folder / parent for parent in PurePosixPath(name).parents)]
        for parent in dict.fromkeys(parents):
            if (kind := file_kind(os.lstat(parent))) != _FOLDER:
                raise DamagedError(f"{folder}: {parent} must be a folder, got {kind or 'a file'}")
        if file_kind(status):
            raise DamagedError(f"{folder}: {name} must be a regular file, got {file_kind(status)}")
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _MISSING:
            raise DamagedError(f"{folder}: {error.strerror}: {error.filename}") from error
        raise
    with os.fdopen(descriptor, "rb") as file, name_errors(path):
        if not same_file(os.fstat(descriptor), status):
            raise DamagedError(f"{folder}: {name} was replaced while it was opened")
        yield file


def read_regular(folder: Path, name: str, max_size: int | None = None) -> bytes:
    """Return the bytes of a file, as `open_regular` opens it. A file of more than `max_size` bytes is damaged."""
    with open_regular(folder, name) as file:
        size = os.fstat(file.fileno()).st_size
        if max_size is not None and size > max_size:
            raise DamagedError(f"{folder}: {name} has {size} bytes, more than {max_size}")
        return file.read()
