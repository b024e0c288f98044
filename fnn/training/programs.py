"""The compiled programs of fit: what runs on the device between two reports.

`init_carry` allocates the loop carry of the epochs. `run_epochs` then runs as many whole epochs in one call as the
next report, the next checkpoint or early stopping allow. Where checkpoints are due inside an epoch, `run_steps` runs a
part of its steps and `end_epoch` reports it; `run_chunk` is `run_steps` for examples that are streamed to the device.

Whole epochs and parts of epochs apply the same step to the same batches. A training that stops and resumes between
any two steps therefore computes the same bits as one that does not stop. Whole epochs `scan` over their batches and
parts of epochs loop with `while`, because a part ends at a step that is an argument of its program.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from fnn.data.prefetch import Chunk
from fnn.layers.normalization import calibrate
from fnn.sharding import rows
from fnn.sharding.rows import Examples
from fnn.training import history
from fnn.training.epoch import Program, compiled_program, logging_step, report, reported_epoch
from fnn.training.partial_epoch import run_part_of_chunk, run_part_of_epoch
from fnn.training.plateau import report_epoch
from fnn.types import Params, TrainState


class Best(NamedTuple):
    """Early stopping: the best state so far, its validation cost, and the number of epochs since."""

    params: Params
    opt_state: Any
    step: Array
    cost: Array
    waited: Array


class Carry(NamedTuple):
    """What goes from epoch to epoch on the device.

    state     the state of the training
    recent    name -> (history.ROWS,), what the last epochs reported: epoch i, from 0, in row i % history.ROWS
    epoch     the number of epochs run
    finite    whether all costs and parameters are finite, as of the last call
    best      None without early stopping
    """

    state: TrainState
    recent: dict[str, Array]
    epoch: Array
    finite: Array
    best: Best | None


def all_true(flags: PyTree) -> Bool[Array, ""]:
    """Return whether all of these flags are true."""
    return functools.reduce(jnp.logical_and, jax.tree.leaves(flags), jnp.asarray(True))


def finite_leaves(tree: PyTree) -> PyTree:
    """Return a tree of flags: whether all entries of each leaf are finite. Integer leaves count as finite."""
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    return jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)) if floating(leaf) else jnp.asarray(True), tree)


_reported_epoch = compiled_program(inline=True)(reported_epoch)
"""Jitted so that `init_carry` and `run_epochs` share one trace of the epoch."""


def _report(program: Program, state: TrainState, outs: PyTree, data: Examples, validation: Examples | None):
    """Report an epoch after its last step, exactly as `reported_epoch` does."""
    state, (weight, logs) = jax.lax.optimization_barrier((state, outs))
    params, logs = report(program, state.params, weight, logs, data, validation)
    return jax.lax.optimization_barrier((state._replace(params=params), logs))


def _keep_best(best: Best, epoch: Array, state: TrainState, cost: Array) -> Best:
    improved = (cost < best.cost) | (epoch == 0)  # the cost before is no cost: 0, or inf in earlier checkpoints
    candidate = Best(state.params, state.opt_state, state.step, cost, jnp.zeros_like(best.waited))
    kept = best._replace(waited=best.waited + 1)
    return jax.tree.map(lambda new, old: jnp.where(improved, new, old), candidate, kept)


def has_patience(program: Program, best: Best) -> Array:
    """Return whether early stopping lets the training continue."""
    return best.waited < jnp.int32(program.patience)


def _record(carry: Carry, state: TrainState, logs: dict[str, Array]) -> Carry:
    """The carry after an epoch that ended in this state, with these logs."""
    state = state._replace(opt_state=report_epoch(state.opt_state, logs))
    row = carry.epoch % history.ROWS
    recent = {name: column.at[row].set(logs[name]) for name, column in carry.recent.items()}
    best = None if carry.best is None else _keep_best(carry.best, carry.epoch, state, logs["validation_cost"])
    return Carry(state, recent, carry.epoch + 1, carry.finite, best)


def _constrain(carry: Carry, data: Examples) -> Carry:
    """Constrain the carry to the layout of the examples, if they are on a mesh."""
    return rows.constrain_tree(data, carry, carry.state.params)


def _check_finite(carry: Carry) -> Carry:
    """Set `finite` to True if the recent costs and all parameters are finite, else to False. Rows that no epoch has
    written are 0.
    """
    columns = [carry.recent[name] for name in ("cost", "validation_cost") if name in carry.recent]
    costs = jnp.all(jnp.stack([jnp.isfinite(column) for column in columns]))
    return carry._replace(finite=costs & all_true(finite_leaves(carry.state.params)))


@compiled_program()
def init_carry(program: Program, state: TrainState, data: Examples, validation: Examples | None) -> Carry:
    """The carry before the first epoch. It has its own buffers, so that the caller's state is not donated."""
    logs = jax.eval_shape(functools.partial(_reported_epoch, program), state, data, validation)[1]
    recent = {name: jnp.zeros(history.ROWS, log.dtype) for name, log in logs.items()}
    best = None
    if program.patience is not None:
        cost = jnp.zeros((), logs["validation_cost"].dtype)  # not infinity, which `jax.debug_infs` refuses
        best = Best(state.params, state.opt_state, state.step, cost, waited=jnp.zeros((), jnp.int32))
    carry = Carry(state, recent, jnp.zeros((), jnp.int32), jnp.asarray(True), best)
    return _constrain(jax.tree.map(jnp.copy, carry), data)


@compiled_program(donate_argnums=0)
def run_epochs(program: Program, carry: Carry, data: Examples, validation: Examples | None, until: Array) -> Carry:
    """Run whole epochs up to `until`, or fewer if early stopping ends the training. The given carry is donated.

    `until` is an argument, so one compilation serves any number of epochs. One call may run `history.ROWS` epochs.
    Finiteness is checked once, at the end: a non-finite cost stays in the history, and a non-finite gradient makes the
    parameters non-finite in every later step.
    """

    def continues(carry: Carry) -> Array:
        in_time = carry.epoch < until
        return in_time if carry.best is None else in_time & has_patience(program, carry.best)

    def body(carry: Carry) -> Carry:
        state, logs = _reported_epoch(program, carry.state, data, validation)
        return _constrain(_record(carry, state, logs), data)

    return _constrain(_check_finite(jax.lax.while_loop(continues, body, carry)), data)


def steps_per_epoch(program: Program, data: Examples) -> int:
    """The number of steps of an epoch."""
    return -(-rows.num_examples(data) // program.batch_size)


@compiled_program()
def allocate_step_logs(program: Program, state: TrainState, data: Examples) -> PyTree:
    """Zeros for what the steps of an epoch report: (weight, logs), each (steps,)."""
    steps = steps_per_epoch(program, data)
    batch = tuple(array[: program.batch_size] for array in rows.all_rows(data))
    _, out = jax.eval_shape(logging_step(program), state, batch)
    return jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape), leaf.dtype), out)


@compiled_program(donate_argnums=(0, 1))
def run_steps(program: Program, state: TrainState, outs: PyTree, data: Examples, position: Array, until: Array):
    """Run the steps position..until-1 of an epoch. The given state and outs are donated.

    Returns: the state, outs, and whether all costs and parameters are finite.
    """
    state, outs = run_part_of_epoch(logging_step(program), program.batch_size, state, outs, data, position, until)
    state = rows.constrain_tree(data, state, state.params)
    return state, outs, _all_finite(state, outs)


def _all_finite(state: TrainState, outs: PyTree) -> Bool[Array, ""]:
    _, logs = outs
    return jnp.all(jnp.isfinite(logs["cost"])) & all_true(finite_leaves(state.params))


@compiled_program()
def run_chunk(program: Program, state: TrainState, outs: PyTree, chunk: Chunk, position: Array, until: Array):
    """`run_steps` for the steps position..until-1 of a chunk. The given state is not donated."""
    state, outs = run_part_of_chunk(logging_step(program), state, outs, chunk, position, until)
    return state, outs, _all_finite(state, outs)


@compiled_program(donate_argnums=0)
def end_epoch(program: Program, carry: Carry, outs: PyTree, data: Examples, validation: Examples | None) -> Carry:
    """Return the carry after an epoch whose last step produced carry.state. The given carry is donated. The body runs
    in a one-iteration loop so that its rounding equals that of `run_epochs`: XLA hoists loop-invariant operations, and
    rounds the same operations differently outside a loop (jax 0.10, CPU).
    """
    until = carry.epoch + 1

    def body(carry: Carry) -> Carry:
        state, logs = _report(program, carry.state, outs, data, validation)
        return _constrain(_record(carry, state, logs), data)

    return _constrain(_check_finite(jax.lax.while_loop(lambda carry: carry.epoch < until, body, carry)), data)


@compiled_program()
def copy_state(program: Program, state: TrainState, data: Examples) -> TrainState:
    """A copy of the state for use outside of the training: own buffers, and calibrated population statistics."""
    params = calibrate(program.network, rows.split_params(data, state.params), rows.inputs_with_weight(data))
    return rows.constrain_tree(data, jax.tree.map(jnp.copy, state._replace(params=params)), params)
