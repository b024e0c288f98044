"""The host's loop of fit for data larger than the device: it trains on one chunk while the next is read and sent.

Steps, history, early stopping and checkpoints are those of `fnn.training.loop`.
"""

import functools
import time
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data import prefetch, process_shares
from fnn.data.prefetch import Place
from fnn.data.streams import Source
from fnn.data.values import Validate
from fnn.sharding import agreement, rows, tiles
from fnn.sharding.rows import Examples
from fnn.sharding.shares import Where
from fnn.training import failures, programs
from fnn.training.calibration_inputs import inputs_of, put_inputs
from fnn.training.due import Training, should_continue, steps_to_checkpoint
from fnn.training.feed import Feed, feed_of
from fnn.training.history import append
from fnn.training.loop import (
    after_epochs,
    failure_message,
    handle_signal,
    save_and_report,
    start_or_resume,
    was_short,
)
from fnn.training.resume import LoopState
from fnn.types import PRNGKey, TrainState


def run_stream_loop(training: Training, source: Source, state: TrainState) -> tuple[LoopState, Examples]:
    """Train from a source of chunks. `training.data` is one batch of zeros.

    Returns: where the training ended, and the examples that calibrate batch norm.
    """
    program, batch_size, layout = training.program, training.program.batch_size, rows.layout_of(training.data)
    like = programs.allocate_step_logs(program, state, training.data)
    zeros = lambda steps: jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape[1:]), leaf.dtype), like)
    loop_state, _ = start_or_resume(training, state, zeros)
    step_logs = jax.tree.map(np.asarray, loop_state.step_logs if loop_state.position else zeros(0))
    feed, key = feed_of(source, layout, batch_size), agreement.local_key(state.key)
    chunks = _chunks(training, feed, source, key, _validate(program, state, training.data), loop_state)
    del state  # the caller's state need not stay on the device
    shared, slots = tiles.tiles_of(layout, batch_size), prefetch.slots(source.steps)
    # of the epoch under way; without any, the network has nothing to calibrate, and it is the batch of zeros
    calibration_data = lambda: training.data if inputs is None else put_inputs(inputs, shared, layout)
    buffer, data, inputs = zeros(slots), training.data, None
    loaded, position, max_steps, stopped = None, 0, 1, False
    waiting = lambda: handle_signal(training, loop_state, data)
    with prefetch.in_background(chunks, waiting) as next_item:
        next_chunk = feed.receive(next_item, lambda: Where(int(loop_state.carry.epoch), loop_state.position))
        if _reads_first_chunk(training, loop_state):
            inputs = inputs_of(next_chunk().host, shared, slots)
            data = data if loop_state.position else calibration_data()
        while should_continue(training, loop_state) and not stopped:
            data = training.data  # calibration data take as much memory as a chunk
            if loaded is None:
                loaded, position = next_chunk(), 0
                if loop_state.position == 0 and program.network.calibrate is not None:
                    inputs = inputs_of(loaded.host, shared, slots)
            started, to_save = time.perf_counter(), steps_to_checkpoint(training, loop_state.carry)
            until = min(loaded.steps, position + max_steps, position + (to_save or loaded.steps))
            part = np.int32(position), np.int32(until)
            state, outs, finite = programs.run_chunk(program, loop_state.carry.state, buffer, loaded.chunk, *part)
            outs = jax.tree.map(lambda leaf, part=slice(position, until): np.asarray(leaf)[part], outs)
            if not finite:
                _, logs = outs
                steps = range(position, until)
                raise FloatingPointError(_failure(training, source.size, loop_state, loaded.chunk, steps, logs["cost"]))
            (short,) = agreement.all_max(was_short(started))  # the clocks of the processes differ
            max_steps = min(2 * max_steps, source.steps) if short else max_steps
            step_logs = append(step_logs, loop_state.position, outs)
            count = loop_state.position + until - position
            outs = jax.tree.map(lambda leaf, count=count: leaf[:count], step_logs)
            position, place = until, prefetch.place_at(loaded.host.places, until * batch_size)
            place = process_shares.saved_place(place, source.shares)
            loop_state = LoopState(loop_state.carry._replace(state=state), loop_state.history, count, outs, place)
            if position == loaded.steps:
                if loaded.host.ends:
                    data = calibration_data()
                    loop_state = _end_epoch(training, loop_state, data)
                    step_logs = jax.tree.map(lambda leaf: leaf[:0], step_logs)
                loaded = None
            stopped = save_and_report(training, loop_state, data)
    return loop_state, data


def _chunks(
    training: Training, feed: Feed, source: Source, key: PRNGKey, validate: Validate, start: LoopState
) -> Generator[Any, None, None]:
    """Yield the chunks from where the training is to its end. Arrays do not change, so their values are validated in
    the first epoch only.

    Epochs are counted from the start of this call. For arrays, those that the given state has already completed are
    added, because they select the shuffle.
    """
    calibrates, position, first = _reads_first_chunk(training, start), start.position, int(start.carry.epoch)
    batch_size, before = training.program.batch_size, 0
    place = process_shares.own_place(start.place, position, batch_size, source.shares)
    if source.size is not None:
        before = (int(start.carry.state.step) - position) // -(-source.size // batch_size) - first
    del start  # its state need not stay on the device

    def cut(epoch: int, place: Place, validate: Validate | None) -> Generator[Any, None, None]:
        elements = source.elements(key, before + epoch, place, validate, training.saving is not None)
        yield from feed.cut(elements, place)

    if calibrates:
        yield feed.keep(next(cut(first - (position == 0), Place(), None)))
    for epoch in range(first, training.epochs):
        chunk = None
        for chunk in cut(epoch, place, validate if epoch == first or source.size is None else None):
            yield feed.send(chunk)
        if chunk is None:
            expected = f"a stream with more than {position * batch_size} rows in epoch {epoch + 1}"
            raise checks.fail("fit", "data", expected, came="its end")
        place, position = Place(), 0


def _validate(program: programs.Program, state: TrainState, data: Examples) -> Validate:
    """A function that raises if the loss cannot have these targets."""
    forward = lambda params, data: program.network.forward(params, rows.all_rows(data)[0])[0]
    shape = jax.eval_shape(forward, state.params, data).shape
    return functools.partial(program.loss.validate or (lambda *_: None), shape)


def _reads_first_chunk(training: Training, loop_state: LoopState) -> bool:
    """Whether the first chunk of an epoch must be read to calibrate: of an epoch that the training resumes inside of,
    or of the last one, if no epoch is left and the final state (not the best one) is to be calibrated.
    """
    over = int(loop_state.carry.epoch) == training.epochs and training.program.patience is None
    return training.program.network.calibrate is not None and (over or loop_state.position > 0)


def _end_epoch(training: Training, loop_state: LoopState, data: Examples) -> LoopState:
    """End an epoch after its last step. The data calibrate batch norm."""
    epoch = int(loop_state.carry.epoch)
    carry = programs.end_epoch(training.program, loop_state.carry, loop_state.step_logs, data, training.validation)
    finite, loop_state = bool(carry.finite), after_epochs(loop_state, epoch, carry)
    if not finite:
        logs = {name: float(column[epoch]) for name, column in loop_state.history.items()}
        costs = {name: logs[name] for name in ("cost", "validation_cost") if name in logs}
        raise FloatingPointError(failure_message(training.saving, epoch + 1, costs, None))
    return loop_state


def _failure(
    training: Training, size: int | None, loop_state: LoopState, chunk: Any, part: range, costs: np.ndarray
) -> str:
    """Return the error message for steps of a chunk that produced a non-finite value."""
    training.report.note("not finite: looking for the step")
    program, state, epoch = training.program, loop_state.carry.state, int(loop_state.carry.epoch)
    begin, steps = int(state.step) - loop_state.position, None if size is None else -(-size // program.batch_size)
    where = failures.locate_failure_in_chunk(program, state, chunk, part, epoch + 1, begin, steps)
    bad = costs[~np.isfinite(costs)]
    return failure_message(training.saving, epoch + 1, {"cost": float(bad[0])} if bad.size else {}, where)
