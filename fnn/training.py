"""The host's loop of fit: a dispatch, a look at whether all is finite, then what is due of saving and reporting."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn import failures, interrupts, loop
from fnn.progress import Reporter
from fnn.resume import Place, Saving, find, save
from fnn.types import Batch, TrainState

_DISPATCH_SECONDS = 0.5  # what a dispatch is grown to at least, so that neither overhead nor Ctrl-C takes long
_SNAPSHOT_SECONDS = 10.0  # how much is repeated at most, or a dispatch, to find the step that was not finite

Callback = Callable[[int, dict[str, float], TrainState], bool | None]


class Training(NamedTuple):
    """A call of fit, checked. report_every: None where nothing is to be reported."""

    program: loop.Program
    data: Batch
    validation: Batch | None
    epochs: int
    saving: Saving | None
    report: Reporter
    report_every: int | None
    callback: Callback | None
    signalled: Callable[[], Signals | None]


def train(training: Training, state: TrainState) -> loop.Carry:
    """Trains from this state, or from where a checkpoint says, to the end -> the last carry."""
    program, data, validation, epochs, saving, report, report_every, callback, signalled = training
    place, saved = Place(loop.start(program, epochs, state, data, validation)), None
    if saving is not None:
        found = find(saving, place, lambda: loop.start_epoch(program, state, data), epochs)
        if found is not None:
            place, saved = found
            report.note(f"going on from {saved}, after epoch {int(place.carry.epoch)}")
    past = None if saved is None else failures.snapshot(*place[:2])
    taken, chunk, stopped = time.monotonic(), 1, False
    while int(place.carry.epoch) < epochs and _patient(training, place) and not stopped:
        if time.monotonic() - taken > _SNAPSHOT_SECONDS:
            past, taken = failures.snapshot(*place[:2]), time.monotonic()
        before, begun = int(place.carry.epoch), time.perf_counter()
        place, finite = _dispatch(training, place, chunk)
        done, step, ended = int(place.carry.epoch), int(place.carry.state.step), place.position == 0
        if not finite:
            if past is None:
                past = failures.Snapshot(loop.start(program, epochs, state, data, validation), 0)
            raise FloatingPointError(_failure(training, past, place, before, saved))
        if time.perf_counter() - begun < _DISPATCH_SECONDS:
            chunk *= 2
        last = ended and (done == epochs or not _patient(training, place))
        current = saving is not None and (last or _due(saving, place))
        if saving is not None and current:
            saved = save(saving, place)
        if ended and report_every is not None and (done % report_every == 0 or last):
            logs = {name: float(np.asarray(column)[done - 1]) for name, column in place.carry.history.items()}
            report.line(done, logs)
            if callback is not None:
                stopped = bool(callback(done, logs, loop.copied(program, place.carry.state, data[0])))
        report.advance(done)
        number = signalled()
        if saving is not None and not current and (stopped or number is not None):
            saved = save(saving, place)
        if number is not None:
            raise interrupts.stop(number, _farewell(number, done, step, saved))
    return place.carry


def _patient(training: Training, place: Place) -> bool:
    best = place.carry.best
    return best is None or bool(loop.patient(training.program, best))


def _due(saving: Saving, place: Place) -> bool:
    steps = saving.every_steps is not None and int(place.carry.state.step) % saving.every_steps == 0
    return steps or (place.position == 0 and int(place.carry.epoch) % saving.every == 0)


def _dispatch(training: Training, place: Place, chunk: int) -> tuple[Place, bool]:
    """One call of a compiled program -> the place after it, and whether all is finite.

    As many epochs as `chunk`, saving and reporting allow; a part of an epoch where checkpoints are due within epochs,
    or to end an epoch that was begun so.
    """
    program, data, validation, epochs, saving, _, report_every, *_ = training
    carry, position, outs = place
    steps, done = -(-data[0].shape[0] // program.batch_size), int(carry.epoch)
    every_steps = None if saving is None else saving.every_steps
    to_save = steps if every_steps is None else every_steps - int(carry.state.step) % every_steps
    if position == 0 and (every_steps is None or steps == 1):
        until = min(epochs, done + chunk)
        if report_every is not None:
            until = min(until, done - done % report_every + report_every)
        if saving is not None:
            until = min(until, done - done % saving.every + saving.every)
            until = until if every_steps is None else min(until, done + to_save)
        carry = loop.advance(program, carry, data, validation, jnp.int32(until))
        return Place(carry), bool(carry.finite)
    outs = loop.start_epoch(program, carry.state, data) if position == 0 else outs
    until = min(steps, position + to_save)
    args = data, jnp.int32(position), jnp.int32(until)
    state, outs, finite = loop.advance_steps(program, carry.state, outs, *args)
    carry = carry._replace(state=state)
    if until < steps:
        return Place(carry, until, outs), bool(finite)
    carry = loop.end_epoch(program, carry, outs, data, validation)
    return Place(carry), bool(finite) and bool(carry.finite)


def _failure(training: Training, past: failures.Snapshot, place: Place, before: int, saved: Path | None) -> str:
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
    where = failures.locate(training.program, past, training.data, training.validation, good, until)
    message = "fit: cost and gradient must be finite"
    if bad.any():
        came = ", ".join(f"{name} {column[until - 1]}" for name, column in costs.items())
        message = f"fit: the cost must be finite, got {came} in epoch {until}"
    message += f"; first in {where}" if where else "; when its steps are repeated, all they compute is finite"
    if training.saving is not None:
        message += f"; the last good checkpoint is {saved}" if saved else "; no checkpoint was saved before"
    return message


def _farewell(number: Signals, done: int, step: int, saved: Path | None) -> str:
    """What to say on the way out, said."""
    how = "nothing is saved: checkpoint_dir was not given"
    if saved is not None:
        how = f"saved {saved}; to go on, call fit again with checkpoint_dir={str(saved.parent)!r} and resume=True"
    message = f"fit: stopped by {number.name} after epoch {done}, step {step}; {how}"
    print(message, file=sys.stderr, flush=True)
    return message
