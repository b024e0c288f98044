"""SHA-256 of bytes, files and arrays."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from fnn.dtypes import is_key


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal.

    >>> sha256(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> tuple[str, int]:
    """Return the SHA-256 of a file in hexadecimal, and its size in bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def hash_array(value: Any) -> str:
    """Describe an array by dtype, shape and a short hash of its values.

    If the array is split over several processes, the text has no hash: no process can read all of its values.

    >>> hash_array(np.zeros((2, 3), "float32"))
    'float32 (2, 3) #9d908ecfb6b2'
    """
    data = jax.random.key_data(value) if is_key(value) else value
    readable = getattr(data, "is_fully_addressable", True) or data.is_fully_replicated
    values = f" #{sha256(np.ascontiguousarray(jax.device_get(data)).tobytes())[:12]}" if readable else ""
    return f"{value.dtype} {tuple(value.shape)}{values}"


def hash_tree(leaves: PyTree) -> str:
    """Return the first 12 digits of one SHA-256 over all leaves of a tree, in order.

    >>> hash_tree([np.zeros(3), np.ones(3)]) == hash_tree([np.ones(3), np.zeros(3)])
    False
    """
    return sha256(" ".join(map(hash_array, jax.tree.leaves(leaves))).encode())[:12]
