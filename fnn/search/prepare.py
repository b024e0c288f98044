"""Check and standardise a table before it is searched."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from fnn import checks
from fnn.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from fnn.search.ensemble import standardise, table
from fnn.search.records import Task


class Prepared(NamedTuple):
    """A table to search.

    Attributes:
      task: its standardised rows that have weight.
      rows: their indices.
      n: the number of all rows.
      center, scale, target_center, target_scale: the standardisation, as in `Ensemble`.
    """

    task: Task
    rows: Int[np.ndarray, " m"]
    n: int
    center: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    target_center: Float[np.ndarray, " k"]
    target_scale: Float[np.ndarray, " k"]


def center_and_scale(x: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Return the mean and the standard deviation of each column, in float64; the deviation of a constant column is 1.

    A column counts as constant if it varies by no more than the rounding of its values.

    >>> center, scale = center_and_scale(np.array([[1e12 + 1, 0.1], [1e12 + 3, 0.1]]))
    >>> scale.tolist()
    [1.0, 1.0]
    """
    largest = np.maximum(np.abs(x).max(axis=0), np.finfo(np.float64).tiny)
    unit = x / largest  # so that squares neither overflow nor vanish
    center, scale = unit.mean(axis=0), unit.std(axis=0)
    constant = scale <= 1e-15 * len(x) ** 0.5
    return np.where(constant, x[0], center * largest), np.where(constant, 1.0, scale * largest)


def _weights(function: str, weight: ArrayLike | None, n: int) -> Float[np.ndarray, " n"]:
    if weight is None:
        return np.ones(n)
    weights = np.asarray(weight)
    if weights.shape != (n,) or weights.dtype.kind not in "biuf":
        raise checks.fail(function, "weight", f"numbers of shape ({n},)", weights)
    weights = weights.astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise checks.fail(function, "weight", "finite and at least 0", came=f"{weights.min()}..{weights.max()}")
    return weights


def prepare(function: str, x: ArrayLike, weight: ArrayLike | None, y: np.ndarray, k: int) -> Prepared:
    """Check a table, drop its rows without weight, and standardise its inputs."""
    x = table(function, np.asarray(x))
    if x.shape[1] < 1:
        raise checks.fail(function, "x", "a table of at least one column", x)
    if y.shape[0] != x.shape[0]:
        raise checks.fail(function, "y", f"of as many rows as x, {x.shape[0]}", y)
    weights = _weights(function, weight, len(x))
    rows = np.flatnonzero(weights)
    if len(rows) < 2:
        raise checks.fail(function, "x", "a table of at least two rows with weight", came=f"{len(rows)}")
    x, y, weights = x[rows], y[rows], weights[rows]
    center, scale = center_and_scale(x)
    inputs = standardise(x, center, scale).astype(np.float32)
    task = Task("", inputs, y, (weights / weights.mean()).astype(np.float32), k, None)
    return Prepared(
        task,
        rows,
        len(np.asarray(y)) if weight is None else len(np.asarray(weight)),
        center,
        scale,
        np.zeros(k),
        np.ones(k),
    )


def of_classes(x: ArrayLike, y: ArrayLike, n_classes: int, weight: ArrayLike | None) -> Prepared:
    """Prepare a table with one of `n_classes` classes per row."""
    function = "search.classes"
    k, labels = checks.positive_int(function, "n_classes", n_classes), np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise checks.fail(function, "y", "integer classes of shape (n,)", labels)
    if labels.size and not (labels.min() >= 0 and labels.max() < k):
        raise checks.fail(function, "y", f"in 0..{k - 1}", came=f"{labels.min()}..{labels.max()}")
    found = prepare(function, x, weight, labels.astype(np.int32), k)
    if (found.task.y == found.task.y[0]).all():
        advice = "There is nothing to tell apart."
        raise checks.fail(function, "y", "of at least two classes", came=f"class {found.task.y[0]} only", advice=advice)
    return found._replace(task=found.task._replace(output="softmax", loss=softmax_cross_entropy))


def _matrix(function: str, y: ArrayLike) -> np.ndarray:
    values = np.asarray(y)
    if values.ndim != 2 or values.shape[1] < 1 or values.dtype.kind not in "biuf":
        raise checks.fail(function, "y", "numbers of shape (n, k)", values)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise checks.fail(
            function, "y", "finite", came=f"NaN or infinity in row {np.argwhere(~np.isfinite(values))[0][0]}"
        )
    return values


def of_labels(x: ArrayLike, y: ArrayLike, weight: ArrayLike | None) -> Prepared:
    """Prepare a table with k labels, 0 or 1, per row."""
    labels = _matrix("search.labels", y)
    if not np.isin(labels, (0, 1)).all():
        raise checks.fail("search.labels", "y", "0 or 1", came=f"{labels[~np.isin(labels, (0, 1))][0]}")
    found = prepare("search.labels", x, weight, labels.astype(np.float32), labels.shape[1])
    return found._replace(task=found.task._replace(output="sigmoid", loss=sigmoid_cross_entropy))


def of_quantities(x: ArrayLike, y: ArrayLike, weight: ArrayLike | None) -> Prepared:
    """Prepare a table with k quantities per row, which are standardised."""
    values = _matrix("search.quantities", y)
    found = prepare("search.quantities", x, weight, values, values.shape[1])
    center, scale = center_and_scale(found.task.y)
    targets = standardise(found.task.y, center, scale).astype(np.float32)
    task = found.task._replace(output="identity", loss=squared_error, y=targets)
    return found._replace(task=task, target_center=center, target_scale=scale)
