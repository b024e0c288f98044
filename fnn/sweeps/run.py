"""A whole training as one pure function of its hyperparameters and its key."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fnn import checks
from fnn.data.arrays import check_batch_size
from fnn.layers.matmul import computed_once
from fnn.layers.normalization import calibrate
from fnn.training.epoch import Program, epoch, logging_step, report, reported_epoch
from fnn.training.evaluation import check_data, check_targets, metric_pairs
from fnn.training.step import as_transformation, fresh_state
from fnn.types import (
    Batch,
    Data,
    GradientTransformation,
    Layer,
    Loss,
    Metric,
    Params,
    PRNGKey,
    RunResult,
    TrainState,
)
from fnn.weights import IsWeight, check_is_weight, check_weights, is_weight


def _transposed_once(network: Layer) -> Layer:
    """The network as one of many under vmap. A product leaves the batch of all as (batch, runs, n), vmap wants the loss
    of it as (runs, batch, n), and the gradient goes the way back: on the CPU each use would transpose for itself.
    """

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Any]:
        prediction, residuals = network.forward(params, x, key)
        return computed_once(prediction), residuals

    def backward(params: Params, residuals: Any, dprediction: Array) -> tuple[Params, Array]:
        return network.backward(params, residuals, computed_once(dprediction))

    return network._replace(forward=forward, backward=backward)


class Programs(NamedTuple):
    """What the Partial of `make_run` is made of.

    one     (data, validation, hyper, key) -> RunResult, compiled: what the Partial calls
    many    (data, validation, hypers, key) -> RunResult with leaves (n, …), to the same rounding: what `sweep` calls
    """

    one: Callable[[Batch, Batch | None, Any, PRNGKey], RunResult]
    many: Callable[[Batch, Batch | None, PyTree, PRNGKey], RunResult]

    def __call__(self, data: Batch, validation: Batch | None, hyper: Any, key: PRNGKey) -> RunResult:
        return self.one(data, validation, hyper, key)


def make_run(
    network: Layer | Callable[[Any], Layer],
    loss: Loss,
    make_optimizer: Callable[[Any], GradientTransformation],
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    l2: float | Callable[[Any], Any] = 0.0,
    init: Params | Callable[[Any], Params] = None,
    validation: Data | None = None,
    metrics: Mapping[str, Metric] | None = None,
    is_weight: IsWeight = is_weight,
) -> Callable[[Any, PRNGKey], RunResult]:
    """run(hyper, key) -> RunResult(params, history): a whole training as a pure function, to vmap.

    `hyper` is any pytree. `make_optimizer` makes of it an optimizer, and so may `network`, `l2` and `init` (the
    parameters to start from, instead of the network's own) be functions of it; what they use of it may be traced.
    `is_weight` (path, leaf) -> bool selects the leaves that the penalty acts on.
    history has "cost" (with the penalty) and the loss's metrics over each epoch's batches, "validation_…" (without).
    The run is compiled when it is called, and a pytree that carries its data as an argument of its program. Inside a
    jit of your own, pass it as an argument, `jax.jit(lambda run, h, k: run(h, k))(run, h, k)`, or the data become
    constants of that program.

    >>> import fnn, jax.numpy as jnp
    >>> x = jnp.linspace(-1, 1, 20)[:, None]
    >>> run = make_run(fnn.dense(1, 1), fnn.squared_error, fnn.sgd, (x, 3 * x), epochs=100, batch_size=20)
    >>> result = jax.vmap(run, in_axes=(0, None))(jnp.array([0.01, 1.0]), jax.random.key(0))
    >>> result.params.w[1].round(2), result.history["cost"].shape
    (Array([[3.]], dtype=float32), (2, 100))
    """
    if not callable(network):
        checks.layer("make_run", "network", network)
    pairs = metric_pairs("make_run", loss, metrics)
    check_is_weight("make_run", is_weight)
    epochs = checks.positive_int("make_run", "epochs", epochs)
    arrays = check_data("make_run", "data", data)
    held_out = None if validation is None else check_data("make_run", "validation", validation)
    batch_size = check_batch_size("make_run", batch_size, arrays[0].shape[0])
    if isinstance(network, Layer):
        params = jax.eval_shape(network.init, jax.random.key(0))
        for part in (arrays, held_out) if held_out else (arrays,):
            check_targets(network, loss, params, part)
        if not callable(l2):
            checks.number("make_run", "l2", l2, minimum=0.0)
            check_weights("make_run", "l2", l2, params, is_weight)
    if not callable(make_optimizer):
        raise checks.fail("make_run", "make_optimizer", "a function: hyper -> optimizer", make_optimizer, TypeError)

    def program_of(hyper: Any, beside_others: bool = False) -> Program:
        model = network if isinstance(network, Layer) else checks.layer("make_run", "network", network(hyper))
        model = _transposed_once(model) if beside_others else model
        optimizer = as_transformation("make_run", make_optimizer(hyper))
        penalty = l2(hyper) if callable(l2) else l2
        return Program(model, loss, optimizer, penalty, pairs, batch_size, is_weight=is_weight)

    def start(hyper: Any, key: PRNGKey) -> TrainState:
        program = program_of(hyper)
        return fresh_state(program.network, program.optimizer, key, init(hyper) if callable(init) else init)

    @jax.jit
    def one(data: Batch, validation: Batch | None, hyper: Any, key: PRNGKey) -> RunResult:
        program = program_of(hyper)

        def one_epoch(state: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
            return reported_epoch(program, state, data, validation)

        state, history = jax.lax.scan(one_epoch, start(hyper, key), None, length=epochs)
        return RunResult(calibrate(program.network, state.params, data[0]), history)

    def many(data: Batch, validation: Batch | None, hypers: PyTree, key: PRNGKey) -> RunResult:
        """`one` under vmap, but the scan outside and the step under vmap: runs share key and batches, and a matrix
        of all of them is kept as (n_in, runs, n_out), so that X W of all is one product and nothing is copied for it.
        """
        first = jax.eval_shape(start, jax.tree.map(lambda leaf: leaf[0], hypers), key)
        axes = jax.tree.map(lambda leaf: int(leaf.ndim == 2), first)._replace(step=None, key=None)

        @functools.partial(jax.vmap, in_axes=(0, axes, None), out_axes=(axes, (None, 0)))
        def step(hyper: Any, state: TrainState, batch: Batch) -> tuple[TrainState, tuple[Array, dict[str, Array]]]:
            return logging_step(program_of(hyper, beside_others=True))(state, batch)

        @functools.partial(jax.vmap, in_axes=(0, axes.params, None, 1), out_axes=(axes.params, 0))
        def reports(hyper: Any, params: Params, weight: Array, logs: dict[str, Array]):
            return report(program_of(hyper), params, weight, logs, data, validation)

        @functools.partial(jax.vmap, in_axes=(0, axes.params))
        def finished(hyper: Any, params: Params) -> Params:
            return calibrate(program_of(hyper).network, params, data[0])

        def one_epoch(states: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
            states, (weight, logs) = epoch(functools.partial(step, hypers), batch_size, states, data)
            params, logs = reports(hypers, states.params, weight, logs)
            return states._replace(params=params), logs

        states = jax.vmap(start, in_axes=(0, None), out_axes=axes)(hypers, key)
        states, history = jax.lax.scan(one_epoch, states, None, length=epochs)
        return RunResult(finished(hypers, states.params), jax.tree.map(jnp.transpose, history))

    return jax.tree_util.Partial(Programs(one, many), arrays, held_out)
