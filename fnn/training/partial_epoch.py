"""Part of an epoch: the steps between two positions, so that a training can stop and resume inside an epoch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

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
        full, rest = jnp.arange(0).reshape(0, size), jnp.arange(size)
        batch = lambda index: rows.all_rows(data)
    else:
        full, rest = epoch_order(state.key, epoch_start, size, batch_size)
        batch = lambda index: rows.take(data, index)
    return run_batches(step, batch, full, rest, full.shape[0], state, outs, epoch_start, until, condition)


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
    step, batch = constrain_step(step, chunk.data), lambda index: rows.take(chunk.data, index)
    start = state.step - position
    return run_batches(step, batch, chunk.full, chunk.rest, chunk.batches, state, outs, start, until, condition)


def run_batches(
    step: Step,
    batch: Callable[[Array], Batch],
    full: Int[Array, "n batch_size"],
    rest: Int[Array, " rest"],
    count: Array | int,
    state: TrainState,
    outs: PyTree,
    start: Array,
    until: Array,
    condition: Callable[[TrainState], Array | bool] = lambda state: True,
) -> tuple[TrainState, PyTree]:
    """Run the steps state.step - start to until - 1: on the first `count` of the full batches, then on the rest.

    `batch(indices)` returns the examples at these indices. Step number start + i uses full[i], and writes its results
    to outs[i].
    """

    def run_one(index: Array, i: Array, state: TrainState, outs: PyTree) -> tuple[TrainState, PyTree]:
        state, out = step(state, batch(index))
        return state, jax.tree.map(lambda column, value: column.at[i].set(value), outs, out)

    def continues(carry: tuple[TrainState, PyTree]) -> Array:
        state, _ = carry
        i = state.step - start
        return (i < jnp.minimum(until, count)) & condition(state)

    def body(carry: tuple[TrainState, PyTree]) -> tuple[TrainState, PyTree]:
        state, outs = carry
        i = state.step - start
        return run_one(full[i], i, state, outs)

    if full.shape[0]:
        state, outs = jax.lax.while_loop(continues, body, (state, outs))
    if rest.size:
        i = state.step - start
        due = (i == count) & (i < until) & condition(state)
        state, outs = jax.lax.cond(due, lambda s, o: run_one(rest, i, s, o), lambda s, o: (s, o), state, outs)
    return state, outs
