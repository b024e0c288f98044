"""A call of fit after its arguments are checked, and what of it is due when."""

from collections.abc import Callable
from signal import Signals
from typing import NamedTuple

from fnn.sharding.layout import Layout
from fnn.sharding.rows import Examples
from fnn.training import programs
from fnn.training.callbacks import Callback
from fnn.training.history import ROWS
from fnn.training.reporter import Reporter
from fnn.training.resume import CheckpointOptions, LoopState


class Training(NamedTuple):
    """A call of fit after its arguments are checked.

    saving          None without checkpoints
    report          what shows progress
    report_every    epochs between two reports; None if nothing is reported
    callbacks       functions to call, perhaps none
    callback_every  epochs between two calls of the callbacks; None if no process has any
    signalled       () -> the signal that arrived, if one did
    sharding        the layout that the caller gave
    streams         whether `data` stands for examples that are streamed: zeros
    """

    program: programs.Program
    data: Examples
    validation: Examples | None
    epochs: int
    saving: CheckpointOptions | None
    report: Reporter
    report_every: int | None
    callbacks: tuple[Callback, ...]
    callback_every: int | None
    signalled: Callable[[], Signals | None]
    sharding: Layout | None = None
    streams: bool = False


def should_continue(training: Training, loop_state: LoopState) -> bool:
    """Return True if epochs remain and early stopping has not ended the run."""
    best = loop_state.carry.best
    return int(loop_state.carry.epoch) < training.epochs and (
        best is None or bool(programs.has_patience(training.program, best))
    )


def checkpoint_is_due(saving: CheckpointOptions, loop_state: LoopState) -> bool:
    """Return True if a checkpoint is due by the number of steps, or of epochs."""
    carry = loop_state.carry
    by_steps = saving.every_steps is not None and int(carry.state.step) % saving.every_steps == 0
    return by_steps or (loop_state.position == 0 and int(carry.epoch) % saving.every == 0)


def steps_to_checkpoint(training: Training, carry: programs.Carry) -> int | None:
    """The number of steps until a checkpoint of `checkpoint_every_steps` is due; None without that option."""
    every = None if training.saving is None else training.saving.every_steps
    return None if every is None else every - int(carry.state.step) % every


def steps_are_due(training: Training, loop_state: LoopState) -> bool:
    """Return True if the next call must run part of an epoch: a checkpoint is due inside it, or the run resumed inside
    it.
    """
    inside = training.saving is not None and training.saving.every_steps is not None
    return loop_state.position > 0 or (inside and programs.steps_per_epoch(training.program, training.data) > 1)


def next_stop(training: Training, carry: programs.Carry, max_epochs: int) -> int:
    """The epoch up to which the next call runs: at most `max_epochs` more, or to the next report or checkpoint."""
    epoch, saving = int(carry.epoch), training.saving
    until = min(training.epochs, epoch + min(max_epochs, ROWS))
    for every in (training.report_every, training.callback_every):
        until = until if every is None else min(until, epoch - epoch % every + every)
    if saving is not None:
        until = min(until, epoch - epoch % saving.every + saving.every)
    # not None only if an epoch has a single step, because `steps_are_due` handles all other cases
    to_save = steps_to_checkpoint(training, carry)
    return until if to_save is None else min(until, epoch + to_save)
