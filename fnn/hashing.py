"""SHA-256 of bytes, files and arrays."""

import hashlib
from collections.abc import Iterator
from io import BufferedReader
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


def sha256_file(file: BufferedReader) -> tuple[str, int]:
    """Return the SHA-256 of an open file in hexadecimal, and its size in bytes."""
    return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


_BLOCK = 2**22  # bytes of an array that are hashed or written at a time


def blocks(array: np.ndarray) -> Iterator[Any]:
    """Yield the bytes of an array in C order, block by block. Contiguous memory is not copied."""
    if array.dtype.hasobject:  # no memory of its own
        yield array.tobytes()
    elif array.flags.c_contiguous:
        memory = array.reshape(-1).view(np.uint8).data
        yield from (memory[begin : begin + _BLOCK] for begin in range(0, len(memory), _BLOCK))
    elif array.nbytes <= _BLOCK:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    else:
        rows = max(1, _BLOCK * len(array) // array.nbytes)
        for begin in range(0, len(array), rows):
            yield from blocks(array[begin : begin + rows] if len(array) > 1 else array[0])


def sha256_array(array: np.ndarray) -> str:
    """Return the SHA-256 of the values of an array, in C order, in hexadecimal.

    >>> sha256_array(np.arange(6).reshape(2, 3).T) == sha256(np.arange(6).reshape(2, 3).T.tobytes())
    True
    """
    digest = hashlib.sha256()
    for block in blocks(np.asarray(array)):
        digest.update(block)
    return digest.hexdigest()


def hash_array(value: Any) -> str:
    """Describe an array by dtype, shape and a short hash of its values.

    If the array is split over several processes, the text has no hash: no process can read all of its values.

    >>> hash_array(np.zeros((2, 3), "float32"))
    'float32 (2, 3) #9d908ecfb6b2'
    """
    data = jax.random.key_data(value) if is_key(value) else value
    readable = getattr(data, "is_fully_addressable", True) or data.is_fully_replicated
    values = f" #{sha256_array(jax.device_get(data))[:12]}" if readable else ""
    return f"{value.dtype} {tuple(value.shape)}{values}"


def hash_tree(leaves: PyTree) -> str:
    """Return the first 12 digits of one SHA-256 over all leaves of a tree, in order.

    >>> hash_tree([np.zeros(3), np.ones(3)]) == hash_tree([np.ones(3), np.zeros(3)])
    False
    """
    return sha256(" ".join(map(hash_array, jax.tree.leaves(leaves))).encode())[:12]
