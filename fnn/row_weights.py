"""Rows of weight 0 count for nothing, whatever they hold: a NaN, a padding, a label of -1.

A weight of 0 alone does not do that, since 0 · NaN is NaN. So rows without weight are replaced before the forward pass
by rows that have weight, and the values of the loss and of the metrics by 0. If all weights are 0, rows of zeros take
their place. Rows with weight keep their bits. `batch_norm` has statistics over all rows of a batch: for such networks,
the rows that have weight take turns in x, so that the statistics are close to those of the rows that have weight.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float


def _as_column(vector: Array, like: Array) -> Array:
    return vector.reshape(vector.shape + (1,) * (like.ndim - 1))


def replace_rows(array: Array, weight: ArrayLike) -> Array:
    """Replace each row without weight by the first row that has weight.

    >>> replace_rows(jnp.array([jnp.nan, 2.0, 3.0]), jnp.array([0.0, 1.0, 1.0]))
    Array([2., 2., 3.], dtype=float32)
    """
    counts = jnp.asarray(weight) != 0
    # a minimum and a sum, not an index: of a batch that is sharded, one number and one row are communicated
    index = jnp.arange(counts.shape[0], dtype=jnp.int32)
    first = _as_column(index == jnp.min(index, where=counts, initial=counts.shape[0]), array)
    zero = jnp.zeros((), array.dtype)
    row = jnp.sum(jnp.where(first, array, zero), axis=0, keepdims=True, dtype=array.dtype)
    return jnp.where(_as_column(counts, array), array, row)


def finite_rows(x: Array, weight: ArrayLike, vocabulary: int | None) -> Array:
    """Replace by 0 what is not finite, or is no id of the vocabulary, in the rows without weight.

    This is for networks that carry memory from batch to batch: such a row has no part in the cost, but is read.

    >>> finite_rows(jnp.array([[jnp.nan, 2.0], [3.0, 4.0]]), jnp.array([0.0, 1.0]), None)
    Array([[0., 2.],
           [3., 4.]], dtype=float32)
    """
    valid = jnp.isfinite(x) if vocabulary is None else (x >= 0) & (x <= min(vocabulary - 1, jnp.iinfo(x.dtype).max))
    return jnp.where(valid | _as_column(jnp.asarray(weight) != 0, x), x, jnp.zeros((), x.dtype))


def cycle_rows(x: Array, weight: ArrayLike) -> Array:
    """Replace the rows without weight by those that have weight, in turn.

    This is for layers that compute statistics over a batch, such as `batch_norm`: one row in place of all would reduce
    the variance.

    >>> cycle_rows(jnp.array([jnp.nan, 2.0, 3.0, 1e30, 5.0]), jnp.array([0.0, 1.0, 1.0, 0.0, 0.0]))
    Array([2., 2., 3., 3., 2.], dtype=float32)
    """
    counts = jnp.asarray(weight) != 0
    order = jnp.argsort(~counts, stable=True)
    turn = (jnp.cumsum(~counts) - 1) % jnp.maximum(jnp.sum(counts), 1)
    rows = x[jnp.where(counts, jnp.arange(counts.shape[0]), order[turn])]
    return jnp.where(jnp.any(counts), rows, jnp.zeros((), x.dtype))


def cycle_rows_on_host(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return what `cycle_rows` returns, computed by NumPy. If nothing is replaced, it is x itself."""
    empty, valid = weight == 0, np.flatnonzero(weight)
    if not empty.any():
        return x
    x = x.copy()
    x[empty] = x[valid[np.arange(empty.sum()) % len(valid)]] if valid.size else 0
    return x


def replace_rows_on_host(array: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return what `replace_rows` returns, for an array in which a row has weight."""
    counts = weight != 0
    return array if counts.all() else array[np.where(counts, np.arange(len(counts)), np.argmax(counts))]


def values_with_weight(values: Float[Array, " n"], weight: ArrayLike) -> Float[Array, " n"]:
    """Replace the values of rows without weight by 0.

    >>> values_with_weight(jnp.array([jnp.nan, 2.0]), jnp.array([0.0, 1.0]))
    Array([0., 2.], dtype=float32)
    """
    return jnp.where(jnp.asarray(weight) != 0, values, jnp.zeros((), values.dtype))
