"""Checks of data, targets and metrics, shared by fit, evaluate, predict and make_run."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.data.arrays import check_examples, unpack_batch
from fnn.data.values import NAMES, check_values, validate_targets
from fnn.sharding.layout import Layout
from fnn.sharding.process_rows import min_rows
from fnn.types import Batch, Data, Layer, Loss, Metric, Metrics, Params


def metric_pairs(function: str, loss: Loss, metrics: Mapping[str, Metric] | None) -> Metrics:
    """The metrics as a hashable tuple. Default: those of the loss."""
    checks.loss(function, loss)
    try:
        hash(loss)
    except TypeError:
        raise checks.fail(function, "loss", "hashable (metrics: a tuple of pairs)", loss, TypeError) from None
    if metrics is None:
        _check_metrics(function, "loss.metrics", loss.metrics)
        return loss.metrics
    if not isinstance(metrics, Mapping) or not all(callable(metric) for metric in metrics.values()):
        raise checks.fail(function, "metrics", "a mapping of names to functions", metrics, TypeError)
    _check_metrics(function, "metrics", tuple(metrics.items()))
    return tuple(metrics.items())


def _check_metrics(function: str, argument: str, pairs: Any) -> None:
    """Raise unless these are pairs (name, metric) with different names that can name columns of the history."""
    if not isinstance(pairs, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise checks.fail(function, argument, "a tuple of pairs (name, function)", pairs, TypeError)
    seen: set[str] = set()
    for name, metric in pairs:
        if not isinstance(name, str):
            raise checks.fail(function, argument, "named by text (str)", name, TypeError)
        if not name.strip() or not name.isprintable():
            raise checks.fail(function, argument, "named by printable text that is not empty", came=repr(name))
        if not callable(metric):
            raise checks.fail(function, argument, "functions", metric, TypeError)
        if name == "cost" or name.startswith("validation_"):
            expected = "without the names 'cost' and 'validation_…', which are reserved"
            raise checks.fail(function, argument, expected, came=repr(name))
        if name in seen:
            raise checks.fail(function, argument, "of different names", came=f"{name!r} twice")
        seen.add(name)


def as_array(layout: Layout | None) -> Callable[[str, str, Any], Any]:
    """The function that converts an argument to an array: on the host if there is a layout."""
    return _on_device if layout is None else checks.on_host


def _on_device(function: str, argument: str, value: Any) -> Array:
    """`checks.array`, but without the program that `jnp.asarray` compiles for each shape (jax 0.10 to 0.12)."""
    is_array = type(value) is np.ndarray and (value.dtype.kind in "biuf" or jnp.issubdtype(value.dtype, jnp.floating))
    if is_array and not isinstance(jnp.zeros(()), Tracer):
        return jax.device_put(np.array(checks.on_host(function, argument, value)))  # without the copy, shared memory
    return checks.array(function, argument, value)


def check_data(
    function: str, argument: str, data: Data, layout: Layout | None = None, vocabulary: int | None = None
) -> Batch:
    """Check (x, y) or (x, y, weight): equal lengths, x floating or ids of the vocabulary, all finite in the rows with
    weight.

    Returns: the arrays, on the device; if there is a layout, on the host: no device needs memory for all of them.
    """
    parts = zip(NAMES, unpack_batch(function, data), strict=True)
    named = {name: as_array(layout)(function, f"{argument}: {name}", part) for name, part in parts if part is not None}
    arrays: Batch = tuple(named.values())
    check_examples(function, arrays, min_rows(layout))
    check_values(function, argument, named, vocabulary)
    return arrays


def check_targets(function: str, network: Layer, loss: Loss, params: Params, data: Batch) -> None:
    """Let the loss check the values of the targets, if there are any, against the shape of the prediction."""
    if loss.validate is not None and not isinstance(data[1], Tracer) and data[1].shape[0]:
        run = lambda params, x: protocol.forward(function, "network", network, params, x)[0]
        prediction = jax.eval_shape(run, params, data[0])
        weight = data[2] if len(data) == 3 and not isinstance(data[2], Tracer) else None
        validate = functools.partial(loss.validate, prediction.shape)
        validate_targets(validate, np.asarray(data[1]), weight, lambda row: f"row {row}")
