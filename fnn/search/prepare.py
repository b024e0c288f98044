"""Check and standardise a table before it is searched."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fnn import checks
from fnn.losses import huber, sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from fnn.search.ensemble import table
from fnn.search.outliers import DELTA, far_targets, have_outliers, robust_center_and_scale
from fnn.search.records import Task
from fnn.search.scaling import Scaling, center_and_scale, fit_scaling, standardise


class Prepared(NamedTuple):
    """A table to search.

    Attributes:
      task: its standardised rows that have weight.
      rows: their indices.
      n: the number of all rows.
      scaling: of the inputs.
      target_center: as in `Ensemble`.
      target_scale: as in `Ensemble`.
    """

    task: Task
    rows: Int[np.ndarray, " m"]
    n: int
    scaling: Scaling
    target_center: Float[np.ndarray, " k"]
    target_scale: Float[np.ndarray, " k"]


def _weights(function: str, weight: Any, n: int) -> Float[np.ndarray, " n"]:
    if weight is None:
        return np.ones(n)
    weights = np.asarray(weight)
    if weights.shape != (n,) or weights.dtype.kind not in "biuf":
        raise checks.fail(function, "weight", f"numbers of shape ({n},)", weights)
    weights = weights.astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise checks.fail(function, "weight", "finite and at least 0", came=f"{weights.min()}..{weights.max()}")
    return weights / max(weights.max(), np.finfo(np.float64).tiny)


def _prepare(function: str, x: Any, y: np.ndarray, k: int, weight: Any, output: str, loss: Any) -> Prepared:
    """Check the inputs and the weights, drop the rows without weight, and standardise the inputs."""
    x = table(function, x)
    n = len(x)
    if x.shape[1] < 1:
        raise checks.fail(function, "x", "a table of at least one column", x)
    if len(y) != n:
        raise checks.fail(function, "y", f"of as many rows as x, {n}", y)
    weights = _weights(function, weight, n)
    rows = np.flatnonzero(weights)
    if len(rows) < 2:
        raise checks.fail(function, "x", "a table of at least two rows with weight", came=str(len(rows)))
    x, y, weights = x[rows], y[rows], weights[rows]
    scaling = fit_scaling(x, far_targets(y) if output == "identity" else None)
    inputs = standardise(x, scaling).astype(np.float32)
    task = Task(output, inputs, y, (weights / weights.mean()).astype(np.float32), k, loss)
    return Prepared(task, rows, n, scaling, np.zeros(k), np.ones(k))


def of_classes(x: Any, y: Any, n_classes: int, weight: Any) -> Prepared:
    """Prepare a table with one of `n_classes` classes per row."""
    function = "search.classes"
    k, classes = checks.positive_int(function, "n_classes", n_classes), np.asarray(y)
    if classes.ndim != 1 or classes.dtype.kind not in "biu":
        raise checks.fail(function, "y", "integer classes of shape (n,)", classes)
    if classes.size and not (classes.min() >= 0 and classes.max() < k):
        raise checks.fail(function, "y", f"in 0..{k - 1}", came=f"{classes.min()}..{classes.max()}")
    found = _prepare(function, x, classes.astype(np.int32), k, weight, "softmax", softmax_cross_entropy)
    if (found.task.y == found.task.y[0]).all():
        came = f"class {found.task.y[0]} in all rows with weight"
        raise checks.fail(function, "y", "of at least two classes", came=came)
    return found


def _matrix(function: str, y: Any) -> Float[np.ndarray, "n k"]:
    values = np.asarray(y)
    if values.ndim != 2 or values.shape[1] < 1 or values.dtype.kind not in "biuf":
        raise checks.fail(function, "y", "numbers of shape (n, k)", values)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise checks.fail(function, "y", "finite", came=f"NaN or an infinity in row {row}")
    return values


def of_labels(x: Any, y: Any, weight: Any) -> Prepared:
    """Prepare a table with k labels, 0 or 1, per row."""
    values = _matrix("search.labels", y)
    wrong = ~np.isin(values, (0, 1))
    if wrong.any():
        raise checks.fail("search.labels", "y", "zeros and ones", came=f"a {values[wrong][0]:g}")
    k = values.shape[1]
    return _prepare("search.labels", x, values.astype(np.float32), k, weight, "sigmoid", sigmoid_cross_entropy)


def of_quantities(x: Any, y: Any, weight: Any, seed: int) -> Prepared:
    """Prepare a table with k quantities per row, which are standardised.

    If they have outliers, their medians and median deviations standardise them, and the loss is Huber's.
    """
    values = _matrix("search.quantities", y)
    found = _prepare("search.quantities", x, values, values.shape[1], weight, "identity", squared_error)
    values, task = found.task.y, found.task
    if have_outliers(task.x.astype(np.float64), values, seed):
        center, scale = robust_center_and_scale(values)
        task = task._replace(loss=huber(DELTA), delta=DELTA)
    else:
        center, scale = center_and_scale(values)
    task = task._replace(y=((values - center) / scale).astype(np.float32))
    return found._replace(task=task, target_center=center, target_scale=scale)
