"""The public functions of a search: for classes, labels and quantities."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fnn import checks
from fnn.search.conduct import Options, conduct
from fnn.search.prepare import of_classes, of_labels, of_quantities
from fnn.search.records import Candidate, Found


def classes(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, " n"],
    n_classes: int,
    *,
    weight: Float[np.ndarray, " n"] | None = None,
    seed: int = 0,
    seconds: float | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> Found:
    """Search for the networks that best tell classes apart, and combine them into an ensemble.

    All candidates are trained on all folds of a cross-validation, as one compiled program. The numbers of steps are
    chosen by the log-loss on the held-out rows, and so are the shares of the candidates in the ensemble, by greedy
    selection (Caruana et al. 2004). Half of the ensemble are the chosen networks of the folds, half are networks that
    the same program trains on all rows. Tables of many rows are split once, in place of a cross-validation.

    Args:
      x: numbers (n, d) without NaN. They are standardised in float64.
      y: integers (n,) in 0..n_classes-1.
      n_classes: the number of classes.
      weight: weights (n,) of the rows. A row of weight 0 counts for nothing.
      seed: seed of the folds, the batches, the initial weights and dropout, at least 0. The same seed gives the same
        bits on the same machine, unless `seconds` is given.
      seconds: a limit on the duration of the search, compilation included; some seconds at least. If the time is short,
        fewer folds, candidates and steps are tried. Default: a time that depends on the size of the table alone.
      candidates: what is tried. Default: `network_candidates()` and `linear_candidates()`, or fewer and wider ones for
        tables of many rows.

    Returns:
      Found(ensemble, report). `fnn.search.predict(found.ensemble, x)` gives probabilities (n, n_classes).

    Raises:
      ValueError or TypeError: if an argument is invalid, for example if only one class has rows.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 2))
    >>> found = classes(x, (x[:, 0] > 0).astype(int), 2, candidates=[Candidate(0, 1e-3)])
    >>> found.report.out_of_fold.shape, [row.width for row in found.report.rows]
    ((60, 2), [0])
    """
    start = time.perf_counter()
    options = _check_options("search.classes", seed, seconds, candidates)
    return conduct(start, of_classes(x, y, n_classes, weight), options)


def labels(
    x: Float[np.ndarray, "n d"],
    y: Int[np.ndarray, "n k"],
    *,
    weight: Float[np.ndarray, " n"] | None = None,
    seed: int = 0,
    seconds: float | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> Found:
    """Search for the networks that best predict k labels, each 0 or 1 by itself.

    Args:
      x: numbers (n, d) without NaN.
      y: zeros and ones (n, k).
      weight: as in `classes`, like the following.
      seed: seed of all that is drawn.
      seconds: a limit on the duration.
      candidates: what is tried.

    Returns:
      Found(ensemble, report). `fnn.search.predict(found.ensemble, x)` gives the probability (n, k) that a label is 1.

    Raises:
      ValueError or TypeError: if an argument is invalid.
    """
    start = time.perf_counter()
    options = _check_options("search.labels", seed, seconds, candidates)
    return conduct(start, of_labels(x, y, weight), options)


def quantities(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n k"],
    *,
    weight: Float[np.ndarray, " n"] | None = None,
    seed: int = 0,
    seconds: float | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> Found:
    """Search for the networks that best predict k quantities.

    If the quantities have outliers, the loss is Huber's in place of the squared error. They count as such where a
    linear model that is fitted with the Huber loss predicts held-out rows better than one by least squares.

    Args:
      x: numbers (n, d) without NaN.
      y: numbers (n, k). Each quantity is standardised in float64.
      weight: as in `classes`, like the following.
      seed: seed of all that is drawn.
      seconds: a limit on the duration.
      candidates: what is tried.

    Returns:
      Found(ensemble, report). `fnn.search.predict(found.ensemble, x)` gives quantities (n, k) in their own units.

    Raises:
      ValueError or TypeError: if an argument is invalid.
    """
    start = time.perf_counter()
    options = _check_options("search.quantities", seed, seconds, candidates)
    return conduct(start, of_quantities(x, y, weight, options.seed), options)


def _check_options(function: str, seed: Any, seconds: Any, candidates: Any) -> Options:
    seed = checks.integer(function, "seed", seed)
    if not 0 <= seed < 2**32:
        raise checks.fail(function, "seed", "in 0..2**32-1", seed)
    if seconds is not None:
        checks.number(function, "seconds", seconds, minimum=0.0)
        seconds = float(seconds)
    if candidates is None:
        return Options(seed, seconds, None)
    tried = tuple(candidates)
    if not tried:
        raise checks.fail(function, "candidates", "at least one Candidate", came="none")
    for i, candidate in enumerate(tried):
        if not isinstance(candidate, Candidate):
            raise checks.fail(function, f"candidates[{i}]", "a Candidate", candidate, TypeError)
        if checks.integer(function, f"candidates[{i}].width", candidate.width) < 0:
            raise checks.fail(function, f"candidates[{i}].width", "at least 0", candidate.width)
        checks.number(function, f"candidates[{i}].l2", candidate.l2, minimum=0.0)
        checks.fraction(function, f"candidates[{i}].dropout", candidate.dropout)
    return Options(seed, seconds, tried)
