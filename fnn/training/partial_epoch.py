"""Part of an epoch: the steps between two positions, so that a training can stop and resume inside an epoch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fnn.data.order import epoch_order
from fnn.data.prefetch import Chunk
from fnn.sharding import rows
from fnn.sharding.rows import Examples
from fnn.training.epoch import constrain_step
from fnn.training.step import Step
from fnn.types import Batch, TrainState


def run_part_of_epoch(
    step: Step,
    batch_size: int,
    state: TrainState,
    outs: PyTree,
    data: Examples,
    position: Array,
    until: Array,
    condition: Callable[[TrainState], Array | bool] = lambda state: True,
) -> tuple[TrainState, PyTree]:
    """Run the steps position..until-1 of an epoch while `condition` holds, and write their results into `outs`.

    `outs` has leaves (steps, …), one row per step of the epoch.
    """
    size, step = rows.num_examples(data), constrain_step(step, data)
    epoch_start = state.step - position
    if batch_size == size:  # one batch of all examples is not shuffled
        rest = lambda: rows.all_rows(data)
        return run_batches(step, None, rest, 0, state, outs, epoch_start, until, condition)
    full, last = epoch_order(state.key, epoch_start, size, batch_size)
    batch, rest = lambda i: rows.take(data, full[i]), lambda: rows.take(data, last)
    return run_batches(step, batch, rest if last.size else None, len(full), state, outs, epoch_start, until, condition)


def run_part_of_chunk(
    step: Step,
    state: TrainState,
    outs: PyTree,
    chunk: Chunk,
    position: Array,
    until: Array,
    condition: Callable[[TrainState], Array | bool] = lambda state: True,
) -> tuple[TrainState, PyTree]:
    """Run the steps position..until-1 of a chunk while `condition` holds, and write their results into `outs`."""
    step, start = constrain_step(step, chunk.data), state.step - position

    def batch(i: Array) -> Batch:
        data = jax.tree.map(lambda array: array[i], chunk.data)
        return rows.all_rows(data) if chunk.columns is None else rows.take(data, chunk.columns[i])

    rest = lambda: jax.tree.map(lambda array: array[chunk.rest], batch(chunk.batches))
    last = rest if chunk.rest.size else None
    return run_batches(step, batch, last, chunk.batches, state, outs, start, until, condition)


def run_batches(
    step: Step,
    batch: Callable[[Array], Batch] | None,
    rest: Callable[[], Batch] | None,
    count: Array | int,
    state: TrainState,
    outs: PyTree,
    start: Array,
    until: Array,
    condition: Callable[[TrainState], Array | bool] = lambda state: True,
) -> tuple[TrainState, PyTree]:
    """Run the steps state.step - start to until - 1: on the `count` full batches, then on the rest, if there is one.

    Step number start + i uses `batch(i)`, and writes its results to outs[i].
    """

    def run_one(examples: Batch, i: Array, state: TrainState, outs: PyTree) -> tuple[TrainState, PyTree]:
        state, out = step(state, examples)
        return state, jax.tree.map(lambda column, value: column.at[i].set(value), outs, out)

    def continues(carry: tuple[TrainState, PyTree]) -> Array:
        state, _ = carry
        i = state.step - start
        return (i < jnp.minimum(until, count)) & condition(state)

    if batch is not None:
        body = lambda carry: run_one(batch(carry[0].step - start), carry[0].step - start, *carry)
        state, outs = jax.lax.while_loop(continues, body, (state, outs))
    if rest is not None:
        i = state.step - start
        due = (i == count) & (i < until) & condition(state)
        state, outs = jax.lax.cond(due, lambda s, o: run_one(rest(), i, s, o), lambda s, o: (s, o), state, outs)
    return state, outs
