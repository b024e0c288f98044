"""Read arrays from HDF5 files with data sets of numbers in the root group."""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import DataError, needs

_LARGEST = 2**27  # bytes of all arrays together, and of a file
_CHUNKS = 100_000
_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3


def read_hdf5(path: Path, largest: int = _LARGEST) -> dict[str, np.ndarray]:
    """Read the data sets of numbers in the root group as {name: array}.

    Groups and text are ignored.

    Before anything is allocated, the sizes in the headers are checked against `largest` bytes and against the content
    of the file.

    Raises:
      DataError: for links, virtual data sets, filters other than gzip, shuffle and Fletcher's checksum, and chunks of
        the wrong size. The message names the file and the data set.
    """
    needs("h5py")
    import h5py

    try:
        size = path.stat().st_size
        if size > largest:
            raise DataError(f"{path}: has {size:,} bytes, more than {largest:,}")
        with h5py.File(path, "r", locking=False) as file:
            return _arrays(path, file, largest, size)
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read: {reason}") from None


def _arrays(path: Path, file: Any, largest: int, size: int) -> dict[str, np.ndarray]:
    import h5py

    found, declared = {}, 0
    for name in file:
        where = f"{path}: {name!r}"
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{where} is a link, not a data set")
        part = file[name]
        if not isinstance(part, h5py.Dataset) or part.dtype.kind in "SOU":
            continue
        if part.dtype.kind not in "biuf" or part.shape is None:
            raise DataError(f"{where} must hold numbers, got {part.dtype}")
        declared += part.nbytes
        if declared > largest:
            raise DataError(f"{where} ({part.dtype}, {part.shape}): {declared:,} bytes declared, more than {largest:,}")
        _check_storage(where, part, size)
        found[name] = part
    if not found:
        raise DataError(f"{path}: has no data sets of numbers")
    return {name: part[()] for name, part in found.items()}


def _check_storage(where: str, part: Any, size: int) -> None:
    """Raise DataError unless the file contains all that the header declares."""
    if part.is_virtual or part.external:
        raise DataError(f"{where} is stored in other files")
    if part.chunks is None:
        stored = part.id.get_storage_size()
        if stored != part.nbytes or stored > size:
            raise DataError(f"{where}: declares {part.nbytes:,} bytes, the file has {min(stored, size):,}")
        return
    plist = part.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    unknown = [number for number in filters if number not in (_DEFLATE, _SHUFFLE, _FLETCHER)]
    if unknown or filters.count(_DEFLATE) > 1:
        raise DataError(f"{where} uses unsupported filters ({filters})")
    chunk = math.prod(part.chunks) * part.dtype.itemsize
    expected = math.prod(-(-n // c) for n, c in zip(part.shape, part.chunks, strict=True))
    count = part.id.get_num_chunks()
    if count != expected or count > _CHUNKS or chunk > max(part.nbytes, 1) * 16:
        raise DataError(f"{where}: declares {expected:,} chunks (at most {_CHUNKS:,}), the file has {count:,}")
    for index in range(count):
        info = part.id.get_chunk_info(index)
        if info.byte_offset is None or info.byte_offset + info.size > size or info.filter_mask:
            raise DataError(f"{where}: chunk {index} is not in the file")
        packed = part.id.read_direct_chunk(info.chunk_offset)[1]
        packed = packed[:-4] if _FLETCHER in filters else packed
        if _unpacked(where, packed, chunk, _DEFLATE in filters) != chunk:
            raise DataError(f"{where}: chunk {index} does not decompress to {chunk:,} bytes")


def _unpacked(where: str, packed: bytes, chunk: int, deflated: bool) -> int:
    """Return the decompressed size of a chunk.

    Decompression stops one byte after the expected size.
    """
    if not deflated:
        return len(packed)
    try:
        return len(zlib.decompressobj().decompress(packed, chunk + 1))
    except zlib.error as error:
        raise DataError(f"{where}: {error}") from None
