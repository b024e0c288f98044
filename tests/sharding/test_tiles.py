"""Which rows of a batch lie where, what a step on them communicates, and how the shares of processes are joined."""

import re

import jax
import numpy as np
import pytest

import fnn
from experiments.planning.collectives import collectives, total_bytes
from fnn.data import prefetch, streams
from fnn.data.prefetch import Element, Form, Place
from fnn.data.process_shares import Shared, cut_shares, own_place
from fnn.sharding import shares
from fnn.sharding.shares import Where
from fnn.sharding.tiles import Tiles, own_rows, tiles_of
from fnn.training import programs
from fnn.training.epoch import Program
from tests.support.oracles import normal

MESH = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
LAYOUT = fnn.sharding.data_parallel(MESH)


@pytest.mark.parametrize(("batch_size", "shards"), [(1, 1), (10, 3), (10, 8), (3, 8), (8, 4), (7, 2)])
def test_every_row_is_in_one_tile(batch_size, shards):
    """Processes of one shard, of two and of all: the slots are distinct and those of `send`."""
    size = 3 * batch_size + batch_size // 2
    for each in {1, min(2, shards), shards}:
        seen = []
        for start in range(0, shards, each):
            tiles = Tiles(batch_size, shards, range(start, min(start + each, shards)))
            which, slots = own_rows(tiles, 0, size)
            step, column = np.divmod(slots, tiles.width)
            np.testing.assert_array_equal(step, which // batch_size)
            np.testing.assert_array_equal(column + start * tiles.rows, which % batch_size)
            later = own_rows(tiles, batch_size + 1, size)
            np.testing.assert_array_equal(later.which + batch_size + 1, which[which > batch_size])
            seen += which.tolist()
        assert sorted(seen) == list(range(size))


def compiled_steps(tiled, batch_size=8):
    """The text of the program of a chunk, and the bytes of the parameters and of a batch of x."""
    network = fnn.dense(64, 2)
    program = Program(network, fnn.squared_error, fnn.sgd(0.1), 0.0, (), batch_size)
    x, y = normal(0, (8 * batch_size, 64)), normal(1, (8 * batch_size, 2))
    source = streams.source((x, y), batch_size, 2 * 2 * batch_size * 66 * 4, None, None, LAYOUT)
    elements = source.elements(jax.random.key(0), 0, Place(), None, False)
    host = next(iter(prefetch.cut(elements, source.like, tiles_of(LAYOUT, batch_size), source.steps, 0)))
    chunk = prefetch.send(host, tiles_of(LAYOUT, batch_size), 0, fnn.sharding.layout.with_auto_axes(LAYOUT))
    if not tiled:
        chunk = chunk._replace(columns=np.tile(np.arange(batch_size, dtype=np.int32)[::-1], (2, 1)))
    with jax.set_mesh(fnn.sharding.auto_mesh(MESH)):
        state = fnn.init_state(network, program.optimizer, jax.random.key(0), sharding=LAYOUT)
        state = fnn.sharding.place_state(LAYOUT, state)
        logs = programs.allocate_step_logs(program, state, source_batch(source))
        text = programs.run_chunk.lower(program, state, logs, chunk, np.int32(0), np.int32(2)).compile().as_text()
    return text, (64 * 2 + 2) * 4, batch_size * 64 * 4


def source_batch(source):
    return fnn.sharding.place(LAYOUT, streams.blank(source.like, 16, LAYOUT))


@pytest.mark.parametrize("batch_size", [8, 7])
def test_a_step_communicates_no_rows(batch_size):
    text, bytes_of_params, bytes_of_x = compiled_steps(True, batch_size)
    found = collectives(text)
    assert {one.kind for one in found} == {"all-reduce"}, found
    assert total_bytes(found, "all-reduce") <= bytes_of_params + 8
    assert not re.search(r"all-gather|all-to-all|collective-permute", text)
    text, *_ = compiled_steps(False, batch_size)
    assert sum(total_bytes(collectives(text), kind) for kind in ("all-reduce", "all-gather")) >= bytes_of_x


def joined(counts, ends=True, batch_size=10, capacity=5):
    return shares.join(LAYOUT, tiles_of(LAYOUT, batch_size), counts, ends, 3, capacity, Where(1, 4))


def test_shares_are_joined_or_refused():
    whole = joined([10, 10, 7])
    assert (whole.tiled, whole.ends, whole.columns.tolist()) == (True, True, [*range(10), *range(10), *range(7)])
    assert not joined([10, 10, 7], capacity=6).tiled
    assert not joined([10, 10, 10], ends=False).ends
    for counts, ends, batch, came in (([10, 9, 10], True, 6, "9"), ([10, 11], True, 6, "11"), ([10, 7], False, 6, "7")):
        with pytest.raises(ValueError, match=rf"data: batch {batch} of epoch 2 must be of 10 rows .*, got {came}\."):
            joined(counts, ends)
    with pytest.raises(ValueError, match="a stream with more than 4 batches in epoch 2, got its end in every process"):
        joined([])


def test_a_process_with_nothing_left_of_an_epoch_keeps_its_place():
    """If it is saved and resumed again there, nothing is read again."""
    shared = Shared(LAYOUT, Tiles(4, 2, range(2)), (Form((3,), np.float32),), 2, [2])
    place = Place(6, 0, "state")
    (chunk,) = cut_shares([], shared, place)
    assert (chunk.counts, chunk.places, chunk.ends) == ([], [place], True)
    element = Element((np.ones((4, 3), np.float32),), np.arange(4), [(0, place)])
    (chunk,) = cut_shares([element], shared, place)
    assert (chunk.counts, chunk.places, chunk.ends) == ([4], [place, Place(7)], True)


def test_a_stream_goes_on_inside_an_epoch_with_as_many_processes():
    shared = {"shares": [{"element": 3, "rows": 0, "state": None}, {"element": 2, "rows": 0, "state": None}]}
    own = {"element": 1, "rows": 5, "state": None}
    assert own_place(own, 4, 8, False) == Place(1, 5)
    assert own_place(None, 4, 8, False) == Place(0, 32)
    assert own_place(None, 4, 8, True) == Place(4, 0)
    for place, shares_, processes in (
        (shared, False, "2 processes"),
        (shared, True, "2 processes"),
        (own, True, "1 p"),
    ):
        with pytest.raises(
            ValueError, match=f"fit: the number of processes must be that of the checkpoint, {processes}"
        ):
            own_place(place, 4, 8, shares_)
