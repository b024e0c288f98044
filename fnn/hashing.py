"""Hashes of arrays: what tells values from other values, in text."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from fnn.checkpoint.atomic import sha256
from fnn.dtypes import is_key


def hash_array(value: Any) -> str:
    """dtype, shape and a hash of the values; of an array that is split over processes only the former.

    >>> array(np.zeros((2, 3), "float32"))
    'float32 (2, 3) #9d908ecfb6b2'
    """
    data = jax.random.key_data(value) if is_key(value) else value
    whole = getattr(data, "is_fully_addressable", True) or data.is_fully_replicated
    values = f" #{sha256(np.ascontiguousarray(jax.device_get(data)).tobytes())[:12]}" if whole else ""
    return f"{value.dtype} {tuple(value.shape)}{values}"


def hash_tree(leaves: PyTree) -> str:
    """One hash of them all.

    >>> tree([np.zeros(3), np.ones(3)]) == tree([np.ones(3), np.zeros(3)])
    False
    """
    return sha256(" ".join(map(hash_array, jax.tree.leaves(leaves))).encode())[:12]
