"""Data as arrays: one-hot targets, splits, and shuffled batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from fnn import checks
from fnn.checks.host_values import refuse_masked
from fnn.data.order import shuffled_batches
from fnn.dtypes import at_least_int32
from fnn.sharding.rows import take
from fnn.types import Data, PRNGKey


def one_hot(labels: ArrayLike, k: int) -> Float[Array, "batch k"]:
    """Encode labels as rows with a 1 at the label. A label outside 0..k-1 is an error, not a row of zeros.

    Args:
      labels: integers (batch,).
      k: the number of classes.

    Returns:
      float32 rows (batch, k).

    >>> one_hot(jnp.array([2, 0]), 3)
    Array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    labels, k = checks.array("one_hot", "labels", labels), checks.positive_int("one_hot", "k", k)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise checks.fail("one_hot", "labels", "integers", labels, TypeError)
    if labels.ndim != 1:
        raise checks.fail("one_hot", "labels", "of shape (batch,)", labels)
    labels = labels.astype(at_least_int32(labels))  # k = 300 as uint8 would be 44
    if not isinstance(labels, Tracer) and labels.size and not (labels.min() >= 0 and labels.max() < k):
        row = int(np.argmax((np.asarray(labels) < 0) | (np.asarray(labels) >= k)))
        came = f"{labels.min()}..{labels.max()}, first in row {row}: {labels[row]}"
        raise checks.fail("one_hot", "labels", f"in 0..{k - 1}", came=came)
    return jax.nn.one_hot(labels, k)


def split(
    key: PRNGKey, arrays: Sequence[Any], fractions: Sequence[float], stratify: ArrayLike | None = None
) -> list[tuple[Any, ...]]:
    """Shuffle examples and split them into disjoint parts.

    Args:
      key: PRNG key of the shuffle.
      arrays: arrays with one row per example, for example `(x, y)`.
      fractions: the size of each part as a fraction of all examples; they sum to 1. Sizes are rounded so that every
        example is in exactly one part.
      stratify: labels (examples,). Each class is then split by the fractions.

    Returns:
      A list with one tuple of arrays per part.

    >>> x, y = jnp.arange(10.0)[:, None], jnp.arange(10) % 2
    >>> train, test = split(jax.random.key(0), (x, y), (0.8, 0.2), stratify=y)
    >>> train[0].shape, sorted(test[1].tolist())
    ((8, 1), [0, 1])
    """
    size = check_examples("split", arrays)
    fractions = tuple(fractions)
    if not fractions or not (min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise checks.fail("split", "fractions", "non-negative and of sum 1", fractions)
    order = np.asarray(_permutation(key, size))
    if stratify is not None:
        labels = _on_host("stratify", stratify)
        if labels.shape != (size,):
            raise checks.fail("split", "stratify", f"of shape ({size},)", labels)
        order = _interleave(order, labels)
    parts = np.split(order, np.round(np.cumsum(fractions[:-1]) * size).astype(int))
    # rows are taken on the host: on the device each shape would compile a program
    on_host = [_on_host(f"arrays[{i}]", array) for i, array in enumerate(arrays)]
    return [
        tuple(_like(array[np.sort(part)], given) for array, given in zip(on_host, arrays, strict=True))
        for part in parts
    ]


_permutation = jax.jit(jax.random.permutation, static_argnums=1)  # one program in place of two


def _on_host(argument: str, array: Any) -> np.ndarray:
    """The array as NumPy has it, in its own dtype: of `split`, which only moves rows."""
    try:
        refuse_masked(array)
        return np.asarray(array)
    except (TypeError, ValueError) as error:
        raise checks.not_an_array("split", argument, array, error) from None


def _like(array: np.ndarray, given: Any) -> Any:
    return jax.device_put(array) if isinstance(given, Array) else array


def _interleave(order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rearrange `order` so that every contiguous part contains the classes in proportion: member j of a class with c
    members is placed at relative position (j + ½)/c.
    """
    position = np.empty(len(order))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position[order], kind="stable")]


def check_examples(function: str, arrays: Sequence[Any], least: int = 1, argument: str = "data") -> int:
    """Return the number of examples, which must be the same in each array and at least `least`."""
    shapes = [getattr(array, "shape", None) for array in arrays]
    if not shapes or any(not shape for shape in shapes):
        raise checks.fail(function, argument, "arrays whose first axis counts examples", came=f"shapes {shapes}")
    sizes = [array.shape[0] for array in arrays]
    if len(set(sizes)) != 1:
        raise checks.fail(function, argument, "arrays of the same length", came=f"lengths {sizes}")
    if sizes[0] < least:
        raise checks.fail(function, argument, "at least one example", came="none")
    return sizes[0]


def check_batch_size(function: str, batch_size: int, size: int) -> int:
    """Return the batch size, which must be from 1 to the number of examples."""
    batch_size = checks.positive_int(function, "batch_size", batch_size)
    if batch_size > size:
        raise checks.fail(function, "batch_size", f"at most the number of examples, {size}", batch_size)
    return batch_size


def unpack_batch(function: str, batch: Data, argument: str = "the batch") -> tuple[Any, Any, Any]:
    """(x, y) or (x, y, weight) as (x, y, weight), where weight may be None."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise checks.fail(function, argument, "(x, y) or (x, y, weight)", error=TypeError, came=type(batch).__name__)
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def batches(key: PRNGKey, arrays: Sequence[ArrayLike], batch_size: int) -> Iterator[tuple[Array, ...]]:
    """Yield one epoch of shuffled batches. Only the last batch may be smaller.

    Args:
      key: PRNG key of the shuffle; use another for each epoch.
      arrays: arrays with one row per example, for example `(x, y)`.
      batch_size: examples per batch.

    Yields:
      Tuples of arrays, one batch each. Every example occurs once.

    >>> [x.shape for (x,) in batches(jax.random.key(0), (jnp.zeros((10, 3)),), 4)]
    [(4, 3), (4, 3), (2, 3)]
    """
    size = check_examples("batches", arrays)
    full, rest = shuffled_batches(key, size, check_batch_size("batches", batch_size, size))
    arrays = tuple(checks.array("batches", f"arrays[{i}]", array) for i, array in enumerate(arrays))
    for index in (*full, rest) if rest.size else full:
        yield take(arrays, index)
