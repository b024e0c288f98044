"""`search=True`: an ensemble that `fnn.search` finds takes the place of one network."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from fnn import search
from fnn.search import Found


def _options(estimator: Any, weight: np.ndarray) -> dict[str, Any]:
    seed = check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max)
    return {"weight": weight, "seed": int(seed), "seconds": estimator.search_seconds}


def find_classes(estimator: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray, n_classes: int | None) -> Found:
    """Search for classes y (n,) in 0..n_classes-1; with None for labels y (n, k), each 0 or 1."""
    options = _options(estimator, weight)
    if n_classes is None:
        return search.labels(X, y.astype(np.int64), **options)
    return search.classes(X, y, n_classes, **options)


def find_quantities(estimator: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Found:
    """Search for quantities y (n, k)."""
    return search.quantities(X, y, **_options(estimator, weight))


def predict(estimator: Any, X: Any) -> np.ndarray:
    """Return what the ensemble predicts, (n, k) in the dtype of X."""
    X = validate_data(estimator, X, dtype=(np.float64, np.float32), reset=False)
    return np.asarray(search.predict(estimator.ensemble_, X)).astype(X.dtype)


def logarithms(p: np.ndarray) -> np.ndarray:
    """ln p, finite also for p = 0"""
    return np.log(np.maximum(p, np.finfo(p.dtype).tiny))


def logits(p: np.ndarray) -> np.ndarray:
    """ln p - ln(1 - p), finite also for p = 0 and p = 1"""
    return logarithms(p) - logarithms(1 - p)
