"""Tables of a sweep: named columns of equal length, to sort, print and save as CSV."""

import csv
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks, metrics
from fnn.display.lines import count, is_concrete

MAX_COLUMNS = 16  # of one leaf of the hyperparameters; a leaf with more numbers per run has no columns
SHOWN = 20  # rows


class Table(NamedTuple):
    """A table. `str` formats it as text; its repr, and the table in notebooks, leave out rows if there are many.

    Attributes:
      columns: `{name: array}`, NumPy arrays of equal length.
    """

    columns: dict[str, np.ndarray]

    def sorted(self, by: str, descending: bool = False) -> "Table":
        """Sort the rows by a column. Rows with equal values keep their order; NaN is last in both directions.

        Args:
          by: the name of the column.
          descending: if True, the largest value is first.

        Raises:
          ValueError: if there is no such column.

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
        """Iterate over the rows, each a dictionary `{name: value}`."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def head(self, n: int) -> "Table":
        """Return a table of the first n rows."""
        return Table({name: column[:n] for name, column in self.columns.items()})

    def save_csv(self, path: str | Path) -> None:
        """Write the table as CSV: a line of names, then a line per row.

        Each number has the digits that restore it exactly in its dtype.
        """
        with checks.path("save_csv", "path", path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows([str(value) for value in row.values()] for row in self.rows())

    def __str__(self) -> str:
        body = [[f"{v:.4g}" if isinstance(v, np.floating) else str(v) for v in row.values()] for row in self.rows()]
        lines = [list(self.columns), *body]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)) for line in lines)

    def _length(self) -> int:
        return min(map(len, self.columns.values()), default=0)

    def __repr__(self) -> str:
        columns = self.columns.values()
        if not columns or not all(is_concrete(column) and np.ndim(column) == 1 for column in columns):
            return f"Table({', '.join(self.columns)})"
        n = self._length()
        return str(self) if n <= SHOWN else f"{self.head(SHOWN)}\n… {n - SHOWN:,} more rows"

    def _repr_html_(self) -> str:
        """Show the table, in notebooks."""
        from fnn.display import html

        n = self._length()
        return html.table(self.columns, count(n, "row") if n > SHOWN else "")


def _column(function: str, argument: str, table: Table, name: str) -> np.ndarray:
    if name not in table.columns:
        raise checks.fail(function, argument, f"a column ({', '.join(table.columns)})", came=repr(name))
    return table.columns[name]


def hyper_columns(hypers: PyTree, taken: Collection[str]) -> dict[str, np.ndarray]:
    """Make a column for each number among the hyperparameters of a run, named by its path: alpha, layers.0, widths[1].

    The column of a bare array is named `value`. A name in `taken` is prefixed with `hyper.`. Keys, and leaves of more
    than 16 numbers per run, have no columns.

    >>> list(hyper_columns({"alpha": np.ones(5), "widths": np.ones((5, 2)), "key": np.ones(5)}, {"key"}))
    ['alpha', 'hyper.key', 'widths[0]', 'widths[1]']
    """
    columns = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(hypers):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "value"
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) or math.prod(leaf.shape[1:]) > MAX_COLUMNS:
            continue
        values = np.asarray(leaf)
        for index in np.ndindex(values.shape[1:]):
            label = name + (f"[{','.join(map(str, index))}]" if index else "")
            columns[f"hyper.{label}" if label in taken else label] = values[(slice(None), *index)]
    return columns


def best_of(
    history: Mapping[str, np.ndarray],
    lower_is_better: Callable[[str], bool] | None,
    reports: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return the last value, the best value and its epoch, arrays (…), for each name of the history (…, reports).

    `reports` are those of a SweepResult: their key is "epoch" or "step", which names the column.
    """
    n = max((values.shape[-1] for values in history.values()), default=0)
    unit, numbers = next(iter((reports or {"epoch": np.arange(1, n + 1)}).items()))
    lower, columns = lower_is_better or metrics.lower_is_better, {}
    for name, values in history.items():
        worst = np.inf if lower(name) else -np.inf
        ranked = np.where(np.isnan(values), worst, values)
        epoch = (ranked.argmin if lower(name) else ranked.argmax)(axis=-1)
        is_number = ~np.isnan(values).all(axis=-1)
        # if all values are NaN or the worst infinity, `epoch` may be that of a NaN; `ranked` has the infinity there
        best = np.take_along_axis(ranked, epoch[..., None], axis=-1)[..., 0]
        columns[name] = values[..., -1]
        columns[f"best_{name}"] = np.where(is_number, best, np.nan).astype(values.dtype)
        columns[f"best_{name}_{unit}"] = np.where(is_number, numbers[epoch], 0)
    return columns


def mean_of(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the mean over the keys and its standard error, `…_se`, of each column (n, n_keys), in float64."""
    out = {}
    for name, values in columns.items():
        values, n_keys = values.astype(np.float64), values.shape[1]
        with np.errstate(invalid="ignore", over="ignore"):
            mean = values.mean(axis=1)
            deviation = np.sqrt(np.square(values - mean[:, None]).sum(axis=1) / max(1, n_keys - 1))
        out[name] = mean
        out[f"{name}_se"] = deviation / np.sqrt(n_keys) if n_keys > 1 else np.full(len(mean), np.nan)
    return out
