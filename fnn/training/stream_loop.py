"""The host's loop of fit on data larger than the device: chunks of steps, the next one read and sent meanwhile."""

import contextlib
import functools
import time
from collections.abc import Callable, Generator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks
from fnn.data import prefetch
from fnn.data.prefetch import LoadedChunk, Piece
from fnn.data.streams import Source
from fnn.data.windows import Validate
from fnn.sharding import rows
from fnn.sharding.rows import Examples
from fnn.training import failures, programs
from fnn.training.loop import (
    Training,
    failure,
    handle_signal,
    save_and_report,
    should_continue,
    start_or_resume,
    was_short,
)
from fnn.training.resume import LoopState
from fnn.types import PRNGKey, TrainState


def train(training: Training, source: Source, state: TrainState) -> tuple[programs.Carry, Examples]:
    """As `fnn.training.train`, from a source; training.data is a batch of zeros -> the last carry, what calibrates.

    Steps, history, early stopping and checkpoints are those of data on the device.
    """
    program, data, *_ = training
    like = programs.allocate_step_logs(program, state, data)
    outs_of = lambda steps: jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape[1:]), leaf.dtype), like)
    place, saved = start_or_resume(training, state, outs_of)
    made = jax.tree.map(np.asarray, place.outs if place.position else outs_of(0))  # what the epoch's steps reported
    seen, size = place.position * program.batch_size, source.size  # of its examples
    pieces, validate = _pieces(program, source, place, state.key), _validate(program, state, data)
    del state  # the caller's; it need not stay on the device
    room, loaded, at, amount, stopped = outs_of(prefetch.slots(source.steps)), None, 0, 1, False
    coming = _chunks(training, pieces, source.size, validate, int(place.carry.epoch), place.position)
    with prefetch.prefetch_chunks(coming, training.signalled) as following:
        while should_continue(training, place) and not stopped:
            data = training.data  # what calibrates takes as much as a chunk
            if loaded is None:
                loaded, at = following(), 0
            if loaded is None:
                handle_signal(training, place, saved)
                continue
            started = time.perf_counter()
            until = min(loaded.steps, at + amount, at + _to_save(training, place))
            args = room, loaded.chunk, jnp.int32(at), jnp.int32(until)
            state, outs, finite = programs.run_chunk(program, place.carry.state, *args)
            outs = jax.tree.map(lambda leaf, part=slice(at, until): np.asarray(leaf)[part], outs)
            if not finite:
                message = _failure(training, source, place, loaded, range(at, until), outs[1]["cost"], saved)
                raise FloatingPointError(message)
            if was_short(started):
                amount = min(2 * amount, source.steps)
            made = _appended(made, place.position, outs)
            position = place.position + until - at
            outs = jax.tree.map(lambda leaf, count=position: leaf[:count], made)
            place = LoopState(place.carry._replace(state=state), position, outs)
            at, ends, first = until, until == loaded.steps and loaded.ends, loaded.first
            if at == loaded.steps:
                seen += loaded.rows
                prefetch.free(loaded)
                loaded = None
            if ends:
                size = _same(size, seen, place)
                place, data = _end(training, place, first, saved)
                made, seen = jax.tree.map(lambda leaf: leaf[:0], made), 0
            saved, stopped = save_and_report(training, place, saved, data)
        if _only_calibrates(training, int(place.carry.epoch)) and data is training.data:
            loaded = following()
            if loaded is None:
                handle_signal(training, place, saved, current=True)
            else:
                data = _calibrating(training, loaded.first)
    return place.carry, data


def _appended(made: PyTree, count: int, outs: PyTree) -> PyTree:
    """`outs` after the first `count` rows, in the same memory; twice as much where it is full."""

    def appended(held: np.ndarray, more: np.ndarray) -> np.ndarray:
        until, size = count + len(more), len(held)
        if until > size:
            held = np.concatenate([held, np.empty_like(held, shape=(max(until, 2 * size) - size, *held.shape[1:]))])
        held[count:until] = more
        return held

    return jax.tree.map(appended, made, outs)


def _to_save(training: Training, place: LoopState) -> int:
    """How many steps there are until one after which a checkpoint is due; very many if none is."""
    every = None if training.saving is None else training.saving.every_steps
    return 2**31 if every is None else every - int(place.carry.state.step) % every


def _pieces(
    program: programs.Program, source: Source, place: LoopState, key: PRNGKey
) -> Callable[..., Generator[Piece, None, None]]:
    """source.pieces by the epochs of this training; arrays are shuffled by the number that the state has of them."""
    before = 0
    if source.size is not None:
        begun = int(place.carry.state.step) - place.position
        before = begun // -(-source.size // program.batch_size) - int(place.carry.epoch)
    return lambda epoch, *options: source.pieces(key, before + epoch, *options)


def _validate(program: programs.Program, state: TrainState, data: Examples) -> Validate:
    """Raises unless targets can be meant."""
    forward = lambda params, data: program.network.forward(params, rows.all_rows(data)[0])[0]
    shape = jax.eval_shape(forward, state.params, data).shape
    return functools.partial(program.loss.validate or (lambda *_: None), shape)


def _chunks(
    training: Training, pieces: Callable, size: int | None, validate: Validate, first: int, position: int
) -> Generator[LoadedChunk, None, None]:
    """From this step of this epoch on, epoch after epoch. Values are looked at once where they stay the same."""
    program, data, _, epochs, *_ = training
    remainder = 0 if size is None else size % program.batch_size
    if _only_calibrates(training, first):
        nothing = prefetch.Chunk((), *(jnp.zeros(0, jnp.int32) for _ in range(3)))
        yield LoadedChunk(nothing, 0, 0, True, _first(pieces, first - 1))
    for epoch in range(first, epochs):
        looked_at = validate if epoch == first or size is None else None
        calibrates = program.network.calibrate is not None
        x = _first(pieces, epoch) if calibrates and position else None  # here: no other thread may read meanwhile
        for piece in pieces(epoch, position, looked_at):
            x = _x(piece) if calibrates and x is None else x
            loaded = prefetch.load(piece, program.batch_size, remainder, rows.layout_of(data))
            yield loaded._replace(first=x if piece.ends else None)
        position = 0


def _only_calibrates(training: Training, epoch: int) -> bool:
    """Whether all epochs lie behind it, and the state at their end is to be calibrated: not the best one."""
    program = training.program
    return epoch == training.epochs and program.network.calibrate is not None and program.patience is None


def _x(piece: Piece) -> np.ndarray:
    """A copy: the memory is read into again."""
    return piece.arrays[0][: len(piece.order)].copy()


def _first(pieces: Callable, epoch: int) -> np.ndarray:
    """x of the epoch's first chunk, read for itself."""
    with contextlib.closing(pieces(epoch, 0, None)) as begun:
        return _x(next(begun))


def _same(size: int | None, seen: int, place: LoopState) -> int:
    """The number of examples of an epoch, which is that of those before it."""
    if size is not None and seen != size:
        expected = f"a stream of as many examples in each epoch, {size}"
        raise checks.fail("fit", "data", expected, came=f"{seen} in epoch {int(place.carry.epoch) + 1}")
    return seen


def _end(
    training: Training, place: LoopState, first: np.ndarray | None, saved: Path | None
) -> tuple[LoopState, Examples]:
    """The end of an epoch, after its last step -> the place after it, and what calibrates: its first chunk's x."""
    program, _, validation, *_ = training
    epoch = int(place.carry.epoch)
    data = _calibrating(training, first)
    carry = programs.end_epoch(program, place.carry, place.outs, data, validation)
    if not carry.finite:
        costs = {name: carry.history[name] for name in ("cost", "validation_cost") if name in carry.history}
        costs = {name: float(column[epoch]) for name, column in costs.items()}
        raise FloatingPointError(failure(training.saving, epoch + 1, costs, None, saved))
    return LoopState(carry), data


def _calibrating(training: Training, x: np.ndarray | None) -> Examples:
    """x where the examples lie; without one what nothing is calibrated on."""
    if x is None:
        return training.data
    layout = rows.layout_of(training.data)
    return (jax.device_put(x),) if layout is None else rows.shard_rows(layout, (x,))


def _failure(
    training: Training,
    source: Source,
    place: LoopState,
    loaded: LoadedChunk,
    part: range,
    costs: np.ndarray,
    saved: Path | None,
) -> str:
    """What was not finite in this part of a chunk, begun at this place, in words."""
    training.report.note("not finite: looking for the step")
    program, epoch, begun = training.program, int(place.carry.epoch), int(place.carry.state.step) - place.position
    steps = None if source.size is None else -(-source.size // program.batch_size)
    state = place.carry.state
    where = failures.locate_failure_in_chunk(program, state, loaded.chunk, part, epoch + 1, begun, steps)
    bad = costs[~np.isfinite(costs)]
    return failure(training.saving, epoch + 1, {"cost": float(bad[0])} if bad.size else {}, where, saved)
