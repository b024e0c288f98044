"""Prediction and evaluation: the network without randomness, in batches that bound the memory."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from signal import SIGINT

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType
from jaxtyping import Array, ArrayLike

from fnn import checks
from fnn.checks import protocol
from fnn.checks.targets import inputs
from fnn.data.arrays import check_examples, unpack_batch
from fnn.sharding import agreement
from fnn.sharding.layout import Layout, check_layout, describe
from fnn.sharding.placement import on_auto_mesh, place_params
from fnn.sharding.process_rows import min_rows, spans_processes
from fnn.sharding.rows import Examples, Rows, all_rows, fetch_rows, num_examples, shard_rows, split_params
from fnn.training import signals
from fnn.training.compiled import compiled
from fnn.training.data_checks import as_array, check_data, check_targets, metric_pairs
from fnn.training.forward_pass import in_batches, means, per_example
from fnn.training.memory import TO_EVALUATE, check_fits
from fnn.training.numerics import Numerics, check_precision, resolved
from fnn.training.row_counts import few_rows, first_rows, may_pad, pad_rows
from fnn.types import Batch, Data, Layer, Loss, Metric, Metrics, Params

_KEPT = 16  # programs of `predict`, and as many of `evaluate`: an ensemble may take turns, each with other rows


@compiled(static=3, kept=_KEPT, numerics=lambda numerics, *_: numerics)
def _predict(numerics: Numerics, network: Layer, batch_size: int | None, params: Params, x: Examples) -> Array:
    params = split_params(x, params)
    return in_batches(lambda x: protocol.forward("predict", "network", network, params, x)[0], x, batch_size)


@signals.deferring("predict", SIGINT)
@agreement.raise_if_process_lost("predict", agreement.RESTART_ADVICE)
@on_auto_mesh
def predict(
    network: Layer,
    params: Params,
    x: ArrayLike,
    batch_size: int | None = None,
    *,
    sharding: Layout | None = None,
    precision: str | None = None,
) -> Array:
    """The network's output for each row of x, without randomness.

    Each row's output depends on that row alone. So that XLA does not compile a program for each number of rows, x is
    padded with copies of its last row to a power of two, above 1024 rows to at most a quarter more. The number of rows
    and `batch_size` change an output by rounding only, which is that of `precision`.

    Args:
      network: a layer whose forward without a key acts on each row alone, as those of this library do.
      params: its parameters.
      x: inputs (examples, …), floating point; or ids, for a network that begins with an `embedding`. Inside `jax.jit`,
        x is not padded.
      batch_size: at most this many rows are computed at a time, which bounds the memory. Default: all rows.
      sharding: a layout of `fnn.sharding`. Each device of the mesh then computes its share of the rows.
      precision: the precision of matrix products, as in `fit`. Default: full float32, unless
        `jax.default_matmul_precision` is set.

    Returns:
      The outputs, one row per row of x. With several processes each gets those of its own rows.

    >>> import fnn
    >>> network = fnn.mlp([4, 8, 3])
    >>> predict(network, network.init(jax.random.key(0)), jnp.zeros((10, 4)), batch_size=4).shape
    (10, 3)
    """
    checks.layer("predict", "network", network)
    checks.params("predict", params)
    batch_size, numerics = _optional("predict", batch_size), _numerics("predict", precision)
    sharding = None if sharding is None else check_layout("predict", sharding)
    with agreement.fail_together("predict", spans_processes(sharding)):
        padded = _padded_rows(batch_size, params)
        check_fits("predict", sharding, advice=TO_EVALUATE, padded_rows=padded, x=(x,))
        examples: Batch = (inputs("predict", "x", as_array(sharding)("predict", "x", x), network.vocabulary),)
        check_examples("predict", examples, min_rows(sharding))
    if sharding is None:
        _check_not_sharded("predict", params)
        padded, size = _padded(examples, batch_size, params), examples[0].shape[0]
        return first_rows(_predict(numerics, network, batch_size, params, padded), size)
    rows, size = _shard_padded(sharding, examples, batch_size)
    out = _predict(numerics, network, batch_size, place_params(sharding, params), rows)
    return fetch_rows(dataclasses.replace(rows, size=size), out)


def _padded(arrays: Batch, batch_size: int | None, params: Params = ()) -> Batch:
    """The arrays padded to one of a few numbers of rows, if they and the parameters are values on one device."""
    if not arrays[0].shape[0] or not may_pad((arrays, params)):
        return arrays
    rows = few_rows(arrays[0].shape[0], batch_size)
    return tuple(pad_rows(array, rows) for array in arrays)


def _padded_rows(batch_size: int | None, params: Params) -> Callable[[int], int] | None:
    """How many rows `_padded` makes of some rows; None if the parameters keep it from padding."""
    return functools.partial(few_rows, batch_size=batch_size) if may_pad(params) else None


def _shard_padded(layout: Layout, arrays: Batch, batch_size: int | None) -> tuple[Rows, int]:
    """The arrays on the devices of a mesh, and how many examples they are without the padding.

    They are padded if all devices are of this process.
    """
    if spans_processes(layout):
        rows = shard_rows(layout, arrays)
        return rows, rows.size
    return shard_rows(layout, _padded(arrays, batch_size)), num_examples(arrays)


def _numerics(function: str, precision: str | None) -> Numerics:
    return resolved(Numerics(check_precision(function, precision)))


def _optional(function: str, batch_size: int | None) -> int | None:
    return None if batch_size is None else checks.positive_int(function, "batch_size", batch_size)


@compiled(static=5, kept=_KEPT, numerics=lambda numerics, *_: numerics)
def _evaluate(
    numerics: Numerics,
    network: Layer,
    loss: Loss,
    metrics: Metrics,
    batch_size: int | None,
    params: Params,
    data: Examples,
    size: Array,
):
    """The means over the first `size` examples; those after them are padding."""
    x, y, weight = unpack_batch("evaluate", all_rows(data))
    values = per_example(network, loss, metrics, params, data, batch_size)
    real = jnp.arange(x.shape[0], dtype=jnp.int32) < size
    weight = real.astype(values["cost"].dtype) if weight is None else jnp.where(real, weight, 0)
    return means(values, (x, y, weight))


@signals.deferring("evaluate", SIGINT)
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
    precision: str | None = None,
) -> dict[str, float]:
    """The cost and the metrics of a network on data, without randomness and without a penalty.

    The data are padded as in `predict`. The padding is not counted.

    Args:
      network: a layer whose forward without a key acts on each row alone, as those of this library do.
      loss: a `Loss`. Its values and those of the metrics must each depend on their own row alone.
      params: the parameters of the network.
      data: `(x, y)` or `(x, y, weight)`.
      batch_size: at most this many examples are computed at a time, which bounds the memory. Default: all.
      metrics: names mapped to functions (prediction, target) -> values (batch,). Default: the metrics of the loss.
      sharding: a layout of `fnn.sharding`. Each device of the mesh then evaluates its share of the examples.
      precision: the precision of matrix products, as in `fit`. Default: full float32, unless
        `jax.default_matmul_precision` is set.

    Returns:
      {"cost": …, "accuracy": …}: means over the examples, weighted if there are weights.

    Raises:
      ValueError, TypeError: if an argument or the data are invalid; the message names the first bad row.

    >>> import fnn
    >>> network = fnn.softmax_regression(4, 3)
    >>> params, data = network.init(jax.random.key(0)), (jnp.ones((10, 4)), jnp.zeros(10, jnp.int32))
    >>> {name: round(value, 4) for name, value in evaluate(network, fnn.softmax_cross_entropy, params, data).items()}
    {'accuracy': 1.0, 'cost': 1.0986}
    """
    checks.layer("evaluate", "network", network)
    checks.params("evaluate", params)
    pairs, batch_size = metric_pairs("evaluate", loss, metrics), _optional("evaluate", batch_size)
    numerics = _numerics("evaluate", precision)
    if sharding is None:
        _check_not_sharded("evaluate", params)
    else:
        text = describe(check_layout("evaluate", sharding))
        if spans_processes(sharding):
            agreement.assert_same("evaluate", sharding=text, loss=loss.name, metrics=[name for name, _ in pairs])
        params = place_params(sharding, params)
    with agreement.fail_together("evaluate", spans_processes(sharding)):
        padded = _padded_rows(batch_size, params)
        check_fits("evaluate", sharding, advice=TO_EVALUATE, padded_rows=padded, data=data)
        arrays = check_data("evaluate", "data", data, sharding, network.vocabulary)
        check_targets("evaluate", network, loss, params, arrays)
    if sharding is None:
        examples, size = _padded(arrays, batch_size, params), num_examples(arrays)
    else:
        examples, size = _shard_padded(sharding, arrays, batch_size)
    values = _evaluate(numerics, network, loss, pairs, batch_size, params, examples, np.int32(size))
    return {name: float(value) for name, value in values.items()}


def _check_not_sharded(function: str, params: Params) -> None:
    """Raise ValueError if parameters are sharded over a mesh with Explicit axes and no layout is given: JAX would raise
    an obscure error about ambiguous output shardings.
    """
    for leaf in jax.tree.leaves(params):
        sharded = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and not leaf.is_fully_replicated
        if sharded and AxisType.Explicit in getattr(jax.typeof(leaf).sharding.mesh, "axis_types", ()):
            raise checks.fail(function, "sharding", "the layout by which params are sharded", came="None")
