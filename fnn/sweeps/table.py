"""Tables of a sweep: columns of equal length by name, which sort, print and become CSV."""

import csv
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks

MOST_COLUMNS = 16  # of one leaf of the hyperparameters: a leaf with more entries a run is left out


class Table(NamedTuple):
    """columns: NumPy arrays of equal length by name. `str` gives it as text, `rows` one dictionary per row."""

    columns: dict[str, np.ndarray]

    def sorted(self, by: str, descending: bool = False) -> "Table":
        """The rows in the order of the column `by`, NaN last in both directions, equals in the order they had.

        >>> Table({"cost": np.array([0.2, np.nan, 0.1])}).sorted("cost").columns["cost"]
        array([0.1, 0.2, nan])
        """
        values = _column("sorted", "by", self, by)
        rank = np.unique(values, return_inverse=True)[1].reshape(-1)
        rank = -rank if descending else rank
        if values.dtype.kind not in "biuUS":
            rank = np.where(np.isnan(values), len(values), rank)
        order = np.argsort(rank, kind="stable")
        return Table({name: column[order] for name, column in self.columns.items()})

    def rows(self) -> Iterator[dict[str, np.generic]]:
        """Each row, as its values by name."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def head(self, n: int) -> "Table":
        """The first n rows."""
        return Table({name: column[:n] for name, column in self.columns.items()})

    def save_csv(self, path: str | Path) -> None:
        """A line of names, then a line per row; each number with the digits that give its bits back in its dtype."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows([str(value) for value in row.values()] for row in self.rows())

    def __str__(self) -> str:
        body = [[f"{v:.4g}" if isinstance(v, np.floating) else str(v) for v in row.values()] for row in self.rows()]
        lines = [list(self.columns), *body]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)) for line in lines)


def _column(function: str, argument: str, table: Table, name: str) -> np.ndarray:
    if name not in table.columns:
        raise checks.fail(function, argument, f"a column ({', '.join(table.columns)})", came=repr(name))
    return table.columns[name]


def hyper_columns(hypers: PyTree, taken: Collection[str]) -> dict[str, np.ndarray]:
    """A column for each number that a run has of the hyperparameters, named by its path: alpha, layers.0, widths[1].

    A bare array is `value`; a name that is taken gets `hyper.` before it. Keys, and leaves of more than
    16 numbers, are left out.

    >>> list(hyper_columns({"alpha": np.ones(5), "widths": np.ones((5, 2)), "key": np.ones(5)}, {"key"}))
    ['alpha', 'hyper.key', 'widths[0]', 'widths[1]']
    """
    columns = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(hypers):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "value"
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) or math.prod(leaf.shape[1:]) > MOST_COLUMNS:
            continue
        values = np.asarray(leaf)
        for index in np.ndindex(values.shape[1:]):
            label = name + (f"[{','.join(map(str, index))}]" if index else "")
            columns[f"hyper.{label}" if label in taken else label] = values[(slice(None), *index)]
    return columns


def _is_cost(name: str) -> bool:
    return name.endswith(("cost", "loss", "error"))


def best_of(history: Mapping[str, np.ndarray], lower_is_better: Callable[[str], bool] | None) -> dict[str, np.ndarray]:
    """For each name of the history (…, epochs): the final value, the best one and its epoch, arrays (…)."""
    lowest, columns = lower_is_better or _is_cost, {}
    for name, values in history.items():
        worst = np.inf if lowest(name) else -np.inf
        ranked = np.where(np.isnan(values), worst, values)
        epoch = (ranked.argmin if lowest(name) else ranked.argmax)(axis=-1)
        number = ~np.isnan(values).all(axis=-1)
        # where there are NaN and the worst infinity only, the first of these may be a NaN
        best = np.take_along_axis(ranked, epoch[..., None], axis=-1)[..., 0]
        columns[name] = values[..., -1]
        columns[f"best_{name}"] = np.where(number, best, np.nan).astype(values.dtype)
        columns[f"best_{name}_epoch"] = np.where(number, epoch + 1, 0)
    return columns


def mean_of(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each column (n, n_keys) the mean over the keys and its standard error, `…_se`, in float64."""
    out = {}
    for name, values in columns.items():
        values, n_keys = values.astype(np.float64), values.shape[1]
        with np.errstate(invalid="ignore", over="ignore"):
            mean = values.mean(axis=1)
            deviation = np.sqrt(np.square(values - mean[:, None]).sum(axis=1) / max(1, n_keys - 1))
        out[name] = mean
        out[f"{name}_se"] = deviation / np.sqrt(n_keys) if n_keys > 1 else np.full(len(mean), np.nan)
    return out
