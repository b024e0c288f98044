"""Backpropagation: forward through the network and the loss, then backward through both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fnn import checks
from fnn.dtypes import widest
from fnn.types import Layer, Loss, Params, PRNGKey
from fnn.weights import IsWeight, add_scaled_weights, check_is_weight, check_weights, is_weight, squared_norm

Means = Callable[..., tuple[Array, Array, Params]]
"""(params, x, y, weight=None, key=None) -> cost, prediction, dparams: means over the examples, by their weights."""


class Evaluation(NamedTuple):
    """What one pass forward and backward yields: the cost, the prediction behind it, the gradient."""

    cost: Float[Array, ""]
    prediction: Array
    dparams: Params


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


def in_micro_batches(means: Means, micro_batch_size: int) -> Means:
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


def make_forward_backward(
    network: Layer,
    loss: Loss,
    l2: float | Array = 0.0,
    micro_batch_size: int | None = None,
    is_weight: IsWeight = is_weight,
) -> Callable[..., Evaluation]:
    """Return forward_backward(params, x, y, weight=None, key=None) -> Evaluation: `value_and_grad` with the prediction.

    The arguments are those of `value_and_grad`.
    """
    checks.layer("value_and_grad", "network", network)
    if not isinstance(loss, Loss):
        raise checks.fail("value_and_grad", "loss", "a Loss (such as fnn.squared_error)", loss, TypeError)
    checks.number("value_and_grad", "l2", l2, minimum=0.0)
    check_is_weight("value_and_grad", is_weight)
    penalised = not (isinstance(l2, int | float) and l2 == 0)
    accumulate = None
    if micro_batch_size is not None:
        micro_batch_size = checks.positive_int("value_and_grad", "micro_batch_size", micro_batch_size)
        accumulate = in_micro_batches(make_forward_backward(network, loss), micro_batch_size)

    def forward_backward(
        params: Params, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None, key: PRNGKey | None = None
    ) -> Evaluation:
        """J = Σ_i c_i L_i + λ/2 ‖W‖², dJ/dW = Σ_i c_i dL_i/dW + λ W"""
        x, y, weight = _check_batch(x, y, weight, key)
        if accumulate is not None and x.shape[0] > micro_batch_size:
            cost, prediction, dparams = accumulate(params, x, y, weight, key)
        else:
            prediction, network_residuals = network.forward(params, x, key)
            values, loss_residuals = loss.forward(prediction, y)
            values = checks.per_example("value_and_grad", f"the values of {loss.name or 'the loss'}", values, x)
            dprediction = loss.backward(loss_residuals, example_weights(values, weight))
            dparams, _ = network.backward(params, network_residuals, dprediction)
            cost = weighted_mean(values, weight)
        if penalised:
            check_weights("value_and_grad", "l2", l2, params, is_weight)
            cost = cost + jnp.asarray(0.5 * l2, cost.dtype) * squared_norm(params, is_weight).astype(cost.dtype)
            dparams = add_scaled_weights(dparams, params, l2, is_weight)
        return Evaluation(cost, prediction, dparams)

    return forward_backward


def _check_batch(
    x: ArrayLike, y: ArrayLike, weight: ArrayLike | None, key: PRNGKey | None
) -> tuple[Array, Array, Array | None]:
    """Return x, y and weight as arrays with one row per example."""
    if key is not None:
        checks.key("value_and_grad", key)
    x, y = checks.array("value_and_grad", "x", x), checks.array("value_and_grad", "y", y)
    if x.ndim < 1 or x.shape[0] < 1:
        raise checks.fail("value_and_grad", "x", "at least one example, (batch, ...)", x)
    if y.ndim < 1 or y.shape[0] != x.shape[0]:
        raise checks.fail("value_and_grad", "y", f"of as many rows as x, {x.shape[0]}", y)
    if weight is not None:
        weight = checks.shaped("value_and_grad", "weight", weight, x.shape[:1])
    return x, y, weight


def value_and_grad(
    network: Layer,
    loss: Loss,
    l2: float | Array = 0.0,
    micro_batch_size: int | None = None,
    *,
    is_weight: IsWeight = is_weight,
) -> Callable[..., tuple[Float[Array, ""], Params]]:
    """The cost and its gradient: fn(params, x, y, weight=None, key=None) -> (cost, dparams).

    J = Σ_i c_i L_i + λ/2 ‖W‖², c_i = 1/m or weight_i / Σ weight; λ is `l2`, ‖W‖² runs over weights, not biases
    (the notes' document 002, equation 9). dJ/dW = Σ_i c_i dL_i/dW + λ W.

    x (batch, …), y as the loss wants it, weight (batch,), not negative, key for layers that draw (dropout), None:
    deterministic. dparams has the tree, shapes and dtypes of params. A batch whose weights are all zero costs the
    penalty alone. With `micro_batch_size` what backward needs is kept for so many examples at a time, and gradients
    are summed over them: the same values to rounding, in less memory; `in_micro_batches` has the sums.

    >>> from fnn.layers import Dense, dense
    >>> from fnn.losses import squared_error
    >>> params = Dense(w=jnp.array([[2.0]]), b=jnp.array([0.0]))
    >>> cost, dparams = value_and_grad(dense(1, 1), squared_error)(params, jnp.array([[3.0]]), jnp.array([[5.0]]))
    >>> float(cost), float(dparams.w[0, 0]), float(dparams.b[0])
    (0.5, 3.0, 1.0)
    """
    forward_backward = make_forward_backward(network, loss, l2, micro_batch_size, is_weight)

    def cost_and_gradient(
        params: Params, x: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None, key: PRNGKey | None = None
    ):
        evaluation = forward_backward(params, x, y, weight, key)
        return evaluation.cost, evaluation.dparams

    return cost_and_gradient
