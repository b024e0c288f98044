"""Checks of the values of examples, in memory or read from a stream."""

import bisect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from fnn import checks
from fnn.checks.targets import inputs
from fnn.row_weights import replace_rows_on_host

Validate = Callable[[np.ndarray], None]

NAMES = "x", "y", "weight"


def _all_finite(array: Array | np.ndarray) -> bool:
    """Whether all is finite; checked on the host if the values are there, which needs no compilation."""
    if isinstance(array, np.ndarray):
        return bool(np.isfinite(array).all())
    on_host = all(device.platform == "cpu" for device in array.devices()) and array.is_fully_addressable
    return bool(np.isfinite(np.asarray(array)).all() if on_host else jnp.all(jnp.isfinite(array)))


def _first_not_finite(array: Array | np.ndarray, weight: Array | np.ndarray | None) -> int | None:
    """The first row with weight that is not finite, if there is one."""
    isfinite = np.isfinite if isinstance(array, np.ndarray) else jnp.isfinite
    finite = np.asarray(isfinite(array.reshape(array.shape[0], -1)).all(axis=1))
    bad = ~finite if weight is None or isinstance(weight, Tracer) else ~finite & (np.asarray(weight) != 0)
    return int(np.argmax(bad)) if bad.any() else None


def check_values(
    function: str,
    argument: str,
    arrays: Mapping[str, Any],
    vocabulary: int | None = None,
    where: Callable[[int], str] = "row {}".format,
) -> None:
    """Raise unless x is floating or ids of the vocabulary, all is finite, and weights are floating and not negative.

    Rows of weight 0 may hold anything, and traced arrays are not checked. `where` names a row.
    """
    weight = arrays.get("weight")
    if weight is not None:
        checks.floats(function, f"{argument}: weight", weight)
    inputs(function, f"{argument}: x", arrays["x"], vocabulary, weight, where)
    for name, array in arrays.items():
        if not isinstance(array, Tracer) and jnp.issubdtype(array.dtype, jnp.inexact) and not _all_finite(array):
            row = _first_not_finite(array, weight)
            if row is not None:
                came = f"NaN or infinity, first in {where(row)}"
                raise checks.fail(function, f"{argument}: {name}", "finite", came=came)
    if weight is not None and not isinstance(weight, Tracer) and bool((np.asarray(weight) < 0).any()):
        came = f"a negative weight, first in {where(int(np.argmax(np.asarray(weight) < 0)))}"
        raise checks.fail(function, f"{argument}: weight", "non-negative", came=came)


def validate_targets(validate: Validate, targets: np.ndarray, weight: Any, where: Callable[[int], str]) -> None:
    """Let `validate` check the targets that have weight. Its error gets the first bad row, as `where` names it."""
    if weight is not None:
        weight = np.asarray(weight)
        if not weight.any():
            return
        targets = replace_rows_on_host(targets, weight)
    try:
        validate(targets)
    except ValueError as error:
        if targets.ndim > 1 and _is_refused(validate, targets[:0]):
            raise  # for their shape, which is that of every row
        row = bisect.bisect(range(len(targets)), False, key=lambda row: _is_refused(validate, targets[: row + 1]))
        if row == len(targets):
            raise
        if weight is not None and weight[row] == 0:
            row = int(np.argmax(weight != 0))  # the row that took its place
        value = f": {targets[row]}" if targets.ndim == 1 else ""
        raise ValueError(f"{error}, first in {where(row)}{value}") from None


def _is_refused(validate: Validate, targets: np.ndarray) -> bool:
    try:
        validate(targets)
    except ValueError:
        return True
    return False
