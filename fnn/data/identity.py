"""What a checkpoint records of arrays that stay on the host or in files, so that `fit` resumes with the same data."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from fnn.checks.host_values import narrowed
from fnn.hashing import hash_array, sha256_array

_SAMPLE = 256  # number of rows of an array that are read and hashed


def describe_array(array: Any) -> str:
    """Describe an array by dtype, shape, a hash of a sample of its rows, and what can be known of the others.

    Of an array in memory all values are hashed. A file may be too large for that: its size and the time of its last
    change are recorded instead. Of an array that names no file, only the sample is known.

    Args:
      array: an array on the host, in a file, or one that is indexed like an array.
    """
    text = describe_sample(array)
    path = file_of(array)
    if path is not None:
        status = os.stat(path)
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        changed = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"
        return f"{text}; file of {status.st_size} bytes, changed {changed}"
    return f"{text}; all #{sha256_array(array)[:12]}" if isinstance(array, np.ndarray) else text


def describe_sample(array: Any) -> str:
    """Describe an array by dtype, shape, and a hash of a sample of its rows."""
    size = array.shape[0]
    sampled = np.linspace(0, size - 1, min(size, _SAMPLE)).astype(np.int64)
    sample = narrowed(np.asarray(array[sampled]), lambda row: f"row {sampled[row]}")
    return f"{array.dtype} {tuple(array.shape)}, of it {hash_array(sample)}"


def file_of(array: Any) -> Path | None:
    """Return the file that holds an array: that of a np.memmap, of a view of one, or of an h5py dataset."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            return _existing(array.filename)
        array = array.base
    return _existing(getattr(getattr(array, "file", None), "filename", None))


def _existing(name: Any) -> Path | None:
    return Path(os.fsdecode(name)) if isinstance(name, str | Path) and os.path.isfile(name) else None
