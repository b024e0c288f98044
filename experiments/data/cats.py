"""The cat images of deep-learning courses: 259 photographs, cat or not.

The photographs have 64x64 pixels. The two HDF5 files are read from the folder $FNN_DATA or its subfolder cats or
catvnoncat. Otherwise they are downloaded into pooch's cache. In either case their content must match a known SHA-256.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from experiments.data import downloads
from experiments.data.downloads import Source
from experiments.data.hdf5 import read_hdf5
from experiments.errors import DataError

# at fixed commits, so the files cannot change
MIRRORS = (
    "https://raw.githubusercontent.com/ramakris/coursera-deeplearning/b1c8f954b5711f918c75f764138837bbe1b3f7fc/datasets/",
    "https://raw.githubusercontent.com/Youngyi/DeepLearning/dff21304241c5e651d4a6680cba6e23c3990e915/datasets/",
    "https://raw.githubusercontent.com/nb137/NNandDL/6eb735a30ee65ab995d2de5b8a3a04dfbf5ee597/",
)

# name -> the SHA-256 of the file
FILES = {
    "train_catvnoncat.h5": "fbe56ab67c3ae28d564e3a644189117976d6b31af0a3ce9bb17dbf22908af242",
    "test_catvnoncat.h5": "6a9d39ce52fa85953c5834695b8534a30ed8cfd54971fb2f080b5a24d002b951",
}

CLASSES = ("non-cat", "cat")
SHAPE = (64, 64, 3)


class Cats(NamedTuple):
    """Photographs, labels, and the names of the classes.

    Channels range from 0 to 1. A label is 1 for a cat, otherwise 0.
    """

    train_x: Float32[np.ndarray, "train 64 64 3"]
    train_y: Int32[np.ndarray, " train"]
    test_x: Float32[np.ndarray, "test 64 64 3"]
    test_y: Int32[np.ndarray, " test"]
    classes: tuple[str, ...] = CLASSES


def _verify(path: Path, name: str) -> None:
    """Raise DataError unless the file has the SHA-256 known for this name."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if digest != FILES[name]:
        raise DataError(f"{path}: not the {name} of the courses: its SHA-256 is {digest}, not {FILES[name]}")


def _part(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the images and labels of one file."""
    _verify(path, name)
    part, arrays = name.partition("_")[0], read_hdf5(path)
    x, y = arrays.get(f"{part}_set_x"), arrays.get(f"{part}_set_y")
    if x is None or y is None or x.shape != (len(x), *SHAPE) or y.shape != (len(x),):
        shapes = {key: array.shape for key, array in arrays.items()}
        raise DataError(f"{path}: must hold {part}_set_x (n, 64, 64, 3) and {part}_set_y (n,), got {shapes}")
    return x.astype(np.float32) / np.float32(255), y.astype(np.int32)


def source() -> Source:
    """Return where to find and download the two files."""
    return Source("the cat images", FILES, "", MIRRORS, ("cats", "catvnoncat"), _verify)


def _load(paths: dict[str, Path]) -> Cats:
    (train_x, train_y), (test_x, test_y) = (_part(paths[name], name) for name in FILES)
    return Cats(train_x, train_y, test_x, test_y)


def find_cats() -> Cats | None:
    """Load the images from $FNN_DATA or the cache; None if they are in neither.

    Raises:
      DataError: if a file is damaged.
    """
    paths = downloads.find(source())
    return None if paths is None else _load(paths)


def load_cats() -> Cats:
    """Load the images from $FNN_DATA or the cache, or download them once (3 MB).

    Raises:
      DataError: if a file is damaged or cannot be downloaded.
    """
    return _load(downloads.fetch(source()))
