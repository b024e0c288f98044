"""The host's loop of fit: call a compiled program, check that all is finite, then save and report what is due."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, Signals

import numpy as np
from jaxtyping import PyTree

from fnn.sharding import agreement
from fnn.sharding.placement import to_user_mesh
from fnn.sharding.rows import Examples
from fnn.training import failures, programs, signals
from fnn.training.callbacks import call_all
from fnn.training.due import Training, checkpoint_is_due, next_stop, should_continue, steps_are_due, steps_to_checkpoint
from fnn.training.history import append, first_rows, recent_rows
from fnn.training.memory import peak_note
from fnn.training.progress import early_stopping_note
from fnn.training.resume import CheckpointOptions, LoopState, find_checkpoint, save_checkpoint
from fnn.types import FitResult, TrainState

# the number of epochs per call is doubled until a call takes this long; longer calls would delay Ctrl-C
_CALL_SECONDS = 0.5
# age at which the snapshot is renewed; after a failure, at most this many seconds of training (or one call) are
# repeated
_SNAPSHOT_SECONDS = 10.0


def run_loop(training: Training, state: TrainState) -> LoopState:
    """Train from this state, or from the checkpoint to resume from, and return where the training ended."""
    step_logs = lambda _: programs.allocate_step_logs(training.program, state, training.data)
    loop_state, resumed = start_or_resume(training, state, step_logs)
    handle_signal(training, loop_state, training.data)
    snapshot = None if resumed is None else failures.snapshot(loop_state.carry, loop_state.position)
    snapshot_time, max_epochs, stopped, late = time.monotonic(), 1, False, False
    while should_continue(training, loop_state) and not stopped:
        if late:
            snapshot, snapshot_time = failures.snapshot(loop_state.carry, loop_state.position), time.monotonic()
        epoch_before, started = int(loop_state.carry.epoch), time.perf_counter()
        if steps_are_due(training, loop_state):
            loop_state, finite = _run_steps(training, loop_state)
        else:
            until = np.int32(next_stop(training, loop_state.carry, max_epochs))
            carry = programs.run_epochs(training.program, loop_state.carry, training.data, training.validation, until)
            loop_state, finite = after_epochs(loop_state, epoch_before, carry), bool(carry.finite)
        if not finite:
            if snapshot is None:
                snapshot = failures.Snapshot(_first_carry(training, state), 0)
            raise FloatingPointError(_describe_failure(training, snapshot, loop_state, epoch_before))
        quick, late = was_short(started), time.monotonic() - snapshot_time > _SNAPSHOT_SECONDS
        quick, late = agreement.all_max(quick, late)  # the clocks of the processes differ
        max_epochs *= 1 + quick
        stopped = save_and_report(training, loop_state, training.data)
    return loop_state


def after_epochs(loop_state: LoopState, epoch_before: int, carry: programs.Carry) -> LoopState:
    """Where the training is after a program that ended the epochs after `epoch_before`: their rows are appended."""
    rows = recent_rows(carry.recent, epoch_before, int(carry.epoch))
    return LoopState(carry, append(loop_state.history, epoch_before, rows))


def was_short(started: float) -> bool:
    """Return True if a call that started at this time was short, so the next call may run more epochs or steps."""
    return time.perf_counter() - started < _CALL_SECONDS


def _first_carry(training: Training, state: TrainState) -> programs.Carry:
    return programs.init_carry(training.program, state, training.data, training.validation)


def start_or_resume(
    training: Training, state: TrainState, step_logs: Callable[[int], PyTree]
) -> tuple[LoopState, Path | None]:
    """Return where to start: from the given state, or from the newest good checkpoint, whose path is then returned.

    `step_logs(n)` returns a tree with the shapes of the logs of n steps, which `find_checkpoint` needs.
    """
    carry = _first_carry(training, state)
    start = LoopState(carry, recent_rows(carry.recent, 0, 0))
    if training.saving is None:
        return start, None
    loop_state, path = find_checkpoint(training.saving, start, step_logs, training.epochs) or (start, None)
    training.saving.saves.began(int(loop_state.carry.state.step), path)
    if path is not None:
        training.report.note(f"resuming from {path}, after epoch {int(loop_state.carry.epoch)}")
    return loop_state, path


def save_and_report(training: Training, loop_state: LoopState, data: Examples) -> bool:
    """Save and report if that is due, and call the callback. Raise if a signal arrived.

    Returns: whether the callback ended the training.
    """
    saving = training.saving
    epoch, epoch_ended, stopped = int(loop_state.carry.epoch), loop_state.position == 0, False
    last = epoch_ended and not should_continue(training, loop_state)
    if saving is not None and (last or checkpoint_is_due(saving, loop_state)):
        save_checkpoint(saving, loop_state)
    is_due = lambda every: epoch_ended and every is not None and (epoch % every == 0 or last)
    logs = {name: float(column[epoch - 1]) for name, column in loop_state.history.items()} if epoch_ended else {}
    if is_due(training.report_every):
        training.report.line(epoch, logs)
    interrupt = None
    if is_due(training.callback_every):
        state = programs.copy_state(training.program, loop_state.carry.state, data)
        stopped, interrupt = call_all(training.callbacks, training.sharding, epoch, logs, state)
    training.report.advance(epoch)
    if stopped and saving is not None:
        save_checkpoint(saving, loop_state)
    handle_signal(training, loop_state, data, interrupt)
    return stopped


def finish(training: Training, loop_state: LoopState) -> None:
    """Report which state early stopping returns, and how much memory the devices have used; wait for the last save."""
    carry, program = loop_state.carry, training.program
    if program.patience is not None:
        costs = first_rows(loop_state.history, int(carry.epoch))["validation_cost"]
        training.report.note(early_stopping_note(costs, training.epochs, program.patience))
    if used := peak_note(carry.epoch):
        training.report.note(used)
    if training.saving is not None:
        training.saving.saves.wait()


def handle_signal(
    training: Training, loop_state: LoopState, data: Examples, interrupt: KeyboardInterrupt | None = None
) -> None:
    """If a signal arrived, save, wait until that is durable, and raise.

    A KeyboardInterrupt that a callback raised in any process is a signal, too. The exception has the result so far.
    """
    (number,) = agreement.all_max(training.signalled() or (0 if interrupt is None else SIGINT))
    if not number:
        return
    saved = None
    if training.saving is not None:
        save_checkpoint(training.saving, loop_state)
        training.saving.saves.wait()
        saved = training.saving.saves.newest
    received, carry = Signals(number), loop_state.carry
    unsaved = "because checkpoint_dir was not given" if training.saving is None else "because it had not begun"
    message = _stop_message(received, int(carry.epoch), int(carry.state.step), saved, unsaved)
    if agreement.is_main_process():
        print(message, file=sys.stderr, flush=True)
    raise signals.exception_for(received, message, result(training, loop_state, data)) from interrupt


def result(training: Training, loop_state: LoopState, data: Examples) -> FitResult:
    """The best state with early stopping, else the last one, calibrated on `data`; and the history of the epochs run.

    A stream that is interrupted inside an epoch has no data at hand. Its state is not calibrated.
    """
    carry, program = loop_state.carry, training.program
    state, best = carry.state, carry.best
    if best is not None:
        state = TrainState(best.params, best.opt_state, best.step, state.key)
    elif program.network.calibrate is not None and not (training.streams and data is training.data):
        state = programs.copy_state(program, state, data)
    history = first_rows(loop_state.history, int(carry.epoch))
    return FitResult(state if training.sharding is None else to_user_mesh(training.sharding, state), history)


def _run_steps(training: Training, loop_state: LoopState) -> tuple[LoopState, bool]:
    """Run the steps of an epoch up to the next checkpoint or its end. Returns also whether all is finite."""
    program, data, carry = training.program, training.data, loop_state.carry
    steps, to_save = programs.steps_per_epoch(program, data), steps_to_checkpoint(training, carry)
    outs = programs.allocate_step_logs(program, carry.state, data) if loop_state.position == 0 else loop_state.step_logs
    until = steps if to_save is None else min(steps, loop_state.position + to_save)
    part = np.int32(loop_state.position), np.int32(until)
    state, outs, finite = programs.run_steps(program, carry.state, outs, data, *part)
    carry = carry._replace(state=state)
    if until < steps:
        return LoopState(carry, loop_state.history, until, outs), bool(finite)
    epoch_before = int(carry.epoch)
    carry = programs.end_epoch(program, carry, outs, data, training.validation)
    return after_epochs(loop_state, epoch_before, carry), bool(finite) and bool(carry.finite)


def _describe_failure(training: Training, snapshot: failures.Snapshot, loop_state: LoopState, epoch_before: int) -> str:
    """Return the error message for a call that started after epoch `epoch_before` and produced a non-finite value."""
    epoch = int(loop_state.carry.epoch)
    columns = first_rows(loop_state.history, epoch)
    costs = {name: columns[name] for name in ("cost", "validation_cost") if name in columns}
    bad = ~np.logical_and.reduce([np.isfinite(column) for column in costs.values()])
    good, until = epoch_before, epoch + (loop_state.position > 0)
    if bad.any():
        until = int(np.argmax(bad)) + 1
        good = max(until - 2, 0)  # the step that caused it may be the last one of the epoch before
    training.report.note("not finite: looking for the step")
    where = failures.locate_failure(training.program, snapshot, training.data, training.validation, good, until)
    found = {name: float(column[until - 1]) for name, column in costs.items()} if bad.any() else {}
    return failure_message(training.saving, until, found, where)


def failure_message(saving: CheckpointOptions | None, epoch: int, costs: dict[str, float], where: str | None) -> str:
    """The error: the costs of the epoch that are not finite, where that began, and the last good checkpoint."""
    message = "fit: cost and gradient must be finite"
    if costs:
        got = ", ".join(f"{name} {cost}" for name, cost in costs.items())
        message = f"fit: the cost must be finite, got {got} in epoch {epoch}"
    message += f"; first in {where}" if where else "; when its steps are repeated, everything they compute is finite"
    if saving is not None:
        saved = saving.saves.settle()
        message += f"; the last good checkpoint is {saved}" if saved else "; no checkpoint was saved before"
    return message


def _stop_message(number: Signals, epoch: int, step: int, saved: Path | None, unsaved: str) -> str:
    advice = f"nothing is saved, {unsaved}; the exception has the state so far in `result`"
    if saved is not None:
        advice = f"saved {saved}; to resume, call fit again with checkpoint_dir={str(saved.parent)!r} and resume=True"
    return f"fit: stopped by {number.name} after epoch {epoch}, step {step}; {advice}"
