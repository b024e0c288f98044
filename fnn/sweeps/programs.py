"""The programs of a run: of one, and of many that share a key and therefore their batches."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, PyTree

from fnn.dtypes import widest
from fnn.layers.normalization import calibrate
from fnn.sharding.rows import inputs_with_weight
from fnn.sweeps.forms import axes_of_runs, steps_per_iteration, transposed_once
from fnn.sweeps.options import Options, initial_state, program_of, step_of, training_data
from fnn.sweeps.reports import Best, Record, report_run
from fnn.sweeps.schedule import run_schedule
from fnn.types import Batch, Params, PRNGKey, RunResult, TrainState


def run_one(options: Options, data: Batch, validation: Batch | None, hyper: Any, key: PRNGKey) -> RunResult:
    """Run one training."""
    program = program_of(options, hyper)
    training = training_data(options, program, hyper, data)

    def report(
        state: TrainState, best: Best | None, weight: Array, logs: Any
    ) -> tuple[TrainState, Best | None, Record]:
        params, best, record = report_run(
            options, program, hyper, state.params, best, weight, logs, training, data, validation
        )
        return state._replace(params=params), best, record

    state = initial_state(options, hyper, key)
    best = None if options.keep is None else Best(jnp.asarray(jnp.inf, float), state.params)
    step = step_of(options, program, hyper)
    state, best, record = run_schedule(options.schedule, step, report, state, best, training)
    params = state.params if best is None else best.params
    params = calibrate(program.network, params, inputs_with_weight(training))
    return RunResult(params, record.history, record.outputs)


def run_many(
    options: Options, on_cpu: bool, data: Batch, validation: Batch | None, hypers: PyTree, key: PRNGKey
) -> RunResult:
    """`run_one` under vmap, but with the loops outside and the step under vmap.

    All runs share the key, and therefore the batches. A step logs all its numbers in one array: on a GPU each array
    that a scan stacks takes a kernel.
    """
    n = jax.tree.leaves(hypers)[0].shape[0]
    first = jax.eval_shape(functools.partial(initial_state, options), jax.tree.map(lambda leaf: leaf[0], hypers), key)
    axes = axes_of_runs(first, data[0], on_cpu)
    unroll = steps_per_iteration(first, n, data[0], on_cpu)
    of_rows = None if options.weight is None else (None, None, -1)  # the weights of all runs are (rows, runs)
    of_weight = None if options.weight is None else -1
    of_best = None if options.keep is None else Best(0, axes.params)  # pyright: ignore[reportArgumentType]
    dtypes: dict[str, DTypeLike] = {}  # of what a step logs; set when the step is traced

    @functools.partial(jax.vmap, in_axes=0, out_axes=of_rows)
    def training_of(hyper: Any) -> Batch:
        return training_data(options, program_of(options, hyper), hyper, data)

    @functools.partial(jax.vmap, in_axes=(0, axes, of_rows), out_axes=(axes, (of_weight, -1)))
    def step(hyper: Any, state: TrainState, batch: Batch) -> tuple[TrainState, tuple[Array | None, Array]]:
        program = program_of(options, hyper)
        network = transposed_once(program.network) if on_cpu else program.network
        state, (weight, logs) = step_of(options, program._replace(network=network), hyper)(state, batch)
        dtypes.update({name: value.dtype for name, value in logs.items()})
        stacked = jnp.stack([value.astype(widest(*logs.values())) for value in logs.values()])
        return state, (weight if len(batch) == 3 else None, stacked)

    @functools.partial(
        jax.vmap, in_axes=(0, axes.params, of_best, of_weight, -1, of_rows), out_axes=(axes.params, of_best, 0)
    )
    def report_all(hyper: Any, params: Params, best: Best | None, weight: Array, logs: Array, training: Batch):
        each = {name: logs[:, i].astype(dtype) for i, (name, dtype) in enumerate(dtypes.items())}
        program = program_of(options, hyper)
        return report_run(options, program, hyper, params, best, weight, each, training, data, validation)

    @functools.partial(jax.vmap, in_axes=(0, axes.params, of_rows))
    def calibrate_all(hyper: Any, params: Params, training: Batch) -> Params:
        return calibrate(program_of(options, hyper).network, params, inputs_with_weight(training))

    def report(
        states: TrainState, best: Best | None, weight: Array, logs: Any
    ) -> tuple[TrainState, Best | None, Record]:
        params, best, record = report_all(hypers, states.params, best, weight, logs, training)
        return states._replace(params=params), best, record

    training = data if options.weight is None else training_of(hypers)
    start = jax.vmap(functools.partial(initial_state, options), in_axes=(0, None), out_axes=axes)
    states = start(hypers, key)
    best = None if options.keep is None else Best(jnp.full(n, jnp.inf), states.params)
    step_all = functools.partial(step, hypers)
    states, best, record = run_schedule(options.schedule, step_all, report, states, best, training, unroll)
    params = calibrate_all(hypers, states.params if best is None else best.params, training)
    history = jax.tree.map(jnp.transpose, record.history)
    return RunResult(params, history, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), record.outputs))
