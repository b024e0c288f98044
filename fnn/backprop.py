"""Backpropagation: forward through the network and the loss, then backward through both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fnn import checks
from fnn.dtypes import widest
from fnn.types import Layer, Loss, Params, PRNGKey

Means = Callable[..., tuple[Array, Array, Params]]
"""(params, x, y, weight=None, key=None) -> cost, prediction, dparams: means over the examples, by their weights."""


class Evaluation(NamedTuple):
    """What one pass forward and backward yields: the cost, the prediction behind it, the gradient."""

    cost: Float[Array, ""]
    prediction: Array
    dparams: Params


def is_weight(path: tuple) -> bool:
    """A weight is a leaf whose last path key is `w`; biases, scales and shifts are not.

    >>> [is_weight(path) for path, _ in jax.tree_util.tree_leaves_with_path({"w": 1, "b": 2})]
    [False, True]
    """
    return bool(path) and jax.tree_util.keystr(path[-1:], simple=True) == "w"


def add_scaled_weights(tree: Params, params: Params, scale: float | Array) -> Params:
    """tree + scale · W for the weights of params, tree for the rest: the gradient of scale/2 ‖W‖², added."""

    def add(path: tuple, leaf: Array, param: Array) -> Array:
        return leaf + jnp.asarray(scale, leaf.dtype) * param.astype(leaf.dtype) if is_weight(path) else leaf

    return jax.tree_util.tree_map_with_path(add, tree, params)


def squared_norm(params: Params) -> Float[Array, ""]:
    """‖W‖² = Σ W_ij² over the weights of params, not over biases.

    >>> squared_norm({"w": jnp.array([[3.0, 4.0]]), "b": jnp.array([9.0])})
    Array(25., dtype=float32)
    """
    weights = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if is_weight(path)]
    dtype = widest(jnp.float32, *weights)
    return sum((jnp.sum(jnp.square(w.astype(dtype))) for w in weights), jnp.zeros((), dtype))


def example_weights(values: Array, weight: ArrayLike | None) -> Array:
    """How much each example counts in the mean: weight / Σ weight, or 1/m; zeros where all weights are zero."""
    if weight is None:
        return jnp.full(values.shape, 1 / values.shape[0], values.dtype)
    weight = checks.shaped("value_and_grad", "weight", weight, values.shape).astype(values.dtype)
    return weight / _or_one(jnp.sum(weight))


def _or_one(total: Array) -> Array:
    return jnp.where(total == 0, 1, total)


def weighted_mean(values: Float[Array, " n"], weight: ArrayLike | None) -> Float[Array, ""]:
    """Σ weight values / Σ weight, or the mean; 0 where all weights are zero.

    The sum is a product, wᵀ L: into a sum XLA's CPU backend would fuse what makes the values, element by element, and
    the exp and log1p of a cost take several times as long there as in a loop of their own.
    """
    values = values.astype(widest(values, jnp.float32))
    weight = jnp.ones_like(values) if weight is None else jnp.asarray(weight, values.dtype)
    return jnp.dot(weight, values, precision="highest") / _or_one(jnp.sum(weight))


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


def make_evaluate(
    network: Layer, loss: Loss, l2: float | Array = 0.0, micro_batch_size: int | None = None
) -> Callable[..., Evaluation]:
    """fn(params, x, y, weight=None, key=None) -> Evaluation; `value_and_grad` without the prediction."""
    checks.layer("value_and_grad", "network", network)
    if not isinstance(loss, Loss):
        raise checks.fail("value_and_grad", "loss", "a Loss (such as fnn.squared_error)", loss, TypeError)
    checks.number("value_and_grad", "l2", l2, minimum=0.0)
    penalised = not (isinstance(l2, int | float) and l2 == 0)

    def means(params: Params, x: Array, y: Array, weight: Array | None, key: PRNGKey | None) -> Evaluation:
        prediction, network_residuals = network.forward(params, x, key)
        values, loss_residuals = loss.forward(prediction, y)
        values = checks.per_example("value_and_grad", f"the values of {loss.name or 'the loss'}", values, x)
        share = example_weights(values, weight)
        dprediction = loss.backward(loss_residuals, share)
        dparams, _ = network.backward(params, network_residuals, dprediction)
        return Evaluation(weighted_mean(values, weight), prediction, dparams)

    parts = means
    if micro_batch_size is not None:
        parts = in_parts(means, checks.positive_int("value_and_grad", "micro_batch_size", micro_batch_size))

    def evaluate(
        params: Params, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None, key: PRNGKey | None = None
    ):
        if key is not None:
            checks.key("value_and_grad", key)
        x, y = checks.array("value_and_grad", "x", x), checks.array("value_and_grad", "y", y)
        if x.ndim < 1 or x.shape[0] < 1:
            raise checks.fail("value_and_grad", "x", "at least one example, (batch, ...)", x)
        if y.ndim < 1 or y.shape[0] != x.shape[0]:
            raise checks.fail("value_and_grad", "y", f"of as many rows as x, {x.shape[0]}", y)
        if weight is not None:
            weight = checks.shaped("value_and_grad", "weight", weight, x.shape[:1])
        cost, prediction, dparams = parts(params, x, y, weight, key)
        if penalised:
            cost = cost + jnp.asarray(0.5 * l2, cost.dtype) * squared_norm(params).astype(cost.dtype)
            dparams = add_scaled_weights(dparams, params, l2)
        return Evaluation(cost, prediction, dparams)

    return evaluate


def value_and_grad(
    network: Layer, loss: Loss, l2: float | Array = 0.0, micro_batch_size: int | None = None
) -> Callable[..., tuple[Float[Array, ""], Params]]:
    """The cost and its gradient: fn(params, x, y, weight=None, key=None) -> (cost, dparams).

    J = Σ_i c_i L_i + λ/2 ‖W‖², c_i = 1/m or weight_i / Σ weight; λ is `l2`, ‖W‖² runs over weights, not biases
    (the notes' document 002, equation 9). dJ/dW = Σ_i c_i dL_i/dW + λ W.

    x (batch, …), y as the loss wants it, weight (batch,), not negative, key for layers that draw (dropout), None:
    deterministic. dparams has the tree, shapes and dtypes of params. A batch whose weights are all zero costs the
    penalty alone. With `micro_batch_size` what backward needs is kept for so many examples at a time, and gradients
    are summed over them: the same values to rounding, in less memory; `in_parts` has the sums.

    >>> from fnn.layers import Dense, dense
    >>> from fnn.losses import squared_error
    >>> params = Dense(w=jnp.array([[2.0]]), b=jnp.array([0.0]))
    >>> cost, dparams = value_and_grad(dense(1, 1), squared_error)(params, jnp.array([[3.0]]), jnp.array([[5.0]]))
    >>> float(cost), float(dparams.w[0, 0]), float(dparams.b[0])
    (0.5, 3.0, 1.0)
    """
    evaluate = make_evaluate(network, loss, l2, micro_batch_size)

    def cost_and_gradient(
        params: Params, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None, key: PRNGKey | None = None
    ):
        cost, _, dparams = evaluate(params, x, y, weight, key)
        return cost, dparams

    return cost_and_gradient
