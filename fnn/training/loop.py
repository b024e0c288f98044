"""The host's loop of fit: a dispatch, a look at whether all is finite, then what is due of saving and reporting."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn.sharding import agreement
from fnn.sharding.rows import Examples
from fnn.training import failures, programs, signals
from fnn.training.progress import Reporter
from fnn.training.resume import CheckpointOptions, LoopState, find_checkpoint, save_checkpoint
from fnn.types import TrainState

_DISPATCH_SECONDS = 0.5  # what a dispatch is grown to at least, so that neither overhead nor Ctrl-C takes long
_SNAPSHOT_SECONDS = 10.0  # how much is repeated at most, or a dispatch, to find the step that was not finite

Callback = Callable[[int, dict[str, float], TrainState], bool | None]


class Training(NamedTuple):
    """A call of fit, checked. report_every: None where nothing is to be reported."""

    program: programs.Program
    data: Examples
    validation: Examples | None
    epochs: int
    saving: CheckpointOptions | None
    report: Reporter
    report_every: int | None
    callback: Callback | None
    signalled: Callable[[], Signals | None]


def run_loop(training: Training, state: TrainState) -> programs.Carry:
    """Trains from this state, or from where a checkpoint says, to the end -> the last carry."""
    program, data, validation, epochs, *_ = training
    place, saved = start_or_resume(training, state, lambda _: programs.allocate_step_logs(program, state, data))
    past = None if saved is None else failures.snapshot(*place[:2])
    taken, chunk, stopped, late = time.monotonic(), 1, False, False
    while should_continue(training, place) and not stopped:
        if late:
            past, taken = failures.snapshot(*place[:2]), time.monotonic()
        before, begun = int(place.carry.epoch), time.perf_counter()
        place, finite = _dispatch(training, place, chunk)
        if not finite:
            if past is None:
                past = failures.Snapshot(programs.init_carry(program, epochs, state, data, validation), 0)
            raise FloatingPointError(_failure(training, past, place, before, saved))
        quick, late = was_short(begun), time.monotonic() - taken > _SNAPSHOT_SECONDS
        quick, late = agreement.all_max(quick, late)  # as one of the clocks says, all are to do
        chunk *= 1 + quick
        saved, stopped = save_and_report(training, place, saved, data)
    return place.carry


def was_short(begun: float) -> bool:
    """Whether a dispatch that began then took so little that the next one may do more."""
    return time.perf_counter() - begun < _DISPATCH_SECONDS


def start_or_resume(
    training: Training, state: TrainState, epoch_outs: Callable[[int], PyTree]
) -> tuple[LoopState, Path | None]:
    """Where to begin: at this state, or where the checkpoint says that comes second. `epoch_outs` as in `find`."""
    program, data, validation, epochs, saving, report, *_ = training
    place = LoopState(programs.init_carry(program, epochs, state, data, validation))
    found = None if saving is None else find_checkpoint(saving, place, epoch_outs, epochs)
    if found is None:
        return place, None
    report.note(f"going on from {found[1]}, after epoch {int(found[0].carry.epoch)}")
    return found


def should_continue(training: Training, place: LoopState) -> bool:
    """Whether epochs are left, and patience."""
    best = place.carry.best
    return int(place.carry.epoch) < training.epochs and (
        best is None or bool(programs.has_patience(training.program, best))
    )


def save_and_report(
    training: Training, place: LoopState, saved: Path | None, data: Examples
) -> tuple[Path | None, bool]:
    """What is due here of saving and reporting -> the last checkpoint, and whether the callback ended the training."""
    program, _, _, _, saving, report, report_every, callback, _ = training
    done, ended, stopped = int(place.carry.epoch), place.position == 0, False
    last = ended and not should_continue(training, place)
    current = saving is not None and (last or _due(saving, place))
    if saving is not None and current:
        saved = save_checkpoint(saving, place)
    if ended and report_every is not None and (done % report_every == 0 or last):
        logs = {name: float(np.asarray(column)[done - 1]) for name, column in place.carry.history.items()}
        report.line(done, logs)
        if callback is not None:
            state = programs.copy_state(program, place.carry.state, data)
            with agreement.fail_together("fit"):
                stopped = bool(callback(done, logs, state))
            stopped = bool(agreement.all_max(stopped)[0])
    report.advance(done)
    if stopped and saving is not None and not current:
        saved, current = save_checkpoint(saving, place), True
    handle_signal(training, place, saved, current)
    return saved, stopped


def handle_signal(training: Training, place: LoopState, saved: Path | None, current: bool = False) -> None:
    """Ends the training here if a signal came, saved unless the last checkpoint is `current`."""
    saving, (number,) = training.saving, agreement.all_max(training.signalled() or 0)
    if not number:
        return
    if saving is not None and not current:
        saved = save_checkpoint(saving, place)
    came = Signals(number)
    raise signals.exception_for(came, _farewell(came, int(place.carry.epoch), int(place.carry.state.step), saved))


def _due(saving: CheckpointOptions, place: LoopState) -> bool:
    steps = saving.every_steps is not None and int(place.carry.state.step) % saving.every_steps == 0
    return steps or (place.position == 0 and int(place.carry.epoch) % saving.every == 0)


def _dispatch(training: Training, place: LoopState, chunk: int) -> tuple[LoopState, bool]:
    """One call of a compiled program -> the place after it, and whether all is finite.

    As many epochs as `chunk`, saving and reporting allow; a part of an epoch where checkpoints are due within epochs,
    or to end an epoch that was begun so.
    """
    program, data, validation, epochs, saving, _, report_every, *_ = training
    carry, position, outs = place
    steps, done = programs.steps_per_epoch(program, data), int(carry.epoch)
    every_steps = None if saving is None else saving.every_steps
    to_save = steps if every_steps is None else every_steps - int(carry.state.step) % every_steps
    if position == 0 and (every_steps is None or steps == 1):
        until = min(epochs, done + chunk)
        if report_every is not None:
            until = min(until, done - done % report_every + report_every)
        if saving is not None:
            until = min(until, done - done % saving.every + saving.every)
            until = until if every_steps is None else min(until, done + to_save)
        carry = programs.run_epochs(program, carry, data, validation, jnp.int32(until))
        return LoopState(carry), bool(carry.finite)
    outs = programs.allocate_step_logs(program, carry.state, data) if position == 0 else outs
    until = min(steps, position + to_save)
    args = data, jnp.int32(position), jnp.int32(until)
    state, outs, finite = programs.run_steps(program, carry.state, outs, *args)
    carry = carry._replace(state=state)
    if until < steps:
        return LoopState(carry, until, outs), bool(finite)
    carry = programs.end_epoch(program, carry, outs, data, validation)
    return LoopState(carry), bool(finite) and bool(carry.finite)


def _failure(training: Training, past: failures.Snapshot, place: LoopState, before: int, saved: Path | None) -> str:
    """What was not finite in the dispatch after the first `before` epochs, in words."""
    done = int(place.carry.epoch)
    columns = {name: np.asarray(column)[:done] for name, column in place.carry.history.items()}
    costs = {name: columns[name] for name in ("cost", "validation_cost") if name in columns}
    bad = ~np.logical_and.reduce([np.isfinite(column) for column in costs.values()])
    good, until = before, done + (place.position > 0)
    if bad.any():
        until = int(np.argmax(bad)) + 1
        good = max(until - 2, 0)  # the step that spoiled its cost may be the last one of the epoch before
    training.report.note("not finite: looking for the step")
    where = failures.locate_failure(training.program, past, training.data, training.validation, good, until)
    found = {name: float(column[until - 1]) for name, column in costs.items()} if bad.any() else {}
    return failure(training.saving, until, found, where, saved)


def failure(
    saving: CheckpointOptions | None, epoch: int, costs: dict[str, float], where: str | None, saved: Path | None
) -> str:
    """The message: the costs of the epoch if they are not finite, where that began, and what can be gone back to."""
    message = "fit: cost and gradient must be finite"
    if costs:
        came = ", ".join(f"{name} {cost}" for name, cost in costs.items())
        message = f"fit: the cost must be finite, got {came} in epoch {epoch}"
    message += f"; first in {where}" if where else "; when its steps are repeated, all they compute is finite"
    if saving is not None:
        message += f"; the last good checkpoint is {saved}" if saved else "; no checkpoint was saved before"
    return message


def _farewell(number: Signals, done: int, step: int, saved: Path | None) -> str:
    """What to say on the way out, said."""
    how = "nothing is saved: checkpoint_dir was not given"
    if saved is not None:
        how = f"saved {saved}; to go on, call fit again with checkpoint_dir={str(saved.parent)!r} and resume=True"
    message = f"fit: stopped by {number.name} after epoch {done}, step {step}; {how}"
    if agreement.is_main_process():
        print(message, file=sys.stderr, flush=True)
    return message
