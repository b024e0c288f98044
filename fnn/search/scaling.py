"""Standardise columns, and keep far values from spoiling them.

The mean and the deviation of a column are those of its values that are not far. A value is far if it lies beyond a wide
gap: a typing error, or a number such as 9999 that stands for a missing one. Heavy tails alone have no such gap.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from fnn.data.standardization import fit_standardization

GAP = 20.0  # a value so many times farther from the median than the next one is far, as are all beyond it
MOST = 0.1  # of the rows of a column may be far; more of them are a part of the data


class Scaling(NamedTuple):
    """The standardisation of columns: `standardise` computes min(max((x - center) / scale, -reach), reach)."""

    center: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    reach: Float[np.ndarray, " d"]


def standardise(x: np.ndarray, scaling: Scaling) -> Float[np.ndarray, "n d"]:
    """Return (x - center) / scale, limited to ±reach, computed in float64."""
    with np.errstate(over="ignore"):
        z = (np.asarray(x, np.float64) - scaling.center) / scaling.scale
    return np.clip(z, -scaling.reach, scaling.reach)


def center_and_scale(x: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Return what `fnn.data.fit_standardization` does, in float64 and as NumPy arrays, also with jax_enable_x64.

    >>> center, scale = center_and_scale(np.array([[1e12 + 1, 0.1], [1e12 + 3, 0.1]]))
    >>> scale.tolist()
    [1.0, 1.0]
    """
    center, scale = fit_standardization(x)
    return np.array(center), np.array(scale)


def far_values(column: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return which values of a column are far.

    The distances of the values from the median are sorted. Wherever a distance is 20 times the one before it, at least
    half of those that are not 0 lie before it, and at most a tenth of all rows lie beyond it, all of these are far.

    >>> far_values(np.array([*range(20), 1e7])).nonzero()[0].tolist()
    [20]
    >>> bool(far_values(np.exp(np.linspace(-4, 4, 100))).any() or far_values(np.arange(100.0) == 7).any())
    False
    """
    none = np.zeros(len(column), bool)
    halves = column / 2  # their differences do not overflow
    median = np.median(halves)
    distances = np.abs(halves - median)
    beside = np.sort(distances[distances > 8 * np.finfo(np.float64).eps * np.abs(median)])
    first = max(1, (len(beside) + 1) // 2, len(beside) - int(MOST * len(column)))
    if first >= len(beside):
        return none
    gaps = np.flatnonzero(beside[first:] / GAP >= beside[first - 1 : -1])
    return distances >= beside[first + gaps[0]] if len(gaps) else none


def fit_scaling(x: Float[np.ndarray, "n d"], trusted: Bool[np.ndarray, " n"] | None = None) -> Scaling:
    """Return the standardisation of inputs by their mean and deviation, both without far values.

    Values in trusted rows are never far: for example, a far target says that a far input may be no error.

    Inputs are limited to r deviations. In columns with far values, r = max(3, f), where f is the distance of the
    farthest value that is not far. In all others, r = max(10, f⁴ / (2 ln n)): ten for n normal values, whose f² is
    about 2 ln n, and hundreds or thousands for heavy tails, which may reach further in other rows.
    """
    center, scale = center_and_scale(x)
    with np.errstate(over="ignore"):
        farthest = np.minimum((np.abs(x - center) / scale).max(axis=0), len(x) ** 0.5)
    reach = np.maximum(10.0, farthest**4 / (2 * np.log(max(2, len(x)))))
    for j in range(x.shape[1]):
        near = ~far_values(x[:, j])
        if trusted is not None:
            near |= trusted
        if not near.all():
            (center[j],), (scale[j],) = center_and_scale(x[near, j : j + 1])
            reach[j] = max(3.0, (np.abs(x[near, j] - center[j]) / scale[j]).max())
    return Scaling(center, scale, reach)
