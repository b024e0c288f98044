"""Inputs that are sequences of different lengths: a pair (x, lengths), x (batch, time, …) padded at its end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from fnn import checks
from fnn.checks.host_values import has_values
from fnn.dtypes import at_least_int32
from fnn.types import Params


def split_lengths(function: str, x: Any) -> tuple[Array, Int[Array, " batch"] | None]:
    """Return x and its lengths, for an input that is x or the pair (x, lengths).

    Lengths must be in 0..time. They are not checked if they are traced, or in part in other processes.
    """
    if not isinstance(x, tuple):
        return checks.array(function, "x", x), None
    if len(x) != 2:
        raise checks.fail(function, "x", "an array or a pair (x, lengths)", came=f"a tuple of {len(x)}")
    x, lengths = checks.array(function, "x", x[0]), checks.array(function, "lengths", x[1])
    if x.ndim < 2:
        raise checks.fail(function, "x", "of shape (batch, time, ...)", x)
    return x, check_lengths(function, lengths, x)


def positions_and_lengths(function: str, params: Params, x: Any) -> tuple[Array, Int[Array, " batch"] | None]:
    """Return x and its lengths as `split_lengths`, for a layer without parameters over at least one position."""
    checks.no_params(function, params)
    x, lengths = split_lengths(function, x)
    x = checks.floats(function, "x", x)
    if x.ndim < 2 or x.shape[1] < 1:
        raise checks.fail(function, "x", "of shape (batch, time, ...), of at least one position", x)
    return x, lengths


def check_lengths(function: str, lengths: Any, x: Array) -> Int[Array, " batch"]:
    """Return lengths if there is one for each sequence of x, in 0..time."""
    lengths = checks.array(function, "lengths", lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise checks.fail(function, "lengths", "integers", lengths, TypeError)
    if lengths.shape != x.shape[:1]:
        raise checks.fail(function, "lengths", f"of shape ({x.shape[0]},)", lengths)
    if has_values(lengths) and lengths.size and not (lengths.min() >= 0 and lengths.max() <= x.shape[1]):
        raise checks.fail(function, "lengths", f"in 0..{x.shape[1]}", came=f"{lengths.min()}..{lengths.max()}")
    return lengths.astype(at_least_int32(lengths))


def join_lengths(dx: Array, lengths: Array | None) -> Any:
    """Return dx as the gradient of x, or of the pair: that of the lengths is zeros of the dtype float0."""
    return dx if lengths is None else (dx, np.zeros(lengths.shape, jax.dtypes.float0))


def in_sequence(lengths: Int[Array, " batch"], x: Array) -> Bool[Array, "batch time ..."]:
    """Return where a position of x is one of its sequence, as (batch, time, 1, …, 1)."""
    t = jax.lax.broadcasted_iota(lengths.dtype, x.shape[:2], 1)
    return (t < lengths[:, None]).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


def nan_if_impossible(y: Array, lengths: Int[Array, " batch"], time: int) -> Array:
    """Return y with NaN in the rows whose length is not in 0..time, which are seen only inside a program."""
    possible = ((lengths >= 0) & (lengths <= time)).reshape(-1, *(1,) * (y.ndim - 1))
    return jnp.where(possible, y, jnp.nan)


def reverse(x: Array, lengths: Int[Array, " batch"] | None = None) -> Array:
    """Return (batch, time, …) with the last position first.

    If lengths are given, each sequence is reversed and its padding stays at its end. A reversal is its own inverse, and
    so its own adjoint.

    >>> reverse(jnp.array([[1, 2, 3, 0]]), jnp.array([3]))
    Array([[3, 2, 1, 0]], dtype=int32)
    """
    if lengths is None:
        return jnp.flip(x, axis=1)
    t = jax.lax.broadcasted_iota(lengths.dtype, x.shape[:2], 1)
    source = jnp.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    return jnp.take_along_axis(x, source.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)), axis=1)
