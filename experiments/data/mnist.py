"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun et al. 1998).

The four IDX files, gzipped or not, are read from the folder $FNN_DATA or its subfolder mnist. Otherwise they are
downloaded into pooch's cache. In either case their content must match a known SHA-256.
"""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from experiments.data import downloads
from experiments.data.downloads import Source
from experiments.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# name -> the shape, and the SHA-256 of the uncompressed content
FILES = {
    "train-images-idx3-ubyte": ((60000, 28, 28), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": ((60000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": ((10000, 28, 28), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": ((10000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}

_LARGEST = 2**27  # maximum bytes of a file's content: more than twice MNIST's largest file
_DIMENSIONS = 32
_GZIP = b"\x1f\x8b"


class Mnist(NamedTuple):
    """Pixels from 0 (paper) to 1 (ink), a row per image, and labels 0 to 9."""

    train_x: Float32[np.ndarray, "train 784"]
    train_y: Int32[np.ndarray, " train"]
    test_x: Float32[np.ndarray, "test 784"]
    test_y: Int32[np.ndarray, " test"]


def read_idx(path: Path, largest: int = _LARGEST) -> UInt8[np.ndarray, "..."]:
    """Read the array of bytes in an IDX file, gzipped or not.

    The format is: the bytes 0 0 8 n, then n sizes of 4 bytes each, then the entries. Before anything is allocated, the
    size in the header is checked against `largest` bytes.

    Raises:
      DataError: if the header is invalid or the content is shorter or longer than the header declares.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            if not packed:
                return _parse(path, file, largest)
            with gzip.open(file) as content:
                return _parse(path, cast(BinaryIO, content), largest)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path}: cannot be read: {reason}") from None


def _parse(path: Path, content: BinaryIO, largest: int) -> UInt8[np.ndarray, "..."]:
    magic = content.read(4)
    if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
        raise DataError(f"{path}: not an IDX file of bytes: it starts with {magic.hex(' ') or 'nothing'}")
    if magic[3] > _DIMENSIONS:
        raise DataError(f"{path}: its header declares {magic[3]} dimensions, more than {_DIMENSIONS}")
    header = content.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise DataError(f"{path}: ends within its header")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4))
    size, full = math.prod(shape), math.prod(max(side, 1) for side in shape)
    if full > largest:  # counts a side of 0 as 1, since the other sides must be valid too
        raise DataError(f"{path}: its header {shape} declares {full:,} bytes, more than {largest:,}")
    entries = content.read(size + 1)
    if len(entries) != size:
        got = f"{len(entries):,}" if len(entries) < size else "more"
        raise DataError(f"{path}: its header {shape} declares {size:,} bytes, got {got}")
    return np.frombuffer(entries, np.uint8).reshape(shape)


def _verified(path: Path, name: str) -> UInt8[np.ndarray, "..."]:
    """Read a file; raise DataError unless its content is MNIST's."""
    shape, expected = FILES[name]
    array = read_idx(path)
    if array.shape != shape:
        raise DataError(f"{path}: must have the shape {shape}, got {array.shape}")
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    content = hashlib.sha256(header)
    content.update(memoryview(cast(Any, array)))
    if content.hexdigest() != expected:
        raise DataError(f"{path}: not MNIST: its content has the SHA-256 {content.hexdigest()}, not {expected}")
    return array


def source() -> Source:
    """Return where to find and download the four files."""
    return Source("MNIST", FILES, ".gz", MIRRORS, ("mnist",), _verified)


def _load(paths: dict[str, Path]) -> Mnist:
    train_x, train_y, test_x, test_y = (_verified(paths[name], name) for name in FILES)
    return Mnist(_pixels(train_x), train_y.astype(np.int32), _pixels(test_x), test_y.astype(np.int32))


def _pixels(images: UInt8[np.ndarray, "n 28 28"]) -> Float32[np.ndarray, "n 784"]:
    return images.reshape(len(images), -1) / np.float32(255)


def find_mnist() -> Mnist | None:
    """Load MNIST from $FNN_DATA or the cache; None if it is in neither.

    Raises:
      DataError: if a file is damaged.
    """
    paths = downloads.find(source())
    return None if paths is None else _load(paths)


def load_mnist() -> Mnist:
    """Load MNIST from $FNN_DATA or the cache, or download it once (11 MB).

    Raises:
      DataError: if a file is damaged or cannot be downloaded.
    """
    return _load(downloads.fetch(source()))
