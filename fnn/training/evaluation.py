"""Prediction and evaluation: the network without its randomness, in batches where memory asks for them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType
from jaxtyping import Array, ArrayLike, PyTree

from fnn import checks
from fnn.backprop import weighted_mean
from fnn.data.arrays import check_examples, unpack_batch
from fnn.dtypes import widest
from fnn.sharding import agreement
from fnn.sharding.layout import Layout, check_layout, describe, num_batch_shards
from fnn.sharding.placement import on_auto_mesh, place_params
from fnn.sharding.process_rows import min_rows, spans_processes
from fnn.sharding.rows import (
    Examples,
    Rows,
    all_rows,
    fetch_rows,
    map_by_device,
    merge_devices,
    num_examples,
    shard_rows,
    split_by_device,
)
from fnn.training.step import metric_values
from fnn.types import Batch, Data, Layer, Loss, Metric, Metrics, Params


def in_batches(function: Callable[..., PyTree], data: Examples, batch_size: int | None) -> PyTree:
    """function(*data), where it acts on each example alone, by batches: one scan, then the remainder as it is.

    Of a mesh each device has batches of its own rows, all of the same size, and no example is sent.
    """
    if isinstance(data, Rows):
        share = None if batch_size is None else -(-batch_size // num_batch_shards(data.layout))
        out = in_batches(map_by_device(function, data), split_by_device(data), share)
        return jax.tree.map(functools.partial(merge_devices, data), out)
    arrays, size = data, data[0].shape[0]
    if batch_size is None or batch_size >= size:
        return function(*arrays)
    n = size // batch_size
    full = [array[: n * batch_size].reshape(n, batch_size, *array.shape[1:]) for array in arrays]
    out = jax.lax.map(lambda batch: function(*batch), full)
    out = jax.tree.map(lambda leaf: leaf.reshape(n * batch_size, *leaf.shape[2:]), out)
    if size % batch_size == 0:
        return out
    rest = function(*(array[n * batch_size :] for array in arrays))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, rest)


def evaluation_batch(batch_size: int) -> int:
    """Nothing is kept for a backward pass: batches may be larger than in training."""
    return max(batch_size, 1000)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _predict(network: Layer, params: Params, x: Examples, batch_size: int | None) -> Array:
    return in_batches(lambda x: network.forward(params, x)[0], x, batch_size)


@agreement.raise_if_process_lost("predict", agreement.RESTART_ADVICE)
@on_auto_mesh
def predict(
    network: Layer, params: Params, x: ArrayLike, batch_size: int | None = None, *, sharding: Layout | None = None
) -> Array:
    """The network's output for each row of x, without randomness; `batch_size` bounds the memory.

    With `sharding` each device of the mesh computes its share of the rows.

    >>> import fnn
    >>> network = fnn.mlp([4, 8, 3])
    >>> predict(network, network.init(jax.random.key(0)), jnp.zeros((10, 4)), batch_size=4).shape
    (10, 3)
    """
    checks.layer("predict", "network", network)
    batch_size, sharding = (
        _optional("predict", batch_size),
        None if sharding is None else check_layout("predict", sharding),
    )
    with agreement.fail_together("predict", spans_processes(sharding)):
        examples: Batch = (checks.floats("predict", "x", _taken(sharding)("predict", "x", x)),)
        check_examples("predict", examples, min_rows(sharding))
    if sharding is None:
        _check_whole("predict", params)
        return _predict(network, params, examples, batch_size)
    rows = shard_rows(sharding, examples)
    return fetch_rows(rows, _predict(network, place_params(sharding, params), rows, batch_size))


def _optional(function: str, batch_size: int | None) -> int | None:
    return None if batch_size is None else checks.positive_int(function, "batch_size", batch_size)


def per_example(
    network: Layer, loss: Loss, metrics: Metrics, params: Params, data: Examples, batch_size: int | None
) -> dict[str, Array]:
    """The cost and each metric of each example, (size,)."""

    def of_batch(x: Array, y: Array, *weight: Array) -> dict[str, Array]:
        prediction = network.forward(params, x)[0]
        out = {"cost": loss.forward(prediction, y)[0]} | metric_values("evaluate", metrics, prediction, y)
        return {name: value.astype(widest(value, jnp.float32)) for name, value in out.items()}

    values = in_batches(of_batch, data, batch_size)
    return {name: value[: num_examples(data)] for name, value in values.items()}


def means(values: dict[str, Array], arrays: Batch) -> dict[str, Array]:
    """The mean over the examples, by their weights if they have any."""
    weight = unpack_batch("evaluate", arrays)[2]
    return {name: weighted_mean(value, weight) for name, value in values.items()}


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 5))
def _evaluate(network: Layer, loss: Loss, metrics: Metrics, params: Params, data: Examples, batch_size: int | None):
    return means(per_example(network, loss, metrics, params, data, batch_size), all_rows(data))


@agreement.raise_if_process_lost("evaluate", agreement.RESTART_ADVICE)
@on_auto_mesh
def evaluate(
    network: Layer,
    loss: Loss,
    params: Params,
    data: Data,
    batch_size: int | None = None,
    metrics: Mapping[str, Metric] | None = None,
    *,
    sharding: Layout | None = None,
) -> dict[str, float]:
    """{"cost": …, "accuracy": …}: means over the examples of (x, y) or (x, y, weight), without randomness or penalty.

    `metrics` maps names to functions (prediction, target) -> values (batch,); by default those of the loss. With
    `sharding` each device of the mesh evaluates its share of the examples.

    >>> import fnn
    >>> network = fnn.softmax_regression(4, 3)
    >>> params, data = network.init(jax.random.key(0)), (jnp.ones((10, 4)), jnp.zeros(10, jnp.int32))
    >>> {name: round(value, 4) for name, value in evaluate(network, fnn.softmax_cross_entropy, params, data).items()}
    {'accuracy': 1.0, 'cost': 1.0986}
    """
    checks.layer("evaluate", "network", network)
    pairs, batch_size = metric_pairs("evaluate", loss, metrics), _optional("evaluate", batch_size)
    if sharding is None:
        _check_whole("evaluate", params)
    else:
        text = describe(check_layout("evaluate", sharding))
        if spans_processes(sharding):
            agreement.assert_same("evaluate", sharding=text, loss=loss.name, metrics=[name for name, _ in pairs])
        params = place_params(sharding, params)
    with agreement.fail_together("evaluate", spans_processes(sharding)):
        arrays = check_data("evaluate", "data", data, sharding)
        check_targets(network, loss, params, arrays)
    examples = arrays if sharding is None else shard_rows(sharding, arrays)
    values = _evaluate(network, loss, pairs, params, examples, batch_size)
    return {name: float(value) for name, value in values.items()}


def metric_pairs(function: str, loss: Loss, metrics: Mapping[str, Metric] | None) -> Metrics:
    """The metrics asked for as a hashable tuple; those of the loss where none were asked for."""
    if not isinstance(loss, Loss):
        raise checks.fail(function, "loss", "a Loss (such as fnn.squared_error)", loss, TypeError)
    try:
        hash(loss)
    except TypeError:
        raise checks.fail(function, "loss", "hashable (metrics: a tuple of pairs)", loss, TypeError) from None
    if metrics is None:
        return loss.metrics
    if not isinstance(metrics, Mapping) or not all(callable(metric) for metric in metrics.values()):
        raise checks.fail(function, "metrics", "a mapping of names to functions", metrics, TypeError)
    taken = [name for name in metrics if name == "cost" or str(name).startswith("validation_")]
    if taken:
        expected = "without the names 'cost' and 'validation_…', which are taken"
        raise checks.fail(function, "metrics", expected, came=repr(taken[0]))
    return tuple(metrics.items())


def _check_whole(function: str, params: Params) -> None:
    """ValueError for parameters that are split over a mesh whose axes are Explicit: JAX asks how to multiply them."""
    for leaf in jax.tree.leaves(params):
        split = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and not leaf.is_fully_replicated
        if split and AxisType.Explicit in getattr(jax.typeof(leaf).sharding.mesh, "axis_types", ()):
            raise checks.fail(function, "sharding", "the layout by which params are split over devices", came="None")


def _taken(layout: Layout | None) -> Callable[[str, str, Any], Any]:
    """What makes an array of what was given."""
    return checks.array if layout is None else checks.on_host


def _all_finite(array: Array | np.ndarray) -> bool:
    """On the host where it has the values anyway: nothing to compile."""
    if isinstance(array, np.ndarray):
        return bool(np.isfinite(array).all())
    on_host = all(device.platform == "cpu" for device in array.devices()) and array.is_fully_addressable
    return bool(np.isfinite(np.asarray(array)).all() if on_host else jnp.all(jnp.isfinite(array)))


def check_data(function: str, argument: str, data: Data, layout: Layout | None = None) -> Batch:
    """(x, y) or (x, y, weight) as arrays on the device: x floating, lengths equal, everything finite.

    Those for a layout on the host: no device needs room for all of them.
    """
    parts = zip(("x", "y", "weight"), unpack_batch(function, data), strict=True)
    named = {name: _taken(layout)(function, f"{argument}: {name}", part) for name, part in parts if part is not None}
    for name in named.keys() - {"y"}:
        checks.floats(function, f"{argument}: {name}", named[name])
    arrays: Batch = tuple(named.values())
    check_examples(function, arrays, min_rows(layout))
    for name, array in named.items():
        if isinstance(array, Tracer):
            continue  # values are seen outside jit only
        if jnp.issubdtype(array.dtype, jnp.inexact) and not _all_finite(array):
            row = int(jnp.argmin(jnp.all(jnp.isfinite(array.reshape(array.shape[0], -1)), axis=1)))
            raise checks.fail(function, f"{argument}: {name}", "finite", came=f"NaN or infinity, first in row {row}")
    weight = named.get("weight")
    if weight is not None and not isinstance(weight, Tracer) and bool((weight < 0).any()):
        raise checks.fail(function, f"{argument}: weight", "non-negative", came="a negative weight")
    return arrays


def check_targets(network: Layer, loss: Loss, params: Params, data: Batch) -> None:
    """The loss's own check of the target's values, if there are any, against the prediction's shape."""
    if loss.validate is not None and not isinstance(data[1], Tracer) and data[1].shape[0]:
        prediction = jax.eval_shape(lambda p, x: network.forward(p, x)[0], params, data[0])
        loss.validate(prediction.shape, data[1])
