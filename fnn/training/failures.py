"""Finding where a training stopped being finite: the epoch, the step, and the first leaf.

Each call of a compiled program checks the costs and the parameters once, which takes negligible time. If something is
not finite, the steps are repeated from a snapshot, a copy of the carry that is a few seconds old. The repetition
checks cost, gradient and parameters in every step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fnn.data.prefetch import Chunk
from fnn.optimizers import apply_updates
from fnn.sharding.rows import Examples
from fnn.training import programs
from fnn.training.compiled import compiled
from fnn.training.epoch import compiled_program
from fnn.training.partial_epoch import run_part_of_chunk, run_part_of_epoch
from fnn.training.step import Step, as_transformation
from fnn.types import GradientTransformation, Params, TrainState


class Snapshot(NamedTuple):
    """A carry that is never donated, and the number of steps done in its epoch."""

    carry: programs.Carry
    position: int


class _Checked(NamedTuple):
    """An optimizer's state, and for each leaf whether the last step's cost, gradient and parameters are finite."""

    opt_state: Any
    cost: Array
    gradient: PyTree
    params: PyTree


@compiled()
def _copy(carry: programs.Carry) -> programs.Carry:
    return jax.tree.map(jnp.copy, carry)


def snapshot(carry: programs.Carry, position: int) -> Snapshot:
    """Copy the carry, to repeat the steps after it later."""
    return Snapshot(_copy(carry), position)


def _checking_optimizer(optimizer: GradientTransformation) -> GradientTransformation:
    """The optimizer with a `_Checked` as its state. Its update receives the cost and the gradient of every step."""
    inner = as_transformation("fit", optimizer)

    def update(gradients: Params, state: _Checked, params: Params, **extra: Any) -> tuple[Params, _Checked]:
        updates, opt_state = inner.update(gradients, state.opt_state, params, **extra)
        after = programs.finite_leaves(apply_updates(params, updates))
        return updates, _Checked(opt_state, jnp.isfinite(extra["value"]), programs.finite_leaves(gradients), after)

    return GradientTransformation(inner.init, update)


def _checking_step(program: programs.Program, state: TrainState) -> tuple[Step, TrainState]:
    """A step that checks what it computes and reports nothing, and the state with a `_Checked` to start from."""
    finite = jax.tree.map(lambda leaf: jnp.asarray(True), state.params)
    state = state._replace(opt_state=_Checked(state.opt_state, jnp.asarray(True), finite, finite))
    program = program._replace(optimizer=_checking_optimizer(program.optimizer), metrics=())
    step = programs.logging_step(program)
    return lambda state, batch: (step(state, batch)[0], ()), state


def _is_finite(state: TrainState) -> Array:
    """Whether everything that the last step before this state computed is finite."""
    checked = state.opt_state
    return programs.all_true((checked.cost, checked.gradient, checked.params))


@compiled_program()
def _check_epoch(program: programs.Program, state: TrainState, data: Examples, position: Array) -> TrainState:
    """Run the rest of an epoch, or up to its first step that is not finite. The result's opt_state is a `_Checked`."""
    step, state = _checking_step(program, state)
    until = jnp.int32(programs.steps_per_epoch(program, data))
    return run_part_of_epoch(step, program.batch_size, state, (), data, position, until, _is_finite)[0]


@compiled_program()
def _check_chunk(
    program: programs.Program, state: TrainState, chunk: Chunk, position: Array, until: Array
) -> TrainState:
    """Run the steps position..until-1 of a chunk, or up to the first that is not finite; see `_check_epoch`."""
    step, state = _checking_step(program, state)
    return run_part_of_chunk(step, state, (), chunk, position, until, _is_finite)[0]


def _describe_leaves(checked: _Checked) -> str:
    """The first leaf that is not finite (cost, then gradient, then parameters), and how many more there are."""

    def not_finite(tree: PyTree, prefix: str) -> list[str]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, finite in leaves if not finite]
        return [f"{prefix} params{'.' * bool(name)}{name}" for name in names]

    names = not_finite(checked.gradient, "the gradient of") or not_finite(checked.params, "the new")
    if len(names) > 1:
        names[0] += f" (and {len(names) - 1} more of {len(jax.tree.leaves(checked.params))} leaves)"
    return " and ".join(["the cost"] * (not checked.cost) + names[:1])


def locate_failure(
    program: programs.Program,
    start: Snapshot,
    data: Examples,
    validation: Examples | None,
    finite_epochs: int,
    last_epoch: int,
) -> str | None:
    """Describe the first step that is not finite: epoch, step and leaf.

    Args:
      program: the program of the training.
      start: a snapshot from before the failure.
      data: the training data.
      validation: the validation data, or None.
      finite_epochs: number of epochs at the start that are known to be finite.
      last_epoch: number of the epoch in which the failure showed.

    Returns:
      The description; None if all steps are finite when they are repeated, so only the validation cost was not.
    """
    carry, position = start.carry, start.position
    if position == 0 and finite_epochs > int(carry.epoch):
        carry = programs.run_epochs(program, _copy(carry), data, validation, jnp.int32(finite_epochs))
    state, steps = carry.state, programs.steps_per_epoch(program, data)
    for epoch in range(int(carry.epoch) + 1, last_epoch + 1):
        epoch_start = int(state.step) - position
        state = _check_epoch(program, state, data, jnp.int32(position))
        if not _is_finite(state):
            return _describe_failure(state, epoch, epoch_start, steps)
        state, position = state._replace(opt_state=state.opt_state.opt_state), 0
    return None


def locate_failure_in_chunk(
    program: programs.Program,
    state: TrainState,
    chunk: Chunk,
    part: range,
    epoch: int,
    epoch_start: int,
    steps: int | None,
) -> str | None:
    """Describe the first step of a chunk that is not finite, as `locate_failure` does.

    Args:
      program: the program of the training.
      state: the state before the first of these steps.
      chunk: the chunk.
      part: the positions of the steps in the chunk.
      epoch: number of the epoch, from 1.
      epoch_start: number of steps before the epoch.
      steps: number of steps of the epoch, if it is known.
    """
    state = _check_chunk(program, state, chunk, jnp.int32(part.start), jnp.int32(part.stop))
    return None if _is_finite(state) else _describe_failure(state, epoch, epoch_start, steps)


def _describe_failure(state: TrainState, epoch: int, epoch_start: int, steps: int | None) -> str:
    """Epoch, step and leaf in words, from the state after the step that is not finite."""
    step = int(state.step)
    where = f"epoch {epoch}, step {step - epoch_start}" + (f" of {steps}" if steps else "")
    where += f" (step {step} in all)" if epoch_start else ""
    return f"{where}: {_describe_leaves(state.opt_state)}"
