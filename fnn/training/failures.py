"""Where a training stopped being finite: the epoch, the step, and the first leaf.

A run looks at its costs and its parameters once a call of a compiled program, which costs next to nothing.
Only when something was not finite is the way there repeated, from a copy of the carry a few seconds old, with a look
at the cost, the gradient and the parameters of every step.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fnn.data.prefetch import Chunk
from fnn.optimizers import apply_updates
from fnn.sharding.rows import Examples
from fnn.training import programs
from fnn.training.partial_epoch import run_part_of_chunk, run_part_of_epoch
from fnn.training.step import Step, as_transformation
from fnn.types import GradientTransformation, Params, TrainState


class Snapshot(NamedTuple):
    """A carry that nothing donates, and how many steps of its epoch lie behind it."""

    carry: programs.Carry
    position: int


class _Watched(NamedTuple):
    """An optimizer's state, and whether the last step's cost, gradient and new parameters were finite, by leaf."""

    opt_state: Any
    cost: Array
    gradient: PyTree
    params: PyTree


@jax.jit
def _copy(carry: programs.Carry) -> programs.Carry:
    return jax.tree.map(jnp.copy, carry)


def snapshot(carry: programs.Carry, position: int) -> Snapshot:
    """A copy to come back to."""
    return Snapshot(_copy(carry), position)


def _watched(optimizer: GradientTransformation) -> GradientTransformation:
    """The optimizer with a `_Watched` for its state: it is given cost and gradient of every step."""
    inner = as_transformation("fit", optimizer)

    def update(gradients: Params, state: _Watched, params: Params, **extra: Any) -> tuple[Params, _Watched]:
        updates, opt_state = inner.update(gradients, state.opt_state, params, **extra)
        after = programs.finite_leaves(apply_updates(params, updates))
        return updates, _Watched(opt_state, jnp.isfinite(extra["value"]), programs.finite_leaves(gradients), after)

    return GradientTransformation(inner.init, update)


def _watching(program: programs.Program, state: TrainState) -> tuple[Step, TrainState, Callable[[TrainState], Array]]:
    """A step and a state whose opt_state is a `_Watched`, and whether all was finite so far."""
    good = jax.tree.map(lambda leaf: jnp.asarray(True), state.params)
    watched = state._replace(opt_state=_Watched(state.opt_state, jnp.asarray(True), good, good))
    program = program._replace(optimizer=_watched(program.optimizer), metrics=())
    step = programs.logging_step(program)
    silent = lambda state, batch: (step(state, batch)[0], ())
    return silent, watched, _is_finite


def _is_finite(state: TrainState) -> Array:
    """Whether everything that the steps up to this state computed is finite."""
    watched = state.opt_state
    return programs.all_true((watched.cost, watched.gradient, watched.params))


@functools.partial(jax.jit, static_argnums=0)
def _watched_epoch(program: programs.Program, state: TrainState, data: Examples, position: Array) -> TrainState:
    """The rest of an epoch, up to its first step of which something is not finite; opt_state is a `_Watched`."""
    step, state, goes_on = _watching(program, state)
    until = jnp.int32(programs.steps_per_epoch(program, data))
    return run_part_of_epoch(step, program.batch_size, state, (), data, position, until, goes_on)[0]


@functools.partial(jax.jit, static_argnums=0)
def _watched_chunk(
    program: programs.Program, state: TrainState, chunk: Chunk, position: Array, until: Array
) -> TrainState:
    """The same for a part of a chunk."""
    step, state, goes_on = _watching(program, state)
    return run_part_of_chunk(step, state, (), chunk, position, until, goes_on)[0]


def _what(flags: _Watched) -> str:
    """The first that is not finite, cost before gradient before parameters, and how many more there are."""

    def bad(tree: PyTree, words: str) -> list[str]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, flag in leaves if not flag]
        return [f"{words} params{'.' * bool(name)}{name}" for name in names]

    found = bad(flags.gradient, "the gradient of") or bad(flags.params, "the new")
    if len(found) > 1:
        found[0] += f" (and {len(found) - 1} more of {len(jax.tree.leaves(flags.params))} leaves)"
    return " and ".join(["the cost"] * (not flags.cost) + found[:1])


def locate_failure(
    program: programs.Program, start: Snapshot, data: Examples, validation: Examples | None, good: int, until: int
) -> str | None:
    """Epoch, step and leaf in words, for what went wrong after the first `good` epochs and before the end of `until`.

    None if every step of these epochs is finite when they are repeated: then the validation cost is what was not.
    """
    carry, position = start.carry, start.position
    if position == 0 and good > int(carry.epoch):
        carry = programs.run_epochs(program, _copy(carry), data, validation, jnp.int32(good))
    state, steps = carry.state, programs.steps_per_epoch(program, data)
    for epoch in range(int(carry.epoch) + 1, until + 1):
        begun = int(state.step) - position
        state = _watched_epoch(program, state, data, jnp.int32(position))
        if not _is_finite(state):
            return _where(state, epoch, begun, steps)
        state, position = state._replace(opt_state=state.opt_state.opt_state), 0
    return None


def locate_failure_in_chunk(
    program: programs.Program, state: TrainState, chunk: Chunk, part: range, epoch: int, begun: int, steps: int | None
) -> str | None:
    """The same for this part of a chunk's steps, which begins at this state, in an epoch begun after `begun` steps."""
    state = _watched_chunk(program, state, chunk, jnp.int32(part.start), jnp.int32(part.stop))
    return None if _is_finite(state) else _where(state, epoch, begun, steps)


def _where(state: TrainState, epoch: int, begun: int, steps: int | None) -> str:
    """Epoch, step and leaf, of the state after the step that was not finite."""
    where = f"epoch {epoch}, step {int(state.step) - begun}" + (f" of {steps}" if steps else "")
    where += f" (step {int(state.step)} in all)" if begun else ""
    return f"{where}: {_what(state.opt_state)}"
