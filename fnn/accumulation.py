"""The gradient of a batch as a sum over its parts, one at a time: large batches in little memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fnn.dtypes import widest
from fnn.types import Params, PRNGKey

Means = Callable[..., tuple[Array, Array, Params]]
"""(params, x, y, weight=None, key=None) -> cost, prediction, dparams: means over the examples, by their weights."""


def in_parts(means: Means, micro_batch_size: int) -> Means:
    """The same means over the same examples, by micro-batches of this size in a scan, the remainder at its own size.

    Micro-batch k of n has the examples k, k + n, k + 2n, …
    J = Σ_k W_k J_k / Σ_k W_k, W_k the sum of the weights of micro-batch k (of ones where there are none), and dJ/dW
    likewise, summed in float32 at least. What one pass keeps for its backward is kept for one micro-batch at a time.
    Layers draw (dropout) from fold_in(key, k), and take batch statistics (batch_norm) of the micro-batch.
    """

    def part(params: Params, batch: Any, key: PRNGKey | None) -> tuple[PyTree, Array]:
        x, y, weight = batch
        cost, prediction, dparams = means(params, x, y, weight, key)
        total = jnp.asarray(x.shape[0] if weight is None else jnp.sum(weight), cost.dtype)
        scaled = lambda leaf: leaf.astype(widest(leaf, jnp.float32)) * total.astype(widest(leaf, jnp.float32))
        return (total, jax.tree.map(scaled, (cost, dparams))), prediction

    def whole(params: Params, x: Array, y: Array, weight: Array | None = None, key: PRNGKey | None = None):
        size = x.shape[0]
        if size <= micro_batch_size:
            return means(params, x, y, weight, key)
        n = size // micro_batch_size
        cut = n * micro_batch_size

        def add(sums: PyTree, numbered: Any) -> tuple[PyTree, Array]:
            k, batch = numbered
            more, prediction = part(params, batch, None if key is None else jax.random.fold_in(key, k))
            return jax.tree.map(jnp.add, sums, more), prediction

        batch = x, y, weight
        # every n-th row, so that of a batch split over devices each of them has its share of every part
        stacked = jax.tree.map(lambda a: a[:cut].reshape(micro_batch_size, n, *a.shape[1:]).swapaxes(0, 1), batch)
        like = jax.eval_shape(part, params, jax.tree.map(lambda a: a[0], stacked), key)[0]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        sums, prediction = jax.lax.scan(add, zeros, (jnp.arange(n), stacked))
        prediction = prediction.swapaxes(0, 1).reshape(cut, *prediction.shape[2:])
        if cut < size:
            sums, last = add(sums, (n, jax.tree.map(lambda a: a[cut:], batch)))
            prediction = jnp.concatenate([prediction, last])
        total, (cost, dparams) = sums
        total = jnp.where(total == 0, 1, total)
        mean = lambda leaf, param: (leaf / total.astype(leaf.dtype)).astype(param.dtype)
        return cost / total, prediction, jax.tree.map(mean, dparams, params)

    return whole
