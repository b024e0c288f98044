"""`make_run`: a whole training as one pure function of hyperparameters and key."""

import functools
from collections.abc import Callable, Mapping
from signal import SIGINT
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, PyTree

from fnn import checks
from fnn.data.arrays import check_batch_size
from fnn.dtypes import widest
from fnn.layers.normalization import calibrate
from fnn.sharding.rows import inputs_with_weight
from fnn.sweeps.forms import axes_of_runs, steps_per_iteration, transposed_once
from fnn.training import signals
from fnn.training.compiled import compiled
from fnn.training.data_checks import check_data, check_targets, metric_pairs
from fnn.training.epoch import Program, epoch, logging_step, report, reported_epoch
from fnn.training.memory import TO_SWEEP, check_fits
from fnn.training.numerics import Numerics, check_numerics
from fnn.training.step import as_transformation, fresh_state
from fnn.types import (
    Batch,
    Data,
    GradientTransformation,
    Layer,
    Loss,
    Metric,
    Metrics,
    Params,
    PRNGKey,
    RunResult,
    TrainState,
)
from fnn.weights import IsWeight, check_is_weight, check_weights, is_weight


class Programs(NamedTuple):
    """The function inside the `Partial` that `make_run` returns.

    Attributes:
      one: (data, validation, hyper, key) -> RunResult; compiled, the Partial calls it.
      many: (on_cpu, data, validation, hypers, key) -> RunResult with leaves (n, …), one row for each of n
        hyperparameters; `sweep` calls it. `on_cpu` chooses the form of the program: for CPUs, or for accelerators. The
        results equal those of `one` up to rounding.
      numerics: how both compute.
    """

    one: Callable[[Batch, Batch | None, Any, PRNGKey], RunResult]
    many: Callable[[bool, Batch, Batch | None, PyTree, PRNGKey], RunResult]
    numerics: Numerics

    def __call__(self, data: Batch, validation: Batch | None, hyper: Any, key: PRNGKey) -> RunResult:
        return self.one(data, validation, hyper, key)


class _Options(NamedTuple):
    """The checked arguments of `make_run`, without the data."""

    network: Layer | Callable[[Any], Layer]
    loss: Loss
    make_optimizer: Callable[[Any], GradientTransformation]
    epochs: int
    batch_size: int
    l2: float | Callable[[Any], Any]
    init: Params | Callable[[Any], Params]
    metrics: Metrics
    is_weight: IsWeight
    numerics: Numerics


@signals.deferring("make_run", SIGINT)
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
    precision: str | None = None,
    deterministic: bool = False,
) -> Callable[[Any, PRNGKey], RunResult]:
    """Make a pure function that runs a whole training: run(hyper, key) -> RunResult(params, history).

    `jax.vmap` maps it over hyperparameters and keys, `jax.grad` differentiates it, and `fnn.sweep` runs it for many of
    both. `hyper` is any pytree of numbers or arrays. The arguments below that are functions of `hyper` are called with
    traced values.

    Args:
      network: the layer to train, or a function hyper -> layer.
      loss: a `Loss`.
      make_optimizer: a function hyper -> optimizer, fnn's or optax's; for example `fnn.sgd` if `hyper` is the learning
        rate.
      data: `(x, y)` or `(x, y, weight)`, arrays with one row per example.
      epochs: number of passes over the data.
      batch_size: examples per step. The last batch of an epoch may be smaller.
      l2: λ in the penalty λ/2 ‖W‖², added to the cost; or a function hyper -> λ.
      init: parameters to start from, or a function hyper -> parameters. Default: those of `network.init`.
      validation: held-out `(x, y)` or `(x, y, weight)`, evaluated after each epoch.
      metrics: `{name: function}`, each function (prediction, target) -> values (batch,). Default: the loss's metrics.
      is_weight: (path, leaf) -> bool, which selects the leaves that the penalty acts on. Default: `fnn.is_weight`.
      precision: the precision of matrix products, as in `fit`.
      deterministic: on a GPU, compute the same bits each time, as in `fit`, if the run is called by itself or by
        `sweep`. Inside a `jax.jit` of your own the options of that program count. `jax.vmap` and `jax.grad` of a run
        compile it without options: wrap them in `jax.jit(…, compiler_options={"xla_gpu_deterministic_ops": True})`.

    Returns:
      run(hyper, key) -> RunResult. Its `history` maps names to arrays (epochs,): "cost" (with the penalty) and the
      metrics, means over the batches of each epoch as they were trained on; with `validation` also "validation_cost"
      (without the penalty) and "validation_…".

      The run is compiled when it is called. It is a pytree whose leaves are the data, which are arguments of the
      compiled program. Inside a `jax.jit` of your own, pass the run as an argument,
      `jax.jit(lambda run, hyper, key: run(hyper, key))`; otherwise the data become constants of that program.

    Raises:
      ValueError or TypeError: if an argument or the data are invalid. What depends on `hyper` is checked when the run
        is called.

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
    vocabulary = network.vocabulary if isinstance(network, Layer) else None
    check_fits("make_run", advice=TO_SWEEP, data=data, validation=validation)
    arrays = check_data("make_run", "data", data, None, vocabulary)
    held_out = None if validation is None else check_data("make_run", "validation", validation, None, vocabulary)
    batch_size = check_batch_size("make_run", batch_size, arrays[0].shape[0])
    if isinstance(network, Layer):
        params = jax.eval_shape(network.init, jax.random.key(0))
        for part in (arrays, held_out) if held_out else (arrays,):
            check_targets("make_run", network, loss, params, part)
        if not callable(l2):
            checks.number("make_run", "l2", l2, minimum=0.0)
            check_weights("make_run", "l2", l2, params, is_weight)
    if not callable(make_optimizer):
        raise checks.fail("make_run", "make_optimizer", "a function: hyper -> optimizer", make_optimizer, TypeError)
    numerics = check_numerics("make_run", precision, deterministic)
    options = _Options(network, loss, make_optimizer, epochs, batch_size, l2, init, pairs, is_weight, numerics)
    one, many = functools.partial(_run_one, options), functools.partial(_run_many, options)
    one = compiled(numerics=functools.partial(_first, numerics))(functools.update_wrapper(one, _run_one, _NAMES))
    return jax.tree_util.Partial(Programs(one, many, numerics), arrays, held_out)


_NAMES = "__module__", "__name__", "__qualname__", "__doc__"  # not the annotations, which cannot be pickled


def _first(numerics: Numerics, *_: Any) -> Numerics:
    return numerics


def _program(options: _Options, hyper: Any) -> Program:
    network, l2 = options.network, options.l2
    return Program(
        network if isinstance(network, Layer) else checks.layer("make_run", "network", network(hyper)),
        options.loss,
        as_transformation("make_run", options.make_optimizer(hyper)),
        l2(hyper) if callable(l2) else l2,
        options.metrics,
        options.batch_size,
        is_weight=options.is_weight,
    )


def _initial_state(options: _Options, hyper: Any, key: PRNGKey) -> TrainState:
    program, init = _program(options, hyper), options.init
    return fresh_state(program.network, program.optimizer, key, init(hyper) if callable(init) else init)


def _run_one(options: _Options, data: Batch, validation: Batch | None, hyper: Any, key: PRNGKey) -> RunResult:
    program = _program(options, hyper)

    def run_epoch(state: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
        return reported_epoch(program, state, data, validation)

    state, history = jax.lax.scan(run_epoch, _initial_state(options, hyper, key), None, length=options.epochs)
    return RunResult(calibrate(program.network, state.params, inputs_with_weight(data)), history)


def _run_many(
    options: _Options, on_cpu: bool, data: Batch, validation: Batch | None, hypers: PyTree, key: PRNGKey
) -> RunResult:
    """`_run_one` under vmap, but with the scans outside and the step under vmap.

    All runs share the key, and therefore the batches. A step logs all its numbers in one array: on a GPU each array
    that a scan stacks takes a kernel.
    """
    initial_state = functools.partial(_initial_state, options)
    first = jax.eval_shape(initial_state, jax.tree.map(lambda leaf: leaf[0], hypers), key)
    axes = axes_of_runs(first, data[0], on_cpu)
    steps = steps_per_iteration(first, jax.tree.leaves(hypers)[0].shape[0], data[0], on_cpu)
    dtypes: dict[str, DTypeLike] = {}  # of what a step logs; set when the step is traced

    @functools.partial(jax.vmap, in_axes=(0, axes, None), out_axes=(axes, (None, -1)))
    def step(hyper: Any, state: TrainState, batch: Batch) -> tuple[TrainState, tuple[Array | None, Array]]:
        program = _program(options, hyper)
        network = transposed_once(program.network) if on_cpu else program.network
        state, (weight, logs) = logging_step(program._replace(network=network))(state, batch)
        dtypes.update({name: value.dtype for name, value in logs.items()})
        stacked = jnp.stack([value.astype(widest(*logs.values())) for value in logs.values()])
        return state, (weight if len(batch) == 3 else None, stacked)

    @functools.partial(jax.vmap, in_axes=(0, axes.params, None, -1), out_axes=(axes.params, 0))
    def report_epoch(hyper: Any, params: Params, weight: Array, logs: Array):
        each = {name: logs[:, i].astype(dtype) for i, (name, dtype) in enumerate(dtypes.items())}
        return report(_program(options, hyper), params, weight, each, data, validation)

    @functools.partial(jax.vmap, in_axes=(0, axes.params))
    def calibrate_all(hyper: Any, params: Params) -> Params:
        return calibrate(_program(options, hyper).network, params, inputs_with_weight(data))

    def run_epoch(states: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
        states, (weight, logs) = epoch(functools.partial(step, hypers), options.batch_size, states, data, steps)
        weight = _batch_sizes(data[0].shape[0], options.batch_size, logs.dtype) if weight is None else weight
        params, logs = report_epoch(hypers, states.params, weight, logs)
        return states._replace(params=params), logs

    states = jax.vmap(initial_state, in_axes=(0, None), out_axes=axes)(hypers, key)
    states, history = jax.lax.scan(run_epoch, states, None, length=options.epochs)
    return RunResult(calibrate_all(hypers, states.params), jax.tree.map(jnp.transpose, history))


def _batch_sizes(size: int, batch_size: int, dtype: DTypeLike) -> Array:
    """Return the number of examples of each step of an epoch."""
    return jnp.asarray([min(batch_size, size - start) for start in range(0, size, batch_size)], dtype)
