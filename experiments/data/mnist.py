"""MNIST: 70,000 handwritten digits, 28x28 pixels (LeCun, Cortes and Burges 1998). From a folder, or downloaded once.

$FNN_DATA names a folder that holds the four IDX files, gzipped or not, itself or in a folder mnist. Without them there
they are downloaded into pooch's cache. Whatever their source, their content is compared with its SHA-256.
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

# name -> the shape, and the SHA-256 of the content, not compressed
FILES = {
    "train-images-idx3-ubyte": ((60000, 28, 28), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": ((60000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": ((10000, 28, 28), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": ((10000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}

_LARGEST = 2**27  # bytes that a file's content may have: more than twice MNIST's largest
_DIMENSIONS = 32
_GZIP = b"\x1f\x8b"


class Mnist(NamedTuple):
    """Pixels from 0 (paper) to 1 (ink), a row per image; the digits."""

    train_x: Float32[np.ndarray, "train 784"]
    train_y: Int32[np.ndarray, " train"]
    test_x: Float32[np.ndarray, "test 784"]
    test_y: Int32[np.ndarray, " test"]


def read_idx(path: Path, largest: int = _LARGEST) -> UInt8[np.ndarray, "..."]:
    """The array of bytes in an IDX file, gzipped or not: 0 0 8 n, n sizes of 4 bytes, then the entries.

    What the header promises is bounded (by `largest`) before anything is allocated, and must be all that there is.
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
        raise DataError(f"{path}: its header promises {magic[3]} sizes, more than {_DIMENSIONS}")
    header = content.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise DataError(f"{path}: ends within its header")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4))
    size, full = math.prod(shape), math.prod(max(side, 1) for side in shape)
    if full > largest:  # a size of 0 among them promises nothing, and yet no array may have the others
        raise DataError(f"{path}: its header {shape} promises {full:,} bytes, more than {largest:,}")
    entries = content.read(size + 1)
    if len(entries) != size:
        came = f"{len(entries):,}" if len(entries) < size else "more"
        raise DataError(f"{path}: its header {shape} promises {size:,} bytes, got {came}")
    return np.frombuffer(entries, np.uint8).reshape(shape)


def _verified(path: Path, name: str) -> UInt8[np.ndarray, "..."]:
    """The content of the file, which must be that of MNIST's file of this name."""
    shape, expected = FILES[name]
    array = read_idx(path)
    if array.shape != shape:
        raise DataError(f"{path}: must have the shape {shape}, got {array.shape}")
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    content = hashlib.sha256(header)
    content.update(memoryview(cast(Any, array)))
    if content.hexdigest() != expected:
        raise DataError(f"{path}: not MNIST's: its content has the SHA-256 {content.hexdigest()}, not {expected}")
    return array


def source() -> Source:
    """Where to find and to get the four files of MNIST."""
    return Source("MNIST", FILES, ".gz", MIRRORS, ("mnist",), _verified)


def _load(paths: dict[str, Path]) -> Mnist:
    train_x, train_y, test_x, test_y = (_verified(paths[name], name) for name in FILES)
    return Mnist(_pixels(train_x), train_y.astype(np.int32), _pixels(test_x), test_y.astype(np.int32))


def _pixels(images: UInt8[np.ndarray, "n 28 28"]) -> Float32[np.ndarray, "n 784"]:
    return images.reshape(len(images), -1) / np.float32(255)


def find_mnist() -> Mnist | None:
    """MNIST, if it is in $FNN_DATA or in the cache: nothing is downloaded. DataError if what is there is damaged."""
    paths = downloads.find(source())
    return None if paths is None else _load(paths)


def load_mnist() -> Mnist:
    """MNIST; downloads 11 MB, once, where it is not there. DataError if it cannot be had."""
    return _load(downloads.fetch(source()))
