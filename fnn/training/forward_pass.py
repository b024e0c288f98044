"""The network over all examples in batches, without randomness: what the programs of evaluation compute."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fnn.backprop import weighted_mean
from fnn.checks import protocol
from fnn.data.arrays import unpack_batch
from fnn.dtypes import widest
from fnn.sharding.layout import num_batch_shards
from fnn.sharding.rows import Examples, Rows, map_by_device, merge_devices, num_examples, split_by_device, split_params
from fnn.training.step import metric_values
from fnn.types import Batch, Layer, Loss, Metrics, Params


def in_batches(function: Callable[..., PyTree], data: Examples, batch_size: int | None) -> PyTree:
    """Call function(*data), which acts on each example alone, in batches: one scan, then the smaller remainder.

    On a mesh each device takes batches of its own rows, all of the same size, and no example is sent.
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
    """The batch size of an evaluation: without a backward pass, batches may be larger than in training."""
    return max(batch_size, 1000)


def per_example(
    network: Layer, loss: Loss, metrics: Metrics, params: Params, data: Examples, batch_size: int | None
) -> dict[str, Array]:
    """The cost and each metric per example: {name: (size,)}."""

    def of_batch(x: Array, y: Array, *weight: Array) -> dict[str, Array]:
        prediction = protocol.forward("evaluate", "network", network, params, x)[0]
        values = protocol.loss_forward("evaluate", loss, prediction, y)[0]
        out = {"cost": values} | metric_values("evaluate", metrics, prediction, y)
        return {name: value.astype(widest(value, jnp.float32)) for name, value in out.items()}

    params = split_params(data, params)
    values = in_batches(of_batch, data, batch_size)
    return {name: value[: num_examples(data)] for name, value in values.items()}


def means(values: dict[str, Array], arrays: Batch) -> dict[str, Array]:
    """The mean over the examples, weighted if there are weights."""
    weight = unpack_batch("evaluate", arrays)[2]
    return {name: weighted_mean(value, weight) for name, value in values.items()}
