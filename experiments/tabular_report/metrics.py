"""The scores of a report, each computed by scikit-learn: for classes, for quantities, for several labels.

A score is a function (true values, predictions) -> number, NaN where it is not defined.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.tabular_report.contents import Kind

Array = np.ndarray
EPSILON = 1e-15  # log-loss clips probabilities to [EPSILON, 1 - EPSILON]


class Metric(NamedTuple):
    """A score.

    key       its name in scores.json
    name      its name for people
    rises     True if more is better
    meaning   what it measures, in one sentence
    value     (y, predictions (n, k)) -> its value
    fixed     True if its size is known, as that of a share; False if it is in the units of what is predicted
    """

    key: str
    name: str
    rises: bool
    meaning: str
    value: Callable[[Array, Array], float]
    fixed: bool = True


def decide(kind: Kind, p: Array) -> Array:
    """Return the class with the highest probability, or the labels with a probability of at least 0.5."""
    return p.argmax(axis=1) if kind == "classes" else (p >= 0.5).astype(int) if kind == "labels" else p


def family(kind: Kind, outputs: int) -> tuple[Metric, ...]:
    """Return the scores of a kind of target with this many classes, labels or quantities; the first leads."""
    if kind == "classes":
        return _CLASSES
    if kind == "labels":
        return _LABELS
    return _QUANTITIES if outputs == 1 else _QUANTITIES[:1]  # quantities in different units have no common error


def one_hot(y: Array, k: int) -> Array:
    return (y[:, None] == np.arange(k)[None]).astype(float)


def log_loss(y: Array, p: Array) -> float:
    from sklearn import metrics

    p = np.clip(p, EPSILON, 1 - EPSILON)
    return float(metrics.log_loss(y, p / p.sum(axis=1, keepdims=True), labels=range(p.shape[1])))


def brier(y: Array, p: Array) -> float:
    """Return the Brier score: Σ_c (p_c - y_c)² averaged over rows, and half of it for two classes, as is usual."""
    from sklearn import metrics

    error = metrics.mean_squared_error(one_hot(y, p.shape[1]), p) * p.shape[1]
    return float(error / 2 if p.shape[1] == 2 else error)


def roc_auc(y: Array, p: Array) -> Array:
    """Return the area under the ROC curve of each column, labels (n, k); NaN where only one value occurs."""
    from sklearn import metrics

    found = np.full(p.shape[1], np.nan)
    for c in np.flatnonzero(y.min(axis=0) != y.max(axis=0)):
        constant = p[:, c].min() == p[:, c].max()
        found[c] = 0.5 if constant else metrics.roc_auc_score(y[:, c], p[:, c])
    return found


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _macro(name: str) -> Callable[[Array, Array], float]:
    """Return a score averaged over the classes that occur, all of the same weight."""

    def value(y: Array, p: Array) -> float:
        from sklearn import metrics

        score = getattr(metrics, name)
        return float(score(y, p.argmax(axis=1), labels=np.unique(y), average="macro", zero_division=0))

    return value


def _classes_auc(y: Array, p: Array) -> float:
    return roc_auc(y[:, None] == 1, p[:, 1:]).item() if p.shape[1] == 2 else _mean(roc_auc(one_hot(y, p.shape[1]), p))


def _accuracy(y: Array, p: Array) -> float:
    from sklearn import metrics

    return float(metrics.accuracy_score(y, p.argmax(axis=1)))


def _label_score(name: str, **options: object) -> Callable[[Array, Array], float]:
    def value(y: Array, p: Array) -> float:
        from sklearn import metrics

        y, decided = (y[:, 0], (p >= 0.5)[:, 0]) if p.shape[1] == 1 and "average" not in options else (y, p >= 0.5)
        return float(getattr(metrics, name)(y.astype(int), decided.astype(int), **options))

    return value


def _labels_log_loss(y: Array, p: Array) -> float:
    return float(np.mean([log_loss(y[:, c], np.stack([1 - p[:, c], p[:, c]], axis=1)) for c in range(p.shape[1])]))


def _quantity(name: str) -> Callable[[Array, Array], float]:
    """Return a score of scikit-learn's, averaged over the quantities."""

    def value(y: Array, p: Array) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(y, p)) if name != "r2_score" or len(y) > 1 else np.nan

    return value


_CLASSES = (
    Metric("accuracy", "accuracy", True, "Share of rows whose class is named correctly.", _accuracy),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        True,
        "Mean over the classes of the share of their rows that are named correctly, so that rare classes count alike.",
        _macro("recall_score"),
    ),
    Metric(
        "precision",
        "precision",
        True,
        "Of the rows called a class, the share that is of it; mean over the classes.",
        _macro("precision_score"),
    ),
    Metric("f1", "F1", True, "Harmonic mean of precision and recall, averaged over the classes.", _macro("f1_score")),
    Metric(
        "roc_auc",
        "ROC AUC",
        True,
        "Chance that a row of a class gets a higher probability of it than a row of another class; 0.5 is chance.",
        _classes_auc,
    ),
    Metric("log_loss", "log-loss", False, "Mean of -log(probability of the true class); 0 is perfect.", log_loss),
    Metric("brier", "Brier score", False, "Mean squared error of the probabilities; 0 is perfect.", brier),
)
_LABELS = (
    Metric(
        "accuracy",
        "accuracy",
        True,
        "Share of labels that are right, over all rows and labels.",
        lambda y, p: 1 - _label_score("hamming_loss")(y, p),
    ),
    Metric("exact", "all labels right", True, "Share of rows with every label right.", _label_score("accuracy_score")),
    Metric(
        "f1",
        "F1",
        True,
        "Harmonic mean of precision and recall, averaged over the labels.",
        _label_score("f1_score", average="macro", zero_division=0),
    ),
    Metric(
        "roc_auc",
        "ROC AUC",
        True,
        "Chance that a row with a label gets a higher probability of it than one without; averaged over the labels.",
        lambda y, p: _mean(roc_auc(y, p)),
    ),
    Metric("log_loss", "log-loss", False, "Mean over the labels of -log(probability of the truth).", _labels_log_loss),
    Metric(
        "brier",
        "Brier score",
        False,
        "Mean squared error of the probabilities; 0 is perfect.",
        _quantity("mean_squared_error"),
    ),
)
_QUANTITIES = (
    Metric(
        "r2",
        "R²",
        True,
        "Share of the variance that the predictions explain: 1 is perfect, 0 is no better than always the mean.",
        _quantity("r2_score"),
    ),
    Metric(
        "rmse",
        "RMSE",
        False,
        "Root mean square error; large errors count most.",
        _quantity("root_mean_squared_error"),
        False,
    ),
    Metric("mae", "mean absolute error", False, "Mean size of the error.", _quantity("mean_absolute_error"), False),
    Metric(
        "median_error",
        "median absolute error",
        False,
        "Half of the rows have a smaller error.",
        _quantity("median_absolute_error"),
        False,
    ),
)
