"""Folds: which rows are held out together."""

import numpy as np
from jaxtyping import Int


def assign_folds(strata: Int[np.ndarray, " n"], n_folds: int, seed: int) -> Int[np.ndarray, " n"]:
    """Assign each row to one of the folds 0..n_folds-1, with equal shares of each stratum in all folds.

    The sizes of any two folds differ by at most 1, and so do the numbers of rows of a stratum in them. The members of a
    stratum with fewer rows than folds are in different folds.

    Args:
      strata: an integer per row, such as its class.
      n_folds: the number of folds.
      seed: seed of the shuffle.

    >>> assign_folds(np.array([0, 0, 0, 0, 1, 1]), 2, 0).tolist() in ([0, 0, 1, 1, 0, 1], [0, 1, 0, 1, 0, 1])
    False
    >>> folds = assign_folds(np.array([0, 0, 0, 0, 1, 1]), 2, 0)
    >>> sorted(folds[:4].tolist()), sorted(folds[4:].tolist())
    ([0, 0, 1, 1], [0, 1])
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(len(strata), np.int64)
    folds[order] = np.arange(len(strata)) % n_folds
    return folds


def strata_of(y: np.ndarray) -> Int[np.ndarray, " n"]:
    """Return an integer per row by which to stratify: the class, the set of labels, or ten quantiles of a quantity.

    For several quantities the first alone counts.

    >>> strata_of(np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])).tolist()
    [0, 1, 0]
    """
    if y.ndim == 1:
        return y
    if np.isin(y, (0, 1)).all():
        return np.unique(y, axis=0, return_inverse=True)[1].reshape(-1)
    ranks = np.argsort(np.argsort(y[:, 0], kind="stable"), kind="stable")
    return ranks * 10 // len(y)


def held_out_rows(folds: Int[np.ndarray, " n"], n_folds: int) -> Int[np.ndarray, "n_folds most"]:
    """Return the rows of each fold, padded with -1.

    >>> held_out_rows(np.array([0, 1, 0, -1]), 2).tolist()
    [[0, 2], [1, -1]]
    """
    rows = [np.flatnonzero(folds == fold) for fold in range(n_folds)]
    out = np.full((n_folds, max(map(len, rows))), -1, np.int32)
    for fold, index in enumerate(rows):
        out[fold, : len(index)] = index
    return out
