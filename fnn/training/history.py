"""The history of a training on the host: columns that grow, so that no program depends on the number of epochs.

The device keeps the rows of the last `ROWS` epochs, which do not change its shapes however long a training is. After
each call of a program, the host appends the new rows to its columns.
"""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, PyTree

ROWS = 4096
"""Number of epochs whose rows the device keeps, and so the most epochs that one call of a program may run."""


def append(columns: PyTree, count: int, more: PyTree) -> PyTree:
    """Write `more` after the first `count` rows of each column, in the same memory.

    If a column is full, it moves to twice as much memory. What comes after the rows that were written is undefined.

    >>> append({"cost": np.array([0.5, 0.0])}, 1, {"cost": np.array([0.25])})
    {'cost': array([0.5 , 0.25])}
    """

    def append_column(held: np.ndarray, rows: np.ndarray) -> np.ndarray:
        until, size = count + len(rows), len(held)
        if until > size:
            held = np.concatenate([held, np.zeros((max(until, 2 * size) - size, *held.shape[1:]), held.dtype)])
        held[count:until] = rows
        return held

    return jax.tree.map(append_column, columns, more)


def recent_rows(columns: Mapping[str, Array], start: int, until: int) -> dict[str, np.ndarray]:
    """The rows of the epochs start..until-1, counted from 0, of the device's columns: epoch i is row i % ROWS."""
    index = np.arange(start, until) % ROWS
    return {name: np.asarray(column)[index] for name, column in columns.items()}


def first_rows(columns: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The first `count` rows of each column, which share its memory."""
    return {name: column[:count] for name, column in columns.items()}
