"""The host's loop of fit on data larger than the device: chunks of steps, the next one read and sent meanwhile."""

import functools
import time
from collections.abc import Callable, Generator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks, chunks, failures, loop, rows
from fnn.chunks import Loaded, Piece
from fnn.resume import Place
from fnn.rows import Examples
from fnn.streams import Source
from fnn.training import Training, begin, brief, failure, going_on, heed, look_after
from fnn.types import PRNGKey, TrainState


def train(training: Training, source: Source, state: TrainState) -> tuple[loop.Carry, Examples]:
    """As `fnn.training.train`, from a source; training.data is a batch of zeros -> the last carry, what calibrates.

    Steps, history, early stopping and checkpoints are those of data on the device.
    """
    program, data, _, _, saving, *_ = training
    like = loop.start_epoch(program, state, data)
    outs_of = lambda steps: jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape[1:]), leaf.dtype), like)
    place, saved = begin(training, state, outs_of)
    made = [place.outs] if place.position else []  # what the steps of the epoch under way reported
    seen, size = place.position * program.batch_size, source.size  # of its examples
    pieces = _pieces(program, source, place, state.key)
    room, loaded, at, amount, stopped = outs_of(chunks.slots(source.steps)), None, 0, 1, False
    coming = _chunks(training, pieces, source, place, state)
    with chunks.prefetched(coming, training.signalled) as following:
        while going_on(training, place) and not stopped:
            if loaded is None:
                loaded, at = following(), 0
            if loaded is None:
                heed(training, place, saved)
                continue
            started = time.perf_counter()
            until = min(loaded.steps, at + amount, at + _to_save(training, place))
            args = room, loaded.chunk, jnp.int32(at), jnp.int32(until)
            state, outs, finite = chunks.advance_chunk(program, place.carry.state, *args)
            outs = jax.tree.map(lambda leaf, part=slice(at, until): np.asarray(leaf)[part], outs)
            if not finite:
                message = _failure(training, source, place, loaded, range(at, until), outs[1]["cost"], saved)
                raise FloatingPointError(message)
            if brief(started):
                amount = min(2 * amount, source.steps)
            made.append(outs)
            place = Place(place.carry._replace(state=state), place.position + until - at)
            at, ends = until, until == loaded.steps and loaded.ends
            if at == loaded.steps:
                seen += loaded.rows
                chunks.free(loaded)
                loaded = None
            if ends:
                size = _same(size, seen, place)
                place, data = _end(training, pieces, place, _joined(made), saved)
                made, seen = [], 0
            elif saving is not None:
                place = place._replace(outs=_joined(made))
            saved, stopped = look_after(training, place, saved, data)
            data = training.data  # what calibrates takes as much as a chunk
    if program.network.calibrate is not None and place.carry.best is None:
        data = _calibrating(training, pieces, int(place.carry.epoch) - 1)
    return place.carry, data


def _joined(outs: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *outs)


def _to_save(training: Training, place: Place) -> int:
    """How many steps there are until one after which a checkpoint is due; very many if none is."""
    every = None if training.saving is None else training.saving.every_steps
    return 2**31 if every is None else every - int(place.carry.state.step) % every


def _pieces(
    program: loop.Program, source: Source, place: Place, key: PRNGKey
) -> Callable[..., Generator[Piece, None, None]]:
    """source.pieces by the epochs of this training; arrays are shuffled by the number that the state has of them."""
    before = 0
    if source.size is not None:
        begun = int(place.carry.state.step) - place.position
        before = begun // -(-source.size // program.batch_size) - int(place.carry.epoch)
    return lambda epoch, *options: source.pieces(key, before + epoch, *options)


def _chunks(
    training: Training, pieces: Callable, source: Source, place: Place, state: TrainState
) -> Generator[Loaded, None, None]:
    """From this place on, epoch after epoch. Values are looked at once where they stay the same."""
    program, data, _, epochs, *_ = training
    remainder = 0 if source.size is None else source.size % program.batch_size
    forward = lambda params, data: program.network.forward(params, rows.whole(data)[0])[0]
    shape = jax.eval_shape(forward, state.params, data).shape
    validate = functools.partial(program.loss.validate or (lambda *_: None), shape)
    first = int(place.carry.epoch)
    for epoch in range(first, epochs):
        looked_at = validate if epoch == first or source.size is None else None
        for piece in pieces(epoch, place.position if epoch == first else 0, looked_at):
            yield chunks.load(piece, program.batch_size, remainder, rows.layout_of(data))


def _same(size: int | None, seen: int, place: Place) -> int:
    """The number of examples of an epoch, which is that of those before it."""
    if size is not None and seen != size:
        expected = f"a stream of as many examples in each epoch, {size}"
        raise checks.fail("fit", "data", expected, came=f"{seen} in epoch {int(place.carry.epoch) + 1}")
    return seen


def _end(
    training: Training, pieces: Callable, place: Place, outs: PyTree, saved: Path | None
) -> tuple[Place, Examples]:
    """The end of an epoch -> the place after it, and what calibrates: the epoch's first chunk, read again."""
    program, data, validation, *_ = training
    epoch = int(place.carry.epoch)
    if program.network.calibrate is not None:
        data = _calibrating(training, pieces, epoch)
    carry = loop.end_epoch(program, place.carry, outs, data, validation)
    if not carry.finite:
        costs = {name: carry.history[name] for name in ("cost", "validation_cost") if name in carry.history}
        costs = {name: float(column[epoch]) for name, column in costs.items()}
        raise FloatingPointError(failure(training.saving, epoch + 1, costs, None, saved))
    return Place(carry), data


def _calibrating(training: Training, pieces: Callable, epoch: int) -> Examples:
    """x of the epoch's first chunk, read again."""
    piece, layout = next(pieces(epoch, 0, None)), rows.layout_of(training.data)
    x = piece.arrays[0][: len(piece.order)]
    return (jax.device_put(x),) if layout is None else rows.place(layout, (x,))


def _failure(
    training: Training, source: Source, place: Place, loaded: Loaded, part: range, costs: np.ndarray, saved: Path | None
) -> str:
    """What was not finite in this part of a chunk, begun at this place, in words."""
    training.report.note("not finite: looking for the step")
    program, epoch, begun = training.program, int(place.carry.epoch), int(place.carry.state.step) - place.position
    steps = None if source.size is None else -(-source.size // program.batch_size)
    state = place.carry.state
    where = failures.locate_in_chunk(program, state, loaded.chunk, part, epoch + 1, begun, steps)
    bad = costs[~np.isfinite(costs)]
    return failure(training.saving, epoch + 1, {"cost": float(bad[0])} if bad.size else {}, where, saved)
