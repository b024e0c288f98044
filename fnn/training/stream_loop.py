"""The host's loop of fit for data larger than the device: it trains on one chunk while the next is read and sent.

Steps, history, early stopping and checkpoints are those of `fnn.training.loop`.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Generator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data import prefetch
from fnn.data.host_rows import Validate
from fnn.data.prefetch import LoadedChunk, Piece
from fnn.data.streams import Source
from fnn.row_weights import cycle_rows_on_host
from fnn.sharding import rows
from fnn.sharding.rows import Examples
from fnn.training import failures, programs
from fnn.training.due import Training, should_continue, steps_to_checkpoint
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
    program = training.program
    like = programs.allocate_step_logs(program, state, training.data)
    zeros = lambda steps: jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape[1:]), leaf.dtype), like)
    loop_state, saved = start_or_resume(training, state, zeros)
    resumed = loop_state.position > 0
    step_logs = jax.tree.map(np.asarray, loop_state.step_logs if resumed else zeros(0))  # of the epoch so far
    seen, size = loop_state.position * program.batch_size, source.size  # examples of the epoch so far, and of all of it
    pieces, validate = _pieces(program, source, loop_state, state.key), _validate(program, state, training.data)
    del state  # the caller's state need not stay on the device
    buffer, data = zeros(prefetch.slots(source.steps)), training.data
    loaded, position, max_steps, stopped = None, 0, 1, False
    chunks = _chunks(training, pieces, source.size, validate, int(loop_state.carry.epoch), loop_state.position)
    with prefetch.prefetch_chunks(chunks, training.signalled) as next_chunk:
        while should_continue(training, loop_state) and not stopped:
            data = training.data  # calibration data take as much memory as a chunk
            if loaded is None:
                loaded, position = next_chunk(), 0
            if loaded is None:
                handle_signal(training, loop_state, saved, data)
                continue
            started = time.perf_counter()
            until = min(loaded.steps, position + max_steps)
            to_save = steps_to_checkpoint(training, loop_state.carry)
            until = until if to_save is None else min(until, position + to_save)
            part = np.int32(position), np.int32(until)
            state, outs, finite = programs.run_chunk(program, loop_state.carry.state, buffer, loaded.chunk, *part)
            outs = jax.tree.map(lambda leaf, part=slice(position, until): np.asarray(leaf)[part], outs)
            if not finite:
                _, logs = outs
                steps = range(position, until)
                message = _describe_failure(training, source, loop_state, loaded, steps, logs["cost"], saved)
                raise FloatingPointError(message)
            if was_short(started):
                max_steps = min(2 * max_steps, source.steps)
            step_logs = append(step_logs, loop_state.position, outs)
            count = loop_state.position + until - position
            outs = jax.tree.map(lambda leaf, count=count: leaf[:count], step_logs)
            carry = loop_state.carry._replace(state=state)
            loop_state = loop_state._replace(carry=carry, position=count, step_logs=outs)
            position, epoch_ended, first = until, until == loaded.steps and loaded.ends, loaded.first
            if position == loaded.steps:
                seen += loaded.rows
                prefetch.free(loaded)
                loaded = None
            if epoch_ended:
                size = _check_size(size, seen, loop_state)
                loop_state, data = _end_epoch(training, loop_state, first, saved)
                step_logs, seen = jax.tree.map(lambda leaf: leaf[:0], step_logs), 0
            saved, stopped = save_and_report(training, loop_state, saved, data)
        if _only_calibrates(training, int(loop_state.carry.epoch)) and data is training.data:
            loaded = next_chunk()
            if loaded is None:
                handle_signal(training, loop_state, saved, data, current=True)
            else:
                data = _calibration_data(training, loaded.first)
    return loop_state, data


def _pieces(
    program: programs.Program, source: Source, loop_state: LoopState, key: PRNGKey
) -> Callable[..., Generator[Piece, None, None]]:
    """Return `source.pieces` with the key bound and epochs counted from the start of this call. For arrays, epochs that
    the given state has already completed are added, because they select the shuffle.
    """
    before = 0
    if source.size is not None:
        epoch_start = int(loop_state.carry.state.step) - loop_state.position
        before = epoch_start // -(-source.size // program.batch_size) - int(loop_state.carry.epoch)
    return lambda epoch, *options: source.pieces(key, before + epoch, *options)


def _validate(program: programs.Program, state: TrainState, data: Examples) -> Validate:
    """A function that raises if the loss cannot have these targets."""
    forward = lambda params, data: program.network.forward(params, rows.all_rows(data)[0])[0]
    shape = jax.eval_shape(forward, state.params, data).shape
    return functools.partial(program.loss.validate or (lambda *_: None), shape)


def _chunks(
    training: Training, pieces: Callable, size: int | None, validate: Validate, first_epoch: int, position: int
) -> Generator[LoadedChunk, None, None]:
    """Yield the chunks, starting at the given step of the given epoch. Arrays do not change, so their values are
    validated in the first epoch only.
    """
    program = training.program
    remainder = 0 if size is None else size % program.batch_size
    if _only_calibrates(training, first_epoch):
        empty = prefetch.Chunk((), *(jnp.zeros(0, jnp.int32) for _ in range(3)))
        yield LoadedChunk(empty, 0, 0, True, _first_inputs(pieces, first_epoch - 1))
    for epoch in range(first_epoch, training.epochs):
        check = validate if epoch == first_epoch or size is None else None
        calibrates = program.network.calibrate is not None
        x = _first_inputs(pieces, epoch) if calibrates and position else None  # only this thread reads
        for piece in pieces(epoch, position, check):
            x = _inputs(piece) if calibrates and x is None else x
            loaded = prefetch.load(piece, program.batch_size, remainder, rows.layout_of(training.data))
            yield loaded._replace(first=x if piece.ends else None)
        position = 0


def _only_calibrates(training: Training, epoch: int) -> bool:
    """Whether no epoch is left, and the final state (not the best one) is to be calibrated."""
    program = training.program
    return epoch == training.epochs and program.network.calibrate is not None and program.patience is None


def _inputs(piece: Piece) -> np.ndarray:
    """A copy of x, as `cycle_rows` has it with weights: the memory of the piece is read into again."""
    arrays = [array[: len(piece.order)] for array in piece.arrays]
    return cycle_rows_on_host(arrays[0], arrays[-1]).copy() if len(arrays) == 3 else arrays[0].copy()


def _first_inputs(pieces: Callable, epoch: int) -> np.ndarray:
    """The inputs of the epoch's first chunk, read separately."""
    with contextlib.closing(pieces(epoch, 0, None)) as chunks:
        return _inputs(next(chunks))


def _check_size(size: int | None, seen: int, loop_state: LoopState) -> int:
    """The number of examples of an epoch, which must be that of the epochs before."""
    if size is not None and seen != size:
        expected = f"a stream of as many examples in each epoch, {size}"
        raise checks.fail("fit", "data", expected, came=f"{seen} in epoch {int(loop_state.carry.epoch) + 1}")
    return seen


def _end_epoch(
    training: Training, loop_state: LoopState, first: np.ndarray | None, saved: Path | None
) -> tuple[LoopState, Examples]:
    """End an epoch after its last step.

    Returns: the state after it, and the inputs of its first chunk, which calibrate batch norm.
    """
    epoch = int(loop_state.carry.epoch)
    data = _calibration_data(training, first)
    carry = programs.end_epoch(training.program, loop_state.carry, loop_state.step_logs, data, training.validation)
    finite, loop_state = bool(carry.finite), after_epochs(loop_state, epoch, carry)
    if not finite:
        logs = {name: float(column[epoch]) for name, column in loop_state.history.items()}
        costs = {name: logs[name] for name in ("cost", "validation_cost") if name in logs}
        raise FloatingPointError(failure_message(training.saving, epoch + 1, costs, None, saved))
    return loop_state, data


def _calibration_data(training: Training, x: np.ndarray | None) -> Examples:
    """x on the device, or over its mesh. If x is None, the network has nothing to calibrate, and the placeholder batch
    is returned.
    """
    if x is None:
        return training.data
    layout = rows.layout_of(training.data)
    return (jax.device_put(x),) if layout is None else rows.shard_rows(layout, (x,))


def _describe_failure(
    training: Training,
    source: Source,
    loop_state: LoopState,
    loaded: LoadedChunk,
    part: range,
    costs: np.ndarray,
    saved: Path | None,
) -> str:
    """Return the error message for steps of a chunk that produced a non-finite value."""
    training.report.note("not finite: looking for the step")
    program, state, epoch = training.program, loop_state.carry.state, int(loop_state.carry.epoch)
    epoch_start = int(state.step) - loop_state.position
    steps = None if source.size is None else -(-source.size // program.batch_size)
    where = failures.locate_failure_in_chunk(program, state, loaded.chunk, part, epoch + 1, epoch_start, steps)
    bad = costs[~np.isfinite(costs)]
    return failure_message(training.saving, epoch + 1, {"cost": float(bad[0])} if bad.size else {}, where, saved)
