"""Decide whether the quantities of a table have outliers, for which the Huber loss is better than squared error.

Heavy tails alone do not decide: a skewed quantity, such as a price, has them too, and its mean is then better predicted
with squared errors. Two linear models are therefore compared on held-out rows.
"""

import numpy as np
from jaxtyping import Bool, Float

from fnn.search.folds import assign_folds

DELTA = 1.345  # δ in robust standard deviations: 95% efficiency for normal errors (Huber 1964)
FAR = 10.0  # robust standard deviations from the median, beyond which a value is suspect
ROWS, COLUMNS, FOLDS = 5_000, 100, 5  # the most that the linear models read


def robust_center_and_scale(y: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return the median and 1.4826 times the median absolute deviation of each column.

    The scale is 0 if more than half of the values are equal.

    >>> robust_center_and_scale(np.array([[0.0], [1.0], [2.0], [1e9]]))[0]
    array([1.5])
    """
    center = np.median(y, axis=0)
    return center, 1.4826 * np.median(np.abs(y - center), axis=0)


def far_targets(y: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
    """Return in which rows a quantity lies far from its median, by robust standard deviations.

    >>> far_targets(np.array([[0.0], [1.0], [2.0], [1e9]])).tolist()
    [False, False, False, True]
    """
    center, scale = robust_center_and_scale(y)
    with np.errstate(over="ignore"):
        return np.any((np.abs(y - center) > FAR * scale) & (scale > 0), axis=1)


def have_outliers(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n k"], seed: int) -> bool:
    """Return whether to train with the Huber loss.

    That is so if some values of a column lie far from its median, and a linear model that is fitted with the Huber loss
    predicts held-out rows better than one by least squares: with an absolute error less by a twentieth, and without a
    larger squared error. Where x does not predict which values are far, a slightly larger squared error is accepted.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = x[:, :1] * 2
    >>> far = np.arange(200)[:, None] % 20 == 0
    >>> have_outliers(x, y, 0), have_outliers(x, np.where(far, 500.0, y), 0)
    (False, True)
    """
    center, scale = robust_center_and_scale(y)
    if not (scale > 0).all() or len(y) < 4 * FOLDS:
        return False
    targets = (y - center) / scale
    if not (np.abs(targets) > FAR).any():
        return False
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(y))[:ROWS]
    columns = rng.permutation(x.shape[1])[: min(COLUMNS, len(rows) // 4)]
    inputs = np.concatenate([np.ones((len(rows), 1)), x[rows][:, columns]], axis=1)
    return any(_has_outliers(inputs, target, seed) for target in targets[rows].T)


def _has_outliers(x: np.ndarray, y: np.ndarray, seed: int) -> bool:
    """Compare two linear models of one column, which has median 0 and scale 1."""
    least_squares, robust = _held_out_errors(x, y, seed)
    if np.abs(robust).mean() >= 0.95 * np.abs(least_squares).mean():
        return False
    far = np.abs(y) > FAR
    prediction = y - robust
    place = np.argsort(np.argsort(prediction, kind="stable"), kind="stable") / len(y) - 0.5
    is_predicted = (
        far.any() and (np.sign(y[far]) * place[far]).mean() > 0.2
    )  # large values where large ones are expected
    most = 1.0 if is_predicted else 1.06
    return bool(np.square(robust).sum() <= most * np.square(least_squares).sum())


def _held_out_errors(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors on held-out rows of a model by least squares, and of one with the Huber loss."""
    folds = assign_folds(np.zeros(len(y), np.int64), FOLDS, seed)
    least_squares, robust = np.empty(len(y)), np.empty(len(y))
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        w = _ridge(x[train], y[train], np.ones(train.sum()))
        least_squares[test] = y[test] - x[test] @ w
        for _ in range(15):  # iteratively reweighted least squares
            e = np.abs(y[train] - x[train] @ w)
            delta = DELTA * max(1.4826 * np.median(e), 1e-12)
            w = _ridge(x[train], y[train], np.minimum(1.0, delta / np.maximum(e, delta)))
        robust[test] = y[test] - x[test] @ w
    return least_squares, robust


def _ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    weighted = x * weight[:, None]
    return np.linalg.solve(x.T @ weighted + 1e-2 * len(x) * np.eye(x.shape[1]), weighted.T @ y)
