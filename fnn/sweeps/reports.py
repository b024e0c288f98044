"""What a run reports: its history, the outputs for held-out rows, and the best parameters so far."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from fnn import checks
from fnn.backprop import weighted_mean
from fnn.checks import protocol
from fnn.data.arrays import unpack_batch
from fnn.dtypes import widest
from fnn.layers.normalization import calibrate
from fnn.metrics import lower_is_better
from fnn.sharding.rows import inputs_with_weight
from fnn.sweeps.options import Options, held_out_of
from fnn.training.epoch import Program, report
from fnn.training.forward_pass import evaluation_batch, in_batches
from fnn.training.step import metric_values
from fnn.types import Batch, Params


class Record(NamedTuple):
    """What a run keeps of one report."""

    history: dict[str, Array]
    outputs: PyTree


class Best(NamedTuple):
    """The best parameters so far, and their rank: the lower, the better; infinite before the first number."""

    rank: Float[Array, ""]
    params: Params


def report_run(
    options: Options,
    program: Program,
    hyper: Any,
    params: Params,
    best: Best | None,
    weight: Array,
    logs: dict[str, Array],
    training: Batch,
    data: Batch,
    validation: Batch | None,
) -> tuple[Params, Best | None, Record]:
    """Report one run.

    `weight` and `logs` are those of its steps since the last report, `training` are the data with the run's weights.
    """
    if options.held_out is None and options.outputs is None:
        params, history = report(program, params, weight, logs, training, validation)
        record = Record(history, None)
    else:
        params, history = report(program, params, weight, logs, training, None)
        params = calibrate(program.network, params, inputs_with_weight(training))
        values, outputs = _evaluate(options, program, hyper, params, data, validation)
        record = Record(history | {f"validation_{name}": value for name, value in values.items()}, outputs)
    return params, None if best is None else _better(options, best, params, record.history), record


def _evaluate(
    options: Options, program: Program, hyper: Any, params: Params, data: Batch, validation: Batch | None
) -> tuple[dict[str, Array], PyTree]:
    """Return the mean cost and metrics over the held-out rows, or over the validation data, and the outputs for each.

    The held-out rows of a batch are gathered when it is evaluated, so that those of all runs are not in memory at once.
    """

    def of_rows(x: Array, y: Array) -> tuple[dict[str, Array], PyTree]:
        prediction = protocol.forward("make_run", "network", program.network, params, x)[0]
        values = {"cost": protocol.loss_forward("make_run", program.loss, prediction, y)[0]}
        values |= metric_values("make_run", program.metrics, prediction, y)
        values = {name: value.astype(widest(value, jnp.float32)) for name, value in values.items()}
        return values, None if options.outputs is None else _outputs(options, prediction)

    if options.held_out is None:
        assert validation is not None
        x, y, weight = unpack_batch("make_run", validation)
        values, outputs = in_batches(of_rows, (x, y), evaluation_batch(program.batch_size))
        return {name: weighted_mean(value, weight) for name, value in values.items()}, outputs
    held_out = held_out_of(options, hyper, data)
    of_index = lambda index: of_rows(data[0][index], data[1][index])
    values, outputs = in_batches(of_index, (held_out.rows,), evaluation_batch(program.batch_size))
    none = jnp.all(held_out.weight == 0)
    means = {name: jnp.where(none, jnp.nan, weighted_mean(value, held_out.weight)) for name, value in values.items()}
    column = lambda leaf: held_out.given.reshape(-1, *(1,) * (leaf.ndim - 1))
    return means, jax.tree.map(lambda leaf: jnp.where(column(leaf), leaf, jnp.zeros((), leaf.dtype)), outputs)


def _outputs(options: Options, prediction: Array) -> PyTree:
    """Call the function `outputs`, and check that each leaf has a row for each row of the prediction."""
    outputs = options.outputs(prediction)  # pyright: ignore[reportOptionalCall]
    for path, leaf in jax.tree.leaves_with_path(outputs):
        name = f"outputs(prediction){jax.tree_util.keystr(path)}"
        leaf = checks.array("make_run", name, leaf)
        if leaf.shape[:1] != prediction.shape[:1]:
            expected = f"of shape ({prediction.shape[0]}, ...), with a row for each row of the prediction"
            raise checks.fail("make_run", name, expected, leaf)
    return jax.tree.map(jnp.asarray, outputs)


def _better(options: Options, best: Best, params: Params, history: dict[str, Array]) -> Best:
    """Return the better of these parameters and the best so far. While there is no number, the last are the best."""
    name = options.keep or ""
    rank = history[name] if lower_is_better(name) else -history[name]
    rank = jnp.where(jnp.isnan(rank), jnp.inf, rank).astype(best.rank.dtype)
    take = (rank < best.rank) | jnp.isposinf(best.rank)
    choose = lambda new, old: jnp.where(take, new, old)
    return Best(choose(rank, best.rank), jax.tree.map(choose, params, best.params))
