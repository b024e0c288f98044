"""Sequences of different lengths: pad them, and group them so that there is little padding."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Int

from fnn import checks
from fnn.checks.host_values import host_dtype, python_scalar
from fnn.dtypes import at_least_int32
from fnn.types import PRNGKey


def pad(sequences: Sequence[Any], value: float = 0, time: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pad sequences of different lengths at their end, so that they make one array.

    Give the targets of the same sequences the value that the loss ignores: `pad(targets, -100)`.

    Args:
      sequences: arrays (time, …) whose shapes are equal but for the first axis.
      value: the number to pad with. A floating point dtype rounds it.
      time: pad to this many positions. Default: the length of the longest.

    Returns:
      (x, lengths): NumPy arrays x (batch, time, …), in the dtype of the sequences, and int32 lengths (batch,).

    Raises:
      ValueError: if there is no sequence, their shapes differ, one is longer than `time`, or the dtype cannot hold
        `value`.

    >>> pad([[3, 1, 2], [4]])
    (array([[3, 1, 2], [4, 0, 0]], dtype=int32), array([3, 1], dtype=int32))
    """
    rows = [checks.on_host("pad", f"sequences[{i}]", sequence) for i, sequence in enumerate(sequences)]
    if not rows:
        raise checks.fail("pad", "sequences", "at least one array (time, ...)", came="none")
    sized = [row for row in rows if row.size] or rows[:1]
    like, dtype = sized[0], host_dtype(np.result_type(*(row.dtype for row in sized)))
    for i, row in enumerate(rows):
        if row.ndim < 1 or (row.size and row.shape[1:] != like.shape[1:]):
            expected = f"of shape (time{''.join(f', {n}' for n in like.shape[1:])})"
            raise checks.fail("pad", f"sequences[{i}]", expected, row)
    lengths = np.array([len(row) for row in rows], np.int32)
    longest = int(lengths.max())
    time = longest if time is None else checks.positive_int("pad", "time", time)
    if longest > time:
        raise checks.fail("pad", "time", f"at least the length of the longest sequence, {longest}", time)
    x = np.full((len(rows), time, *like.shape[1:]), _padding(value, dtype))
    for i, row in enumerate(rows):
        x[i, : len(row)] = row.reshape(len(row), *like.shape[1:])
    return x, lengths


def _padding(value: Any, dtype: np.dtype) -> np.ndarray:
    """Return the number to pad with in this dtype: rounded if that is floating point, else exact."""
    number = python_scalar(value)
    if not isinstance(number, int | float):
        raise checks.fail("pad", "value", "a number", value, TypeError)
    error = checks.fail("pad", "value", f"a number of the dtype {dtype} of the sequences", value)
    if not jnp.issubdtype(dtype, jnp.inexact):
        low, high = (0, 1) if dtype.kind == "b" else (jnp.iinfo(dtype).min, jnp.iinfo(dtype).max)
        if not (low <= number <= high and number == int(number)):
            raise error
        return np.asarray(int(number), dtype)
    try:
        number = float(number)
    except OverflowError:
        raise error from None
    with np.errstate(over="ignore"):
        padding = np.asarray(number).astype(dtype)
    if np.isfinite(number) and not np.isfinite(padding):
        raise error
    return padding


def buckets(lengths: ArrayLike | Sequence[int], batch_size: int, key: PRNGKey | None = None) -> list[np.ndarray]:
    """Group sequences of similar lengths, so that batches have little padding.

    Args:
      lengths: the length of each sequence, integers (examples,).
      batch_size: the number of sequences in a group. One group may be smaller.
      key: PRNG key that puts the groups, and sequences of equal lengths, in random order. Default: ascending lengths.

    Returns:
      A list of arrays of indices. Each sequence occurs in one of them, once.

    Raises:
      ValueError: if there are no sequences, or `batch_size` is not positive.

    >>> [index.tolist() for index in buckets([3, 9, 2, 8, 3], 2)]
    [[2, 0], [4, 3], [1]]
    """
    lengths = checks.on_host("buckets", "lengths", lengths)
    batch_size = checks.positive_int("buckets", "batch_size", batch_size)
    if lengths.dtype.kind not in "iu":
        raise checks.fail("buckets", "lengths", "integers", lengths, TypeError)
    if lengths.ndim != 1 or not lengths.size:
        raise checks.fail("buckets", "lengths", "of shape (examples,), of at least one sequence", lengths)
    if key is None:
        order = np.argsort(lengths, kind="stable")
        return np.split(order, range(batch_size, len(order), batch_size))
    shuffled = np.asarray(jax.random.permutation(checks.key("buckets", key), len(lengths)))
    order = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    groups = np.split(order, range(batch_size, len(order), batch_size))
    turn = np.asarray(jax.random.permutation(jax.random.fold_in(key, 1), len(groups)))
    return [groups[i] for i in turn]


def lengths_of(ids: Int[Array, "batch time"], padding: int = 0) -> Int[Array, " batch"]:
    """Return the length of each sequence of ids.

    The length is the number of positions up to the last that is not `padding`. This function is for `fnn.ragged`, where
    `functools.partial(fnn.data.lengths_of, padding=3)` sets another id.

    >>> lengths_of(jnp.array([[5, 0, 2, 0], [0, 0, 0, 0]]))
    Array([3, 0], dtype=int32)
    """
    ids = checks.array("lengths_of", "ids", ids)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise checks.fail("lengths_of", "ids", "integers", ids, TypeError)
    if ids.ndim != 2:
        raise checks.fail("lengths_of", "ids", "of shape (batch, time)", ids)
    ids = ids.astype(at_least_int32(ids))
    positions = jax.lax.broadcasted_iota(jnp.int32, ids.shape, 1) + 1
    return jnp.max(jnp.where(ids != padding, positions, 0), axis=1, initial=0)
