"""The chunks of a sweep: equal pieces of its hyperparameters and keys, so that one compiled program serves all."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from fnn.training.compiled import compiled
from fnn.types import RunResult


def chunk_length(size: int, limit: int, multiple: int = 1) -> int:
    """The length of equal chunks, as few as chunks of at most `limit` need, rounded up to a multiple of `multiple`."""
    chunks = math.ceil(size / max(1, min(size, limit)))
    return math.ceil(math.ceil(size / chunks) / multiple) * multiple


def take_rows(tree: PyTree, start: int, length: int) -> PyTree:
    """Rows start..start+length-1 of each leaf. Past the end, its last row is repeated."""
    whole = start == 0 and all(leaf.shape[0] == length for leaf in jax.tree.leaves(tree))
    return tree if whole else _rows(length, tree, start)


@compiled(static=1)
def _rows(length: int, tree: PyTree, start: Array) -> PyTree:
    index = start + jnp.arange(length)
    return jax.tree.map(lambda leaf: leaf[jnp.minimum(index, leaf.shape[0] - 1)], tree)


class Chunks(NamedTuple):
    """The pieces of a sweep, each of `rows` hyperparameters with `columns` keys."""

    n: int
    n_keys: int
    rows: int
    columns: int

    def starts(self) -> list[tuple[int, int]]:
        return [(i, j) for j in range(0, self.n_keys, self.columns) for i in range(0, self.n, self.rows)]

    def on_host(self, pieces: Iterator[RunResult]) -> RunResult:
        """Write the pieces, NumPy arrays, into arrays of all runs as they come."""
        results: Any = None
        for (i, j), piece in zip(self.starts(), pieces, strict=True):
            if results is None:
                empty = lambda leaf: np.empty((self.n, self.n_keys, *leaf.shape[2:]), leaf.dtype)
                results = jax.tree.map(empty, piece)
            for whole, part in zip(jax.tree.leaves(results), jax.tree.leaves(piece), strict=True):
                whole[i : i + self.rows, j : j + self.columns] = part[: self.n - i, : self.n_keys - j]
        return results

    def on_device(self, pieces: Iterator[RunResult]) -> RunResult:
        """Join the pieces on their device; a single piece is returned as it is."""
        parts = [*pieces]
        return parts[0] if (self.n, self.n_keys) == (self.rows, self.columns) else _join(self, parts)


@compiled(static=1)
def _join(chunks: Chunks, parts: list[RunResult]) -> RunResult:
    """Join the pieces of a sweep, without the copies that pad them."""
    per_column = math.ceil(chunks.n / chunks.rows)
    down = lambda *leaves: jnp.concatenate(leaves)[: chunks.n]
    columns = [jax.tree.map(down, *parts[k : k + per_column]) for k in range(0, len(parts), per_column)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, 1)[:, : chunks.n_keys], *columns)
