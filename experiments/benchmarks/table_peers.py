"""The models that the benchmark `tables` compares: the search of fnn, and five of scikit-learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fnn.search
from experiments.benchmarks.table_sources import Split

OURS = "search"


class Answer(NamedTuple):
    """A model's predictions for a test part: classes or quantities (n,), and probabilities (n, k) where it has them."""

    prediction: np.ndarray
    probabilities: np.ndarray | None = None


def search(split: Split, seed: int) -> Answer:
    """The search of fnn, with its defaults."""
    if not split.is_classes:
        found = fnn.search.quantities(split.x, split.y[:, None], seed=seed)
        return Answer(fnn.search.predict(found.ensemble, split.x_test)[:, 0])
    found = fnn.search.classes(split.x, split.y, int(split.y.max()) + 1, seed=seed)
    probabilities = fnn.search.predict(found.ensemble, split.x_test)
    return Answer(probabilities.argmax(axis=1), probabilities)


def _of(model: Any, split: Split) -> Answer:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trainings that stop at max_iter, and of defaults that will change
        model.fit(split.x, split.y)
        prediction = model.predict(split.x_test)
        probabilities = model.predict_proba(split.x_test) if hasattr(model, "predict_proba") else None
    return Answer(prediction, probabilities)


def _standardised(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)


def linear(split: Split, seed: int) -> Answer:
    """Logistic or ridge regression on standardised columns, with the penalty chosen by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV

    if not split.is_classes:
        return _of(_standardised(RidgeCV(np.logspace(-3, 3, 13))), split)
    return _of(_standardised(LogisticRegressionCV(cv=5, scoring="neg_log_loss", max_iter=1000)), split)


def mlp(split: Split, seed: int) -> Answer:
    """A multilayer perceptron of 64 and 32 hidden units on standardised columns."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    make = MLPClassifier if split.is_classes else MLPRegressor
    return _of(_standardised(make(hidden_layer_sizes=(64, 32), max_iter=500, random_state=seed)), split)


def boosting(split: Split, seed: int) -> Answer:
    """Gradient boosting of trees on histograms, with its defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    make = HistGradientBoostingClassifier if split.is_classes else HistGradientBoostingRegressor
    return _of(make(random_state=seed), split)


def forest(split: Split, seed: int) -> Answer:
    """A random forest of 300 trees."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    make = RandomForestClassifier if split.is_classes else RandomForestRegressor
    return _of(make(300, random_state=seed), split)


def svm(split: Split, seed: int) -> Answer:
    """A support vector machine with an RBF kernel on standardised columns, with its defaults."""
    from sklearn.svm import SVC, SVR

    return _of(_standardised(SVC() if split.is_classes else SVR()), split)


PEERS: dict[str, Callable[[Split, int], Answer]] = {
    OURS: search,
    "linear": linear,
    "mlp": mlp,
    "boosting": boosting,
    "forest": forest,
    "svm": svm,
}
