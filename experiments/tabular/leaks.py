"""Columns that give the target away."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.tabular.values import CATEGORY, Column

_FEWEST = 30  # rows
_REPEATS = 5  # rows of a value of a category, on average, so that it does not tell single rows apart
_CORRELATED = 0.9999


def find_leaks(columns: Sequence[Column], frame: Any, y: np.ndarray, classes: bool) -> list[str]:
    """Return a warning for each column that alone determines the target, or almost.

    Such a column is often a copy of the target, or was written down after it was known.

    Args:
      columns: the columns of the frame.
      frame: their values.
      y: class indices, or numbers.
      classes: True for class indices.
    """
    if len(y) < _FEWEST:
        return []
    found = []
    for column in columns:
        values = frame[column.name]
        missing = values.isna().to_numpy()
        if column.kind == CATEGORY:
            why = "each of its texts goes with one value of the target" if _determines(values, y) else ""
        else:
            numbers = values.astype("int64" if values.dtype.kind == "M" else "float64")[~missing].to_numpy(np.float64)
            why = _by_order(numbers, y[~missing]) if classes else _correlation(numbers, y[~missing])
        if (
            classes
            and not why
            and missing.any()
            and len(np.unique(y[missing])) == 1
            and not np.isin(y[~missing], y[missing][0]).any()
        ):
            why = "it is missing for one class and for no other"
        if why:
            found.append(
                f"{column.name!r} gives the target away: {why}; if it would not be known beforehand, leave it out with "
                f"--ignore {column.name!r}"
            )
    return found


def _determines(values: Any, y: np.ndarray) -> bool:
    """Return whether all rows of a text have the same target, in enough rows each."""
    groups = values.fillna("").to_numpy()
    texts, index = np.unique(groups.astype(str), return_inverse=True)
    if len(texts) < 2 or len(y) < _REPEATS * len(texts):
        return False
    low, high = np.full(len(texts), np.inf), np.full(len(texts), -np.inf)
    np.minimum.at(low, index, y)
    np.maximum.at(high, index, y)
    return bool((low == high).all())


def _by_order(numbers: np.ndarray, y: np.ndarray) -> str:
    """Say whether limits between the numbers separate all classes."""
    present = np.unique(y)
    ranges = sorted((numbers[y == c].min(), numbers[y == c].max()) for c in present)
    apart = all(a[1] < b[0] for a, b in itertools.pairwise(ranges))
    return "limits between its values separate all classes" if apart and len(present) > 1 and len(y) > 1 else ""


def _correlation(numbers: np.ndarray, y: np.ndarray) -> str:
    """Say whether the numbers, or their ranks, are correlated with the target almost perfectly."""
    if len(y) < _FEWEST or np.ptp(numbers) == 0 or np.ptp(y) == 0:
        return ""
    ranks = lambda values: np.argsort(np.argsort(values, kind="stable"), kind="stable")
    for name, a, b in (("it", numbers, y), ("its order", ranks(numbers), ranks(y))):
        r = np.corrcoef(a, b)[0, 1]
        if abs(r) > _CORRELATED and (name == "it" or min(len(np.unique(numbers)), len(np.unique(y))) > len(y) / 2):
            return (
                f"{name} is perfectly correlated with the target"
                if abs(r) > 1 - 1e-12
                else f"{name} is correlated with the target by more than {_CORRELATED}"
            )
    return ""
