"""The schedule of a run: how many epochs or steps it makes, on which batches, and after which of them it reports.

The loop over the reports holds a loop over the epochs or steps between two of them, and that the step. Each is compiled
once, however many reports there are and however far apart.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from fnn.data.order import epoch_key
from fnn.dtypes import widest
from fnn.sharding.rows import take
from fnn.training.epoch import epoch
from fnn.training.step import Step
from fnn.types import Batch, PRNGKey, TrainState


class Schedule(NamedTuple):
    """When a run reports, and when it ends.

    Attributes:
      unit: "epoch" or "step", what is counted.
      total: number of units.
      report_at: the units after which the run reports, increasing.
      batch_size: examples per step.
    """

    unit: str
    total: int
    report_at: tuple[int, ...]
    batch_size: int

    def reports_each_epoch(self) -> bool:
        return self.unit == "epoch" and self.report_at == tuple(range(1, self.total + 1))

    def lengths(self) -> list[int]:
        """Return the numbers of units between reports. If the run does not end with a report, the last has none."""
        stops = self.report_at if self.report_at[-1] == self.total else (*self.report_at, self.total)
        return [b - a for a, b in itertools.pairwise((0, *stops))]


class _Cursor(NamedTuple):
    """The place of the next batch of a run that counts steps: in the order of an epoch."""

    order: Int[Array, " n"]
    place: Int[Array, ""]
    drawn: Int[Array, ""]  # number of epochs whose order was drawn


def _start(key: PRNGKey, size: int, batch_size: int) -> _Cursor | None:
    """Return the cursor before the first batch; None if each batch holds all examples, which are not shuffled."""
    if batch_size == size:
        return None
    order = jax.eval_shape(lambda key: jax.random.permutation(key, size), key)
    zero = jnp.zeros((), order.dtype)
    return _Cursor(jnp.zeros(size, order.dtype), zero, zero)


def _next_rows(key: PRNGKey, cursor: _Cursor, batch_size: int) -> tuple[_Cursor, Int[Array, " batch"]]:
    """Return the rows of the next batch. A batch that begins at the end of an epoch ends at the start of the next."""
    order, place, drawn = cursor.order, cursor.place, cursor.drawn
    size = order.shape[0]

    def draw(order: Array) -> tuple[Array, Array]:
        new = jax.random.permutation(epoch_key(key, drawn), size)
        begin = jnp.where(place == 0, size, place)
        return new, jax.lax.dynamic_slice(jnp.concatenate([order, new]), (begin,), (batch_size,))

    def stay(order: Array) -> tuple[Array, Array]:
        return order, jax.lax.dynamic_slice(order, (place,), (batch_size,))

    ends = (place == 0) | (place > size - batch_size)
    order, rows = jax.lax.cond(ends, draw, stay, order)
    return _Cursor(order, (place + batch_size) % size, drawn + ends.astype(drawn.dtype)), rows


def batch_sizes(size: int, batch_size: int) -> np.ndarray:
    """Return the number of examples of each step of an epoch."""
    return np.asarray([min(batch_size, size - start) for start in range(0, size, batch_size)])


def _one_unit(
    schedule: Schedule, step: Step, data: Batch, unroll: int, states: TrainState, cursor: _Cursor | None
) -> tuple[TrainState, _Cursor | None, PyTree]:
    """Make an epoch or a step; returns what its steps log, stacked: (steps, …)."""
    if schedule.unit == "epoch":
        states, out = epoch(step, schedule.batch_size, states, data, unroll)
        return states, cursor, out
    batch = data
    if cursor is not None:
        cursor, rows = _next_rows(states.key, cursor, schedule.batch_size)
        batch = take(data, rows)
    states, out = step(states, batch)
    return states, cursor, jax.tree.map(lambda leaf: leaf[None], out)


def _sum(weight: Array | None, logs: PyTree, sizes: np.ndarray) -> tuple[Array, PyTree]:
    """Return Σ weight and Σ weight·log over the steps of a unit."""

    def of_leaf(leaf: Array) -> Array:
        dtype = widest(leaf, jnp.float32)
        w = jnp.asarray(sizes if weight is None else weight).astype(dtype)
        w = w.reshape(w.shape[:1] + (1,) * (leaf.ndim - w.ndim) + w.shape[1:])
        return jnp.sum(jnp.where(w == 0, 0, w * leaf.astype(dtype)), axis=0)

    dtype = widest(jnp.float32, *jax.tree.leaves(logs))
    total = jnp.asarray(sizes.sum(), dtype) if weight is None else jnp.sum(weight.astype(dtype), axis=0)
    return total, jax.tree.map(of_leaf, logs)


def _mean(sums: tuple[Array, PyTree], shapes: PyTree) -> tuple[Array, PyTree]:
    """Return the sums as what one step with all their weight would log, (1, …)."""
    total, logs = sums

    def of_leaf(leaf: Array, like: Any) -> Array:
        divisor = jnp.where(total == 0, 1, total).astype(leaf.dtype)
        divisor = divisor.reshape((1,) * (leaf.ndim - divisor.ndim) + divisor.shape)  # of all runs, beneath the names
        return (leaf / divisor).astype(like.dtype)[None]

    return total[None], jax.tree.map(of_leaf, logs, shapes)


def run_schedule(
    schedule: Schedule,
    step: Step,
    report: Callable[..., tuple[TrainState, Any, PyTree]],
    states: TrainState,
    best: Any,
    data: Batch,
    unroll: int = 1,
) -> tuple[TrainState, Any, PyTree]:
    """Train, and report at the given times.

    Args:
      schedule: the schedule.
      step: (states, batch) -> states, (weight, logs). The weight is None if it is the number of examples.
      report: (states, best, weight, logs) -> states, best, record. The logs are those of the steps since the last
        report, (steps, …), or their mean, (1, …).
      states: the state of a run; or of many, which share the key.
      best: what `report` carries from report to report, a pytree.
      data: the examples; arrays with one row each.
      unroll: number of steps in an iteration of the loop over the batches of an epoch.

    Returns:
      The states at the end, the last `best`, and the records, stacked along their first axis.
    """
    size, lengths = data[0].shape[0], schedule.lengths()
    one_unit = functools.partial(_one_unit, schedule, step, data, unroll)
    by_epoch, equal = schedule.unit == "epoch", len(set(lengths)) == 1
    sizes = batch_sizes(size, schedule.batch_size) if by_epoch else np.asarray([schedule.batch_size])
    cursor = None if by_epoch else _start(states.key, size, schedule.batch_size)

    def units(states: TrainState, cursor: Any, length: int | Array) -> tuple[TrainState, Any, PyTree]:
        if lengths == [1] * len(lengths):
            return one_unit(states, cursor)
        weight, logs = jax.eval_shape(lambda states, cursor: one_unit(states, cursor)[2], states, cursor)
        shapes = jax.eval_shape(lambda weight, logs: _sum(weight, logs, sizes), weight, logs)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def body(_: Any, carry: Any) -> Any:
            states, cursor, sums = carry
            states, cursor, (weight, logs) = one_unit(states, cursor)
            return states, cursor, jax.tree.map(jnp.add, sums, _sum(weight, logs, sizes))

        states, cursor, sums = jax.lax.fori_loop(0, length, body, (states, cursor, zeros))
        return states, cursor, _mean(sums, logs)

    def segment(carry: Any, length: Array | None) -> Any:
        states, cursor, best = carry
        states, cursor, (weight, logs) = units(states, cursor, lengths[0] if length is None else length)
        weight = jnp.asarray(sizes, widest(jnp.float32, *jax.tree.leaves(logs))) if weight is None else weight
        states, best, record = report(states, best, weight, logs)
        return (states, cursor, best), record

    xs = None if equal else jnp.asarray(lengths)
    (states, _, best), records = jax.lax.scan(segment, (states, cursor, best), xs, length=len(lengths))
    if len(lengths) > len(schedule.report_at):
        records = jax.tree.map(lambda leaf: leaf[:-1], records)
    return states, best, records
