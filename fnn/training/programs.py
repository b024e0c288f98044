"""The compiled programs of fit: epochs in one call, steps inside an epoch, and the search for what went wrong.

Whole epochs and chunks of steps apply the same step to the same batches: a training that stops and goes on between
any two steps computes what one that does not stop computes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from fnn.data.order import epoch_order
from fnn.data.prefetch import Chunk
from fnn.layers.normalization import calibrate
from fnn.sharding import rows
from fnn.sharding.rows import Examples
from fnn.training.epoch import Program, constrain_step, logging_step, report, reported_epoch
from fnn.training.step import Step
from fnn.types import Batch, Params, TrainState


class Best(NamedTuple):
    """Early stopping: the best state so far, its validation cost, and the epochs since."""

    params: Params
    opt_state: Any
    step: Array
    cost: Array
    waited: Array


class Carry(NamedTuple):
    """What goes from epoch to epoch on the device. history: name -> (epochs,), filled up to `epoch`."""

    state: TrainState
    history: dict[str, Array]
    epoch: Array
    finite: Array
    best: Best | None


def all_true(flags: PyTree) -> Bool[Array, ""]:
    """Whether all of these are true."""
    return functools.reduce(jnp.logical_and, jax.tree.leaves(flags), jnp.asarray(True))


def finite_leaves(tree: PyTree) -> PyTree:
    """For each leaf whether all its entries are finite; integers are."""
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)) if floating(leaf) else jnp.asarray(True), tree)


_reported_epoch = jax.jit(reported_epoch, static_argnums=0, inline=True)
"""`init_carry` and `run_epochs` share its trace."""


def _report(program: Program, state: TrainState, outs: PyTree, data: Examples, validation: Examples | None):
    """What `reported_epoch` does after its last step."""
    state, (weight, logs) = jax.lax.optimization_barrier((state, outs))
    params, logs = report(program, state.params, weight, logs, data, validation)
    return jax.lax.optimization_barrier((state._replace(params=params), logs))


def _keep_best(best: Best, state: TrainState, cost: Array) -> Best:
    improved = cost < best.cost
    here = Best(state.params, state.opt_state, state.step, cost, jnp.zeros_like(best.waited))
    return jax.tree.map(lambda new, old: jnp.where(improved, new, old), here, best._replace(waited=best.waited + 1))


def has_patience(program: Program, best: Best) -> Array:
    """Whether early stopping lets the training go on."""
    return best.waited < jnp.int32(program.patience)


def _record(carry: Carry, state: TrainState, logs: dict[str, Array]) -> Carry:
    """The carry after an epoch that ended in this state and has this to report."""
    history = {name: column.at[carry.epoch].set(logs[name]) for name, column in carry.history.items()}
    best = None if carry.best is None else _keep_best(carry.best, state, logs["validation_cost"])
    return Carry(state, history, carry.epoch + 1, carry.finite, best)


def _laid_out(carry: Carry, data: Examples) -> Carry:
    return rows.constrain_tree(data, carry, carry.state.params)


def _looked_at(carry: Carry) -> Carry:
    """With `finite` telling whether the costs so far and the parameters are."""
    columns = [carry.history[name] for name in ("cost", "validation_cost") if name in carry.history]
    ahead = jnp.arange(columns[0].size, dtype=jnp.int32) >= carry.epoch
    costs = jnp.all(jnp.stack([jnp.isfinite(column) | ahead for column in columns]))
    return carry._replace(finite=costs & all_true(finite_leaves(carry.state.params)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def init_carry(program: Program, epochs: int, state: TrainState, data: Examples, validation: Examples | None) -> Carry:
    """The carry before the first epoch, with buffers of its own: the caller's state is not donated."""
    logs = jax.eval_shape(functools.partial(_reported_epoch, program), state, data, validation)[1]
    history = {name: jnp.full(epochs, jnp.nan, log.dtype) for name, log in logs.items()}
    best = None
    if program.patience is not None:
        cost = jnp.asarray(jnp.inf, logs["validation_cost"].dtype)
        best = Best(state.params, state.opt_state, state.step, cost, waited=jnp.zeros((), jnp.int32))
    carry = Carry(state, history, jnp.zeros((), jnp.int32), jnp.asarray(True), best)
    return _laid_out(jax.tree.map(jnp.copy, carry), data)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def run_epochs(program: Program, carry: Carry, data: Examples, validation: Examples | None, until: Array) -> Carry:
    """Epochs up to `until` (an argument: one compilation for any number), fewer if patience ends.

    Whether all is finite is looked at once, at the end: what is not stays in the history of costs, and a gradient
    that is not makes the parameters so, which stay so.
    """

    def goes_on(carry: Carry) -> Array:
        in_time = carry.epoch < until
        return in_time if carry.best is None else in_time & has_patience(program, carry.best)

    def body(carry: Carry) -> Carry:
        return _laid_out(_record(carry, *_reported_epoch(program, carry.state, data, validation)), data)

    return _laid_out(_looked_at(jax.lax.while_loop(goes_on, body, carry)), data)


def run_part_of_epoch(
    step: Step,
    batch_size: int,
    state: TrainState,
    outs: PyTree,
    data: Examples,
    position: Array,
    until: Array,
    goes_on: Callable[[TrainState], Array | bool] = lambda state: True,
) -> tuple[TrainState, PyTree]:
    """The steps position..until-1 of an epoch, what they return written into `outs` (steps, …)."""
    size, step = rows.num_examples(data), constrain_step(step, data)
    begun = state.step - position
    if batch_size == size:  # one batch of everything is not shuffled
        full, rest = jnp.arange(0).reshape(0, size), jnp.arange(size)
        batch = lambda index: rows.all_rows(data)
    else:
        full, rest = epoch_order(state.key, begun, size, batch_size)
        batch = lambda index: rows.take(data, index)
    return run_batches(step, batch, full, rest, full.shape[0], state, outs, begun, until, goes_on)


def run_batches(
    step: Step,
    batch: Callable[[Array], Batch],
    full: Int[Array, "n batch_size"],
    rest: Int[Array, " rest"],
    count: Array | int,
    state: TrainState,
    outs: PyTree,
    begun: Array,
    until: Array,
    goes_on: Callable[[TrainState], Array | bool] = lambda state: True,
) -> tuple[TrainState, PyTree]:
    """The steps from state.step - begun to until - 1, on batches of these indices: the first `count`, then the rest."""

    def one(index: Array, at: Array, state: TrainState, outs: PyTree) -> tuple[TrainState, PyTree]:
        state, out = step(state, batch(index))
        return state, jax.tree.map(lambda column, value: column.at[at].set(value), outs, out)

    def in_time(carry: tuple[TrainState, PyTree]) -> Array:
        at = carry[0].step - begun
        return (at < jnp.minimum(until, count)) & goes_on(carry[0])

    def body(carry: tuple[TrainState, PyTree]) -> tuple[TrainState, PyTree]:
        at = carry[0].step - begun
        return one(full[at], at, *carry)

    if full.shape[0]:
        state, outs = jax.lax.while_loop(in_time, body, (state, outs))
    if rest.size:
        at = state.step - begun
        due = (at == count) & (at < until) & goes_on(state)
        state, outs = jax.lax.cond(due, lambda s, o: one(rest, at, s, o), lambda s, o: (s, o), state, outs)
    return state, outs


def steps_per_epoch(program: Program, data: Examples) -> int:
    """The steps of an epoch."""
    return -(-rows.num_examples(data) // program.batch_size)


@functools.partial(jax.jit, static_argnums=0)
def allocate_step_logs(program: Program, state: TrainState, data: Examples) -> PyTree:
    """Room for what each step of an epoch has to report: (weight, logs), each (steps,)."""
    steps = steps_per_epoch(program, data)
    batch = tuple(array[: program.batch_size] for array in rows.all_rows(data))
    out = jax.eval_shape(logging_step(program), state, batch)[1]
    return jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape), leaf.dtype), out)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def run_steps(program: Program, state: TrainState, outs: PyTree, data: Examples, position: Array, until: Array):
    """The steps position..until-1 of an epoch -> state, outs, whether all is finite."""
    state, outs = run_part_of_epoch(logging_step(program), program.batch_size, state, outs, data, position, until)
    state = rows.constrain_tree(data, state, state.params)
    return state, outs, jnp.all(jnp.isfinite(outs[1]["cost"])) & all_true(finite_leaves(state.params))


def run_part_of_chunk(
    step: Step,
    state: TrainState,
    outs: PyTree,
    chunk: Chunk,
    position: Array,
    until: Array,
    goes_on: Callable[[TrainState], Array | bool] = lambda state: True,
) -> tuple[TrainState, PyTree]:
    """The steps position..until-1 of a chunk, what they return written into `outs` (steps, …)."""
    step, batch = constrain_step(step, chunk.data), lambda index: rows.take(chunk.data, index)
    begun = state.step - position
    return run_batches(step, batch, chunk.full, chunk.rest, chunk.batches, state, outs, begun, until, goes_on)


@functools.partial(jax.jit, static_argnums=0)
def run_chunk(program: Program, state: TrainState, outs: PyTree, chunk: Chunk, position: Array, until: Array):
    """The steps position..until-1 of a chunk -> state, outs, whether all is finite. The given state stays as it is."""
    state, outs = run_part_of_chunk(logging_step(program), state, outs, chunk, position, until)
    return state, outs, jnp.all(jnp.isfinite(outs[1]["cost"])) & all_true(finite_leaves(state.params))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def end_epoch(program: Program, carry: Carry, outs: PyTree, data: Examples, validation: Examples | None) -> Carry:
    """The carry after an epoch whose last step led to carry.state, as `advance` has it.

    In a loop of one round: XLA moves what does not change out of loops, and rounds differently where it does not.
    """
    until = carry.epoch + 1
    body = lambda carry: _laid_out(_record(carry, *_report(program, carry.state, outs, data, validation)), data)
    return _laid_out(_looked_at(jax.lax.while_loop(lambda carry: carry.epoch < until, body, carry)), data)


@functools.partial(jax.jit, static_argnums=0)
def copy_state(program: Program, state: TrainState, data: Examples) -> TrainState:
    """The state as it can be used: with buffers of its own, and population statistics."""
    params = calibrate(program.network, state.params, rows.all_rows(data)[0])
    return rows.constrain_tree(data, jax.tree.map(jnp.copy, state._replace(params=params)), params)
