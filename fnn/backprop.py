"""Backpropagation through a network and a loss.

`value_and_grad` runs the forward pass, the loss, and the backward pass (Rumelhart, Hinton and Williams 1986). The mean
over the batch, the L2 penalty and the sum over micro-batches are computed here and nowhere else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, DTypeLike, Float, PyTree

from fnn import checks
from fnn.checks import protocol
from fnn.checks.host_values import value_of
from fnn.checks.targets import inputs
from fnn.dtypes import wide, widest
from fnn.row_weights import cycle_rows, finite_rows, replace_rows, values_with_weight
from fnn.split_params import arrays, before_backward, gathered, split_params
from fnn.types import Layer, Loss, Params, PRNGKey
from fnn.weights import IsWeight, add_scaled_weights, check_is_weight, check_weights, is_weight, squared_norm


class Evaluation(NamedTuple):
    """The cost of a batch, its predictions, its gradient, and a stream's memory after it."""

    cost: Float[Array, ""]
    prediction: Array
    dparams: Params
    memory: Any = None


ForwardBackward = Callable[..., Evaluation]
"""(params, x, y, weight=None, key=None, memory=None) -> Evaluation; x continues the sequences of the memory."""


def example_weights(values: Array, weight: ArrayLike | None) -> Array:
    """Return the share of each example in the mean: weight / Σ weight, or 1/m.

    If all weights are zero, so are all shares.
    """
    if weight is None:
        return jnp.full(values.shape, 1 / values.shape[0], values.dtype)
    weight = checks.shaped("value_and_grad", "weight", weight, values.shape).astype(wide(values))
    return (weight / _one_if_zero(jnp.sum(weight))).astype(values.dtype)


def _one_if_zero(total: Array) -> Array:
    return jnp.where(total == 0, 1, total)


def total_weight(x: Array, weight: ArrayLike | None, dtype: DTypeLike) -> Array:
    """Return Σ weight, or the number of examples. The sum is taken in `dtype`: 257 is no number of bfloat16."""
    return jnp.asarray(jnp.shape(x)[0], dtype) if weight is None else jnp.sum(jnp.asarray(weight, dtype))


def weighted_mean(values: Float[Array, " n"], weight: ArrayLike | None) -> Float[Array, ""]:
    """Return Σ weight·values / Σ weight, or the mean; 0 if all weights are zero.

    A value of weight 0 counts for nothing, also if it is NaN.

    The sum is computed as the product wᵀ L. XLA's CPU backend would fuse a sum with the exp and log1p of the loss,
    and would then compute these several times more slowly than in a loop of their own (jax 0.10).
    """
    values = values.astype(widest(values, jnp.float32))
    values = values if weight is None else values_with_weight(values, weight)
    weight = jnp.ones_like(values) if weight is None else jnp.asarray(weight, values.dtype)
    return jnp.dot(weight, values, precision="highest") / _one_if_zero(jnp.sum(weight))


def sum_micro_batches(
    forward_backward: ForwardBackward,
    micro_batch_size: int,
    params: Params,
    x: Array,
    y: Array,
    weight: Array | None,
    key: PRNGKey | None,
) -> Evaluation:
    """Evaluate a batch as the sum of its micro-batches, computed one at a time.

    J = Σ_k W_k J_k / Σ_k W_k, and the gradient likewise. W_k is the sum of the weights in micro-batch k, or its number
    of examples. The sums are taken in float32 at least. Only the residuals of one micro-batch are in memory at a time.

    Micro-batch k of n has the examples k, k + n, k + 2n, …; the remainder is a smaller micro-batch at the end. Layers
    draw from fold_in(key, k), and `batch_norm` uses the statistics of the micro-batch.
    """

    def weighted(params: Params, batch: Any, key: PRNGKey | None) -> tuple[PyTree, Array]:
        x, y, weight = batch
        evaluation = forward_backward(params, x, y, weight, key)
        cost = evaluation.cost
        total = total_weight(x, weight, cost.dtype)
        scale = lambda leaf: leaf.astype(widest(leaf, jnp.float32)) * total.astype(widest(leaf, jnp.float32))
        return (total, jax.tree.map(scale, (cost, evaluation.dparams))), evaluation.prediction

    def add(sums: PyTree, numbered: Any) -> tuple[PyTree, Array]:
        k, batch = numbered
        terms, prediction = weighted(params, batch, None if key is None else jax.random.fold_in(key, k))
        return jax.tree.map(jnp.add, sums, terms), prediction

    batch, size = (x, y, weight), x.shape[0]
    n = size // micro_batch_size
    full = n * micro_batch_size
    # take every n-th row, so that each device of a sharded batch holds a share of every micro-batch
    stacked = jax.tree.map(lambda a: a[:full].reshape(micro_batch_size, n, *a.shape[1:]).swapaxes(0, 1), batch)
    shapes = jax.eval_shape(weighted, params, jax.tree.map(lambda a: a[0], stacked), key)[0]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    sums, prediction = jax.lax.scan(add, zeros, (jnp.arange(n), stacked))
    prediction = prediction.swapaxes(0, 1).reshape(full, *prediction.shape[2:])
    if full < size:
        sums, last = add(sums, (n, jax.tree.map(lambda a: a[full:], batch)))
        prediction = jnp.concatenate([prediction, last])
    total, (cost, dparams) = sums
    total = _one_if_zero(total)
    mean = lambda leaf, param: (leaf / total.astype(leaf.dtype)).astype(param.dtype)
    return Evaluation(cost / total, prediction, jax.tree.map(mean, dparams, params))


def make_forward_backward(
    network: Layer,
    loss: Loss,
    l2: float | Array = 0.0,
    micro_batch_size: int | None = None,
    is_weight: IsWeight = is_weight,
    finite: bool = False,
) -> ForwardBackward:
    """Return the function behind `value_and_grad`, which also gives predictions.

    The arguments are those of `value_and_grad`. If `finite` is True, x and y are valid also in rows of weight 0, which
    are then not replaced: under `jax.vmap`, weights of each run leave x as it is, and its products remain large ones.
    """
    checks.layer("value_and_grad", "network", network)
    checks.loss("value_and_grad", loss)
    checks.number("value_and_grad", "l2", l2, minimum=0.0)
    check_is_weight("value_and_grad", is_weight)
    penalised = value_of(l2, 1) != 0
    if micro_batch_size is not None:
        micro_batch_size = checks.positive_int("value_and_grad", "micro_batch_size", micro_batch_size)
    replace = replace_rows if network.calibrate is None else cycle_rows

    def forward(params: Params, x: Array, key: PRNGKey | None, memory: Any) -> tuple[Array, Any, Any]:
        if memory is not None and network.stream is not None:
            return network.stream.advance(gathered(params), memory, x, key)
        return *protocol.forward("value_and_grad", "network", network, params, x, key), None

    def one_pass(
        params: Params, x: Array, y: Array, weight: Array | None, key: PRNGKey | None, memory: Any = None
    ) -> Evaluation:
        """J = Σ_i c_i L_i, dJ/dW = Σ_i c_i dL_i/dW, where a memory is a constant"""
        params = split_params(params)
        prediction, network_residuals, memory = forward(params, x, key, memory)
        values, loss_residuals = protocol.loss_forward("value_and_grad", loss, prediction, y)
        values = checks.per_example("value_and_grad", f"the values of {loss.name or 'the loss'}", values, x)
        shares = example_weights(values, weight)
        dprediction = protocol.loss_backward("value_and_grad", loss, loss_residuals, shares, prediction)
        params, dprediction = before_backward(params, dprediction)
        dparams, _ = protocol.backward("value_and_grad", "network", network, params, network_residuals, dprediction)
        return Evaluation(weighted_mean(values, weight), prediction, arrays(dparams), memory)

    def forward_backward(
        params: Params, x: ArrayLike, y: ArrayLike, weight: Any = None, key: PRNGKey | None = None, memory: Any = None
    ) -> Evaluation:
        """J = Σ_i c_i L_i + λ/2 ‖W‖², dJ/dW = Σ_i c_i dL_i/dW + λ W"""
        x, y, weight = _check_batch(x, y, weight, key)
        if network.vocabulary is not None:
            x = inputs("value_and_grad", "x", x, network.vocabulary, weight)
        if weight is not None and not finite:
            x = replace(x, weight) if memory is None else finite_rows(x, weight, network.vocabulary)
            y = replace_rows(y, weight)
        if micro_batch_size is not None and x.shape[0] > micro_batch_size:
            evaluation = sum_micro_batches(one_pass, micro_batch_size, params, x, y, weight, key)
        else:
            evaluation = one_pass(params, x, y, weight, key, memory)
        cost, dparams = evaluation.cost, evaluation.dparams
        if penalised:
            check_weights("value_and_grad", "l2", l2, params, is_weight)
            cost = cost + jnp.asarray(0.5 * l2, cost.dtype) * squared_norm(params, is_weight).astype(cost.dtype)
            dparams = add_scaled_weights(dparams, params, l2, is_weight)
        return evaluation._replace(cost=cost, dparams=dparams)

    return forward_backward


def _check_batch(x: ArrayLike, y: ArrayLike, weight: Any, key: PRNGKey | None) -> tuple[Array, Array, Array | None]:
    """Return x, y and weight as arrays with one row per example."""
    if key is not None:
        checks.key("value_and_grad", key)
    x, y = checks.array("value_and_grad", "x", x), checks.array("value_and_grad", "y", y)
    if x.ndim < 1 or x.shape[0] < 1:
        raise checks.fail("value_and_grad", "x", "an array of at least one example, (batch, ...)", x)
    if y.ndim < 1 or y.shape[0] != x.shape[0]:
        raise checks.fail("value_and_grad", "y", f"an array of as many rows as x, {x.shape[0]}", y)
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
    """Return a function that computes the cost of a batch and its gradient.

    J = Σ_i c_i L_i + λ/2 ‖W‖²

    dJ/dW = Σ_i c_i dL_i/dW + λ W

    The share c_i of example i is 1/m, or weight_i / Σ weight. ‖W‖² is the sum of squares of all weights, without
    biases (L2 regularization; Goodfellow, Bengio and Courville 2016, section 7.1).

    Args:
      network: the layer to differentiate, for example `fnn.mlp([784, 30, 10])`.
      loss: a `Loss`, which gives one value per example.
      l2: λ in the penalty.
      micro_batch_size: number of examples whose residuals are kept at a time. The gradients of such micro-batches are
        summed: the same result up to rounding, in less memory. Default: the whole batch.
      is_weight: (path, leaf) -> bool, selects the parameters in the penalty. Default: `fnn.is_weight`.

    Returns:
      f(params, x, y, weight=None, key=None) -> (cost, dparams), a pure function. x has shape (batch, …), y the shape
      that the loss expects, and weight, if given, shape (batch,) and no negative entry. `key` is for layers that draw
      random numbers, such as dropout; without it they are deterministic. `dparams` has the tree, shapes and dtypes of
      params. A row of weight 0 counts for nothing, whatever x and y hold there: `batch_norm`, whose statistics are over
      all rows of a batch, gets rows that have weight in its place. If all weights are zero, the cost is the penalty
      alone. A function that you jit yourself has JAX's default precision on a GPU or TPU; wrap it in
      `jax.default_matmul_precision("highest")`.

    Raises:
      ValueError: if shapes do not match, or if `l2` is positive and no parameter is a weight.

    >>> from fnn.layers.dense import Dense, dense
    >>> from fnn.losses import squared_error
    >>> params = Dense(w=jnp.array([[2.0]]), b=jnp.array([0.0]))
    >>> cost, dparams = value_and_grad(dense(1, 1), squared_error)(params, jnp.array([[3.0]]), jnp.array([[5.0]]))
    >>> float(cost), float(dparams.w[0, 0]), float(dparams.b[0])
    (0.5, 3.0, 1.0)
    """
    forward_backward = make_forward_backward(network, loss, l2, micro_batch_size, is_weight)

    def cost_and_gradient(params: Params, x: Any, y: Any, weight: Any = None, key: PRNGKey | None = None):
        evaluation = forward_backward(params, x, y, weight, key)
        return evaluation.cost, evaluation.dparams

    return cost_and_gradient
