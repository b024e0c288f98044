"""Checks of values on the host: of targets, what the losses have as `validate`; and of ids in a vocabulary."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from fnn.checks.arrays import floats
from fnn.checks.errors import fail
from fnn.checks.host_values import has_values

A = TypeVar("A", jax.Array, np.ndarray)


def _rounding(dtype: np.dtype) -> float:
    """Return the relative rounding error of a floating point dtype; 0 for any other."""
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0


def labels_in_range(function: str, ignore: int | None = None) -> Callable[[tuple[int, ...], ArrayLike], None]:
    """Return the check of losses whose targets are labels or distributions; the label `ignore` is valid too."""

    def validate(prediction_shape: tuple[int, ...], target: ArrayLike) -> None:
        """Check labels to be in 0..k-1, distributions to be >= 0 and to sum to 1."""
        values, k = np.asarray(target), prediction_shape[-1]
        are_labels = values.ndim == max(1, len(prediction_shape) - 1)
        are_distributions = values.ndim > 1 and values.ndim == len(prediction_shape)
        labels = values if ignore is None else values[values != ignore]
        if are_labels and labels.size and not (labels.min() >= 0 and labels.max() < k):
            expected = f"labels in 0..{k - 1}" + ("" if ignore is None else f" or {ignore}")
            raise fail(function, "target", expected, came=f"{labels.min()}..{labels.max()}")
        if are_distributions and values.size and values.min() < 0:
            raise fail(function, "target", "distributions without negative entries", came=f"{values.min()}")
        if values.ndim > 1 and len(prediction_shape) == values.ndim and values.shape[-1] == 1 and k > 1:
            expected = f"labels of shape {values.shape[:-1]}, or distributions of shape {(*values.shape[:-1], k)}"
            raise fail(function, "target", expected, values, advice="Drop the last axis: y[..., 0].")
        sums = values.sum(axis=-1, dtype=np.float64)
        if are_distributions and values.size and np.abs(sums - 1).max() > max(1e-3, _rounding(values.dtype)):
            raise fail(function, "target", "distributions that sum to 1", came=f"{sums.min()}..{sums.max()}")

    return validate


def between_0_and_1(function: str) -> Callable[[tuple[int, ...], ArrayLike], None]:
    """Return the check of losses whose targets are independent labels in [0, 1]."""

    def validate(prediction_shape: tuple[int, ...], target: ArrayLike) -> None:
        """Check that each label is in [0, 1]."""
        values = np.asarray(target)
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise fail(function, "target", "labels in 0..1", came=f"{values.min()}..{values.max()}")

    return validate


def inputs(
    function: str,
    argument: str,
    x: A,
    vocabulary: int | None,
    weight: ArrayLike | None = None,
    where: Callable[[int], str] = "row {}".format,
) -> A:
    """Return x, after a check that it is what a network takes: floating point, or ids below `vocabulary`.

    `where` names a row. Rows of weight 0 may hold anything. Ids are not checked if they are traced, or in part in other
    processes.

    >>> inputs("fit", "x", np.array([[0, 1], [2, 3]]), 3)
    Traceback (most recent call last):
        ...
    ValueError: fit: x must be ids in 0..2, got 3, first in row 1
    """
    if vocabulary is None:
        return floats(function, argument, x)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise fail(function, argument, f"integer ids in 0..{vocabulary - 1}", x, TypeError)
    if not has_values(x) or not has_values(weight) or not x.size:
        return x
    ids = np.asarray(x)
    bad = (ids < 0) | (ids >= vocabulary)
    if weight is not None:
        bad &= (np.asarray(weight) != 0).reshape(-1, *(1,) * (ids.ndim - 1))
    if bad.any():
        first = np.unravel_index(np.argmax(bad), bad.shape)
        came = f"{ids[first]}" + (f", first in {where(int(first[0]))}" if first else "")
        raise fail(function, argument, f"ids in 0..{vocabulary - 1}", came=came)
    return x
