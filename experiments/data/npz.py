"""Read arrays of numbers from .npz archives, without pickle.

Sizes are bounded before anything is allocated.
"""

import ast
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from experiments.errors import DataError

_LARGEST = 2**27  # bytes of all arrays together
_MEMBERS, _HEADER = 1000, 1000  # arrays in an archive, bytes in an array's header
_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c(8|16))")


def read_npz(path: Path, largest: int = _LARGEST) -> dict[str, np.ndarray]:
    """Read the arrays of an archive as {name: array}.

    Arrays must hold numbers or booleans. Nothing is unpickled. Before anything is allocated, the sizes in the archive
    and in each array's header must agree, and are checked against `largest` bytes.

    Raises:
      DataError: if the archive or an array is invalid; the message names the file and the array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _arrays(path, archive, largest)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it ends too early"
        raise DataError(f"{path}: cannot be read: {reason}") from None


def _arrays(path: Path, archive: zipfile.ZipFile, largest: int) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if not members or len(members) > _MEMBERS:
        raise DataError(f"{path}: must contain 1 to {_MEMBERS} arrays, got {len(members)}")
    declared = sum(member.file_size for member in members)
    if declared > largest:
        raise DataError(f"{path}: its arrays declare {declared:,} bytes, more than {largest:,}")
    arrays: dict[str, np.ndarray] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in arrays:
            reason = "occurs twice" if name in arrays else "is not an array: its name does not end in .npy"
            raise DataError(f"{path}: {member.filename!r} {reason}")
        with archive.open(member) as content:
            arrays[name] = _array(f"{path}: {name!r}", cast(BinaryIO, content), member.file_size)
    return arrays


def _array(where: str, content: BinaryIO, size: int) -> np.ndarray:
    """Read one array from a member of the archive with this many bytes."""
    magic = content.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise DataError(
            f"{where} is not an array of NumPy's format 1 or 2: it starts with {magic.hex(' ') or 'nothing'}"
        )
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(content.read(width), "little")
    if length > _HEADER:
        raise DataError(f"{where}: its header declares {length:,} bytes, more than {_HEADER}")
    dtype, order, shape = _header(where, content.read(length))
    expected = 8 + width + length + math.prod(shape) * dtype.itemsize
    if expected != size:
        raise DataError(f"{where}: its header ({dtype}, {shape}) declares {expected:,} bytes, the archive {size:,}")
    data = content.read(size + 1)
    if len(data) != size - 8 - width - length:
        raise DataError(f"{where}: must have {size - 8 - width - length:,} bytes, got {len(data):,}")
    if dtype.kind == "b" and data.translate(None, b"\x00\x01"):
        raise DataError(f"{where}: booleans must be 0 or 1")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _header(where: str, text: bytes) -> tuple[np.dtype, Any, tuple[int, ...]]:
    """Parse a header of numbers or booleans into dtype, order and shape."""
    try:
        header = ast.literal_eval(text.decode("ascii").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
        known = len(header) == 3 and isinstance(fortran, bool) and isinstance(shape, tuple)
        counts = known and len(shape) <= 32 and all(type(n) is int and n >= 0 for n in shape)
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        counts = descr = shape = fortran = None
    if not counts or not isinstance(shape, tuple):
        raise DataError(f"{where}: its header is not a valid NumPy header: {text[:60]!r}")
    if not isinstance(descr, str) or not _NUMBERS.fullmatch(descr):
        raise DataError(f"{where} must hold numbers or booleans, got {str(descr)[:60]!r}")
    return np.dtype(descr), "F" if fortran else "C", shape
