"""The tables of the benchmark `tables`, and their splits: bundled with scikit-learn, or drawn by its generators."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Source(NamedTuple):
    """A table: a row of x per example, and a class or a quantity to predict."""

    x: np.ndarray
    y: np.ndarray
    is_classes: bool


class Split(NamedTuple):
    """A training part and a test part of a table."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    is_classes: bool


MIXED_NUMBERS = 5  # leading columns of `mixed` in which values are missing


def _bundled(name: str) -> Source:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Source(x, y, name != "diabetes")


def _one_hot(labels: np.ndarray, count: int) -> np.ndarray:
    return np.eye(count)[labels]


def _clf() -> Source:
    """Draw three uneven classes in clusters, of 16 columns, three of them cut into four categories."""
    from sklearn.datasets import make_classification

    x, y = make_classification(
        900,
        16,
        n_informative=6,
        n_redundant=3,
        n_classes=3,
        weights=[0.65, 0.25, 0.1],
        flip_y=0.05,
        class_sep=0.9,
        random_state=1,
    )
    columns = (0, 5, 9)
    x, y = np.asarray(x), np.asarray(y)
    cut = [_one_hot(np.digitize(x[:, j], [-1, 0, 1]), 4) for j in columns]
    return Source(np.concatenate([np.delete(x, columns, 1), *cut], 1), y, True)


def _mixed(n: int = 700, seed: int = 3) -> Source:
    """Draw five numbers, a tenth of them missing, and three categories that act on them."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, MIXED_NUMBERS))
    numbers[:, 1] = np.exp(numbers[:, 1])
    categories = [rng.integers(0, c, n) for c in (3, 5, 8)]
    effects = [rng.normal(size=c) for c in (3, 5, 8)]
    effect = [of[category] for of, category in zip(effects, categories, strict=True)]
    z = 1.2 * numbers[:, 0] - 0.5 * numbers[:, 1] + numbers[:, 2] * (effect[0] * 1.5) + effect[1]
    z = z + 0.8 * effect[2] + np.abs(numbers[:, 3]) - 0.5
    y = (z + rng.logistic(size=n) * 0.7 > np.median(z)).astype(int)
    missing = rng.random((n, MIXED_NUMBERS)) < 0.1
    one_hot = [_one_hot(category, category.max() + 1) for category in categories]
    return Source(np.concatenate([np.where(missing, np.nan, numbers), missing, *one_hot], 1), y, True)


def _generated(name: str, is_classes: bool, *args: int, **options: float) -> Source:
    from sklearn import datasets

    x, y = getattr(datasets, f"make_{name}")(*args, **options, random_state=1)
    return Source(x, np.unique(y, return_inverse=True)[1] if is_classes else y, is_classes)


def _outliers() -> Source:
    """Draw friedman1 with a twentieth of the targets moved by up to some hundred standard deviations."""
    x, y, _ = _generated("friedman1", False, 500, 10, noise=1.0)
    rng = np.random.default_rng(5)
    far = rng.random(len(y)) < 0.05
    return Source(x, np.where(far, y + 30 * rng.standard_cauchy(len(y)), y), False)


def _rare() -> Source:
    """Draw four classes of which the rarest has about one row in a hundred."""
    from sklearn.datasets import make_classification

    shares = [0.7, 0.24, 0.05, 0.01]
    x, y = make_classification(
        800, 12, n_informative=6, n_classes=4, weights=shares, class_sep=1.5, flip_y=0.01, random_state=2
    )
    return Source(np.asarray(x), np.asarray(y), True)


NINE: dict[str, Callable[[], Source]] = {
    "iris": functools.partial(_bundled, "iris"),
    "wine": functools.partial(_bundled, "wine"),
    "breast_cancer": functools.partial(_bundled, "breast_cancer"),
    "digits": functools.partial(_bundled, "digits"),
    "diabetes": functools.partial(_bundled, "diabetes"),
    "clf": _clf,
    "moons": functools.partial(_generated, "moons", True, 500, noise=0.25),
    "friedman1": functools.partial(_generated, "friedman1", False, 500, 10, noise=1.0),
    "mixed": _mixed,
}
OTHERS: dict[str, Callable[[], Source]] = {
    "friedman2": functools.partial(_generated, "friedman2", False, 400, noise=50.0),
    "friedman3": functools.partial(_generated, "friedman3", False, 400, noise=0.1),
    "sparse": functools.partial(_generated, "sparse_uncorrelated", False, 200, 30),
    "quantiles": functools.partial(_generated, "gaussian_quantiles", True, n_samples=600, n_features=5, n_classes=3),
    "hastie": functools.partial(_generated, "hastie_10_2", True, 2000),
    "circles": functools.partial(_generated, "circles", True, 300, noise=0.15, factor=0.6),
    "outliers": _outliers,
    "rare": _rare,
}
SOURCES = NINE | OTHERS


@functools.cache
def load(name: str) -> Source:
    """Make a table by its name in SOURCES."""
    return SOURCES[name]()


def split(name: str, seed: int) -> Split:
    """Split a table into a training part of 80% and a test part, stratified by classes.

    Missing numbers become the mean of the training part; a column of `mixed` says where they were.
    """
    from sklearn.model_selection import train_test_split

    source = load(name)
    stratify = source.y if source.is_classes else None
    parts = train_test_split(source.x, source.y, test_size=0.2, random_state=seed, stratify=stratify)
    x, x_test, y, y_test = (np.array(part) for part in parts)
    if np.isnan(source.x).any():
        mean = np.nanmean(x, axis=0)
        x, x_test = (np.where(np.isnan(part), mean, part) for part in (x, x_test))
    return Split(x, y, x_test, y_test, source.is_classes)
