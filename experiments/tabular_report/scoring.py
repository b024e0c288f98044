"""Scores with their uncertainty, beside guessing and the linear model; comparisons paired over folds.

Over J folds a score is the mean of its values on the folds. The models of different folds share training rows, so
that the variance of the mean is not var/J; its estimate is (1/J + 1/(J - 1)) var (Nadeau and Bengio 2003, with
n_test/n_train = 1/(J - 1)). Without folds, or where a fold has too few rows or does not define the score, it is
computed over all rows, and its standard error is that of bootstrap samples of the rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.tabular_report.contents import Contents, Kind, Part
from experiments.tabular_report.metrics import EPSILON, Metric, decide, family

FEWEST = 10  # rows in every fold, for a mean over folds
SAMPLES = 25  # bootstrap samples: enough for a standard error that is itself good to 14 %
LARGE, LEAST = 100_000, 2_000  # entries of a bootstrap sample's predictions, and rows of it if there are more
WHO = ("model", "linear", "guessing")


class Score(NamedTuple):
    """A score with its standard error; None where it is not defined or not known."""

    value: float | None
    error: float | None = None


class Rows(NamedTuple):
    """Predictions of the model, of the linear model (or None) and of guessing for the rows of a part, with folds."""

    y: np.ndarray
    model: np.ndarray
    linear: np.ndarray | None
    guessing: np.ndarray
    folds: np.ndarray | None

    def who(self) -> list[str]:
        return [name for name in WHO if getattr(self, name) is not None]


class Difference(NamedTuple):
    """The mean decrease of a cost and the share of it expected by chance.

    mean    the cost of the other minus that of the model, over rows; positive if the model is better
    t       mean divided by its standard error; ±inf if all differences are the same
    p       probability of so large a t, if the two were equally good (one-sided, Student's t)
    """

    mean: float
    t: float
    p: float


def guess(kind: Kind, train_y: np.ndarray, n: int, k: int) -> np.ndarray:
    """Return n times the best constant: class shares, shares of labels, or means.

    A class without a row gets half a row, since a probability of zero would cost infinitely much.
    """
    if kind == "classes":
        counts = np.maximum(np.bincount(train_y, minlength=k), 0.5)
        return np.repeat((counts / counts.sum())[None], n, axis=0)
    if kind == "labels":
        least = 0.5 / max(len(train_y), 1)
        return np.repeat(np.clip(train_y.mean(axis=0), least, 1 - least)[None], n, axis=0)
    return np.repeat(train_y.mean(axis=0)[None], n, axis=0)


def rows(contents: Contents, name: str) -> Rows | None:
    """Return the part "out_of_fold" or "test" of the contents beside guessing, or None if there is no such part."""
    part: Part | None = getattr(contents, name)
    if part is None:
        return None
    n, k = part.model.shape
    if name == "test":
        known = [y for y in (contents.train_y, contents.out_of_fold and contents.out_of_fold.y) if y is not None]
        guessed = guess(contents.kind, known[0] if known else part.y, n, k)
        return Rows(part.y, part.model, part.linear, guessed, None)
    folds = np.asarray(contents.folds)
    guessed = np.zeros((n, k))
    for fold in np.unique(folds):
        inside = folds == fold
        others = part.y[~inside] if not inside.all() else part.y
        guessed[inside] = guess(contents.kind, others, int(inside.sum()), k)
    return Rows(part.y, part.model, part.linear, guessed, folds if len(np.unique(folds)) > 1 else None)


def estimate(
    value: Callable[[np.ndarray, np.ndarray], np.ndarray],
    y: np.ndarray,
    p: np.ndarray,
    folds: np.ndarray | None,
    resample: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and standard errors, NaN where unknown, of scores that `value` computes as an array.

    Without `resample`, what is not a mean over folds has no standard error.
    """
    mean = error = np.array(np.nan)
    indices = [] if folds is None else [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    if indices and min(map(len, indices)) >= FEWEST:
        values = np.stack([np.asarray(value(y[i], p[i]), float) for i in indices])
        j = len(indices)
        mean, error = values.mean(axis=0), np.sqrt((1 / j + 1 / (j - 1)) * values.var(axis=0, ddof=1))
    by_rows = ~np.isfinite(mean)
    if by_rows.any():
        mean = np.where(by_rows, np.asarray(value(y, p), float), mean)
        error = np.where(by_rows, bootstrap(value, y, p) if resample else np.nan, error)
    return mean, np.where(np.isfinite(mean), error, np.nan)


def bootstrap(value: Callable[[np.ndarray, np.ndarray], np.ndarray], y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the standard deviation of `value` over bootstrap samples; NaN where most samples do not define it.

    Of many rows a sample has m < n, and the standard deviation is multiplied by sqrt(m/n) (Bickel et al. 1997).
    """
    random, n = np.random.default_rng(0), len(y)
    m = min(n, max(LARGE // p.shape[1], LEAST))
    values = np.stack([np.asarray(value(y[i], p[i]), float) for i in random.integers(0, n, (SAMPLES, m))])
    known = np.isfinite(values)
    few = known.sum(axis=0) < SAMPLES // 2
    centred = np.where(known, values, 0) - np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    variance = (np.where(known, centred, 0) ** 2).sum(axis=0) / np.maximum(known.sum(axis=0) - 1, 1)
    return np.where(few | (n < 2), np.nan, np.sqrt(variance * m / n))


def score(metric: Metric, part: Rows, who: str) -> Score:
    """Return one score with its standard error; of guessing only if it is a mean over folds."""
    p = getattr(part, who)
    if who == "guessing" and metric.key == "roc_auc":
        p = np.zeros_like(p)  # folds differ in what they guess, which ranks no row above another of its fold
    value, error = estimate(lambda y, p: np.array(metric.value(y, p)), part.y, p, part.folds, who != "guessing")
    return Score(finite(value), finite(error))


def scores(kind: Kind, part: Rows) -> dict[str, dict[str, Score]]:
    """Return all scores: metric's key -> "model", "linear" or "guessing" -> Score."""
    metrics = family(kind, part.model.shape[1])
    return {metric.key: {who: score(metric, part, who) for who in part.who()} for metric in metrics}


def finite(value: np.ndarray | float) -> float | None:
    return float(value) if np.isfinite(value) else None


def row_costs(kind: Kind, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the cost of each row: -log p(true class), its mean over labels, or the squared error over var(y)."""
    if kind == "classes":
        return -np.log(np.maximum(p[np.arange(len(y)), y], EPSILON))
    if kind == "labels":
        return -np.log(np.maximum(np.where(y == 1, p, 1 - p), EPSILON)).mean(axis=1)
    spread = y.var(axis=0)
    return ((p - y) ** 2 / np.where(spread > 0, spread, 1)[None]).mean(axis=1)


def row_mistakes(kind: Kind, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return 1 for each row of the wrong class, the share of wrong labels, or the absolute error over std(y)."""
    if kind == "quantities":
        spread = y.std(axis=0)
        return (np.abs(p - y) / np.where(spread > 0, spread, 1)[None]).mean(axis=1)
    wrong = (decide(kind, p) != y).astype(float)
    return wrong if kind == "classes" else wrong.mean(axis=1)


def compare(ours: np.ndarray, other: np.ndarray, folds: np.ndarray | None) -> Difference:
    """Compare the costs of two models on the same rows.

    Over folds, with the corrected t-test of Nadeau and Bengio (2003); without, a t-test of the rows' differences.
    """
    from scipy import stats

    d = other - ours
    if folds is not None:
        d = np.array([d[folds == fold].mean() for fold in np.unique(folds)])
    j, mean = len(d), float(d.mean())
    if j < 2:
        return Difference(mean, 0.0, 0.5)
    factor = 1 / j if folds is None else 1 / j + 1 / (j - 1)
    error = float(np.sqrt(factor * d.var(ddof=1)))
    if error <= 1e-12 * np.abs(d).max():
        t = float(np.sign(mean)) * np.inf if mean else 0.0
        return Difference(mean, t, {1.0: 0.0, -1.0: 1.0}.get(float(np.sign(mean)), 0.5))
    return Difference(mean, mean / error, float(stats.t.sf(mean / error, j - 1)))
