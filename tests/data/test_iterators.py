"""Iterators with get_state and set_state that are not Grain's, functions of batches, and what elements may be."""

import contextlib
import json
import traceback

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.data import prefetch, streams
from fnn.data.prefetch import Element, Place
from fnn.sharding.tiles import tiles_of
from tests.support.resuming import resumed
from tests.support.streaming import BATCH, BUDGET, DATA, KEY, SIZE, X, Y, batches, fit, rows_of, streamed
from tests.support.training import bits

pytestmark = pytest.mark.usefixtures("no_stream_is_left")


class Walk:
    """An iterator over the rows in parts of 10; `wrap` makes its state of the number of parts it has read."""

    def __init__(self, wrap=lambda count: {"read": count}, unwrap=lambda state: state["read"], seen=None):
        self.count, self.wrap, self.unwrap, self.seen = 0, wrap, unwrap, [] if seen is None else seen

    def __iter__(self):
        return self

    def __next__(self):
        if self.count == SIZE // 10:
            raise StopIteration
        rows = slice(10 * self.count, 10 * self.count + 10)
        self.seen.append(self.count)
        self.count += 1
        return X[rows], Y[rows]

    def get_state(self):
        return self.wrap(self.count)

    def set_state(self, state):
        self.count = self.unwrap(state)


class Walks:
    """An iterable whose iterators have a state."""

    def __init__(self, seen=None):
        self.seen = seen

    def __iter__(self):
        return Walk(seen=self.seen)


WRAPS = {
    "a dict": (lambda count: {"read": count}, lambda state: state["read"]),
    "bytes": (lambda count: {"at": [str(count).encode()]}, lambda state: int(state["at"][0])),
    "numbers of NumPy": (lambda count: (np.int64(count), count)[0], int),
}


@pytest.mark.parametrize("name", WRAPS)
def test_an_iterator_is_set_to_its_state(name, tmp_path):
    """It is rewound for each epoch, and resumed where it was: 3 parts are read before step 2 of 21 is over."""
    seen = []
    walk = Walk(*WRAPS[name], seen)
    place = resumed(walk, tmp_path, step=28, seen=seen)
    assert place == {"element": 11, "rows": 2, "state": place["state"]}
    assert seen == [0, *range(11, 33), *range(33)]  # the first part is inspected
    assert walk.count == 0, "it is left as it was"


def test_so_is_that_of_an_iterable_and_of_a_function(tmp_path):
    seen = []
    walks = Walks(seen)
    for folder, data in (("iterable", walks), ("function", lambda epoch: walks)):
        resumed(data, tmp_path / folder, step=28, seen=seen)
        assert seen == [0, *range(11, 33), *range(33)]
    assert bits(fit(walks, device_memory=BUDGET)) == bits(fit(Walk(), device_memory=BUDGET))


def test_others_are_read_again_up_to_where_it_was(tmp_path):
    place = resumed(lambda epoch: batches(epoch), tmp_path, step=28)
    assert place == {"element": 7, "rows": 0, "state": None}


@pytest.mark.slow
def test_a_window_of_elements_is_resumed(tmp_path):
    seen = []
    place = resumed(Walk(seen=seen), tmp_path, step=28, seen=seen, window=50)
    assert place["element"] % 4 == 0, "windows are 4 parts of 10 rows: more than 50 - 16"
    assert seen == [0, *range(place["element"], 33), *range(33)]


def test_a_state_that_json_cannot_hold_is_refused_when_it_is_to_be_saved(tmp_path):
    for wrap in (lambda count: {"rows": {count}}, lambda count: (count, 0), lambda count: {count: 0}):
        walk = Walk(wrap, lambda state: 0)
        with pytest.raises(TypeError, match=r"fit: data must be an iterator whose get_state\(\) returns dicts, lists"):
            fit(walk, device_memory=BUDGET, checkpoint_dir=tmp_path)
    unsaved = fit(Walk(lambda count: (count, 0), lambda state: state[0]), device_memory=BUDGET)
    assert bits(unsaved) == bits(fit(Walk(), device_memory=BUDGET))


def test_what_an_iterator_raises_comes_with_its_traceback():
    class Broken(Walk):
        def __next__(self):
            return super().__next__() if self.count < 20 else self.disk_is_gone()

        def disk_is_gone(self):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as error:
        fit(Broken(), device_memory=BUDGET)
    assert "disk_is_gone" in "".join(traceback.format_tb(error.value.__traceback__))


def test_an_epoch_may_have_another_number_of_rows():
    options = {"network": fnn.dense(4, 2), "optimizer": fnn.sgd(0.1), "validation": None, "patience": None}
    result = fit(of_any_size, device_memory=BUDGET, epochs=2, **options)
    assert int(result.state.step) == -(-100 // BATCH) + -(-133 // BATCH)


def of_any_size(epoch):
    """An element without rows, and one of 100 rows, in the next epoch of 133."""
    yield X[:0], Y[:0]
    yield X[: 100 + 33 * epoch], Y[: 100 + 33 * epoch]


@pytest.mark.parametrize("window", [None, 100])
def test_a_bad_row_among_many_elements_is_named(window):
    """The values of many small elements are checked together."""
    parts = lambda x, y: lambda epoch: ((x[i : i + 10], y[i : i + 10]) for i in range(0, SIZE, 10))
    x, y = X[:SIZE].copy(), Y[:SIZE].copy()
    x[173, 1], y[205] = np.nan, 7
    for data, text in (
        ((x, Y), "x must be finite, got NaN or infinity, first in row 3 of batch 18 of epoch 1"),
        ((X, y), r"target must be labels in 0\.\.1, got 0\.\.7, first in row 5 of batch 21 of epoch 1: 7"),
    ):
        with pytest.raises(ValueError, match=text):
            fit(parts(*data), window=window)


@pytest.mark.slow
def test_a_stream_that_became_shorter_cannot_be_resumed(tmp_path):
    fit(Walk(), device_memory=BUDGET, checkpoint_dir=tmp_path, checkpoint_every_steps=20, epochs=1)
    (newest := max(tmp_path.glob("step-*"))).rename(tmp_path.parent / "moved")
    assert newest.name == "step-00000021"
    short = lambda: Walk(unwrap=lambda state: 33)
    with pytest.raises(ValueError, match=r"a stream with more than 320 rows in epoch 1, got its end"):
        fit(short(), device_memory=BUDGET, checkpoint_dir=tmp_path, resume=True, epochs=1)


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 40, SIZE])
def test_hdf5_trains_as_arrays_do(window, tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for name, part in zip("xy", DATA, strict=True):
            file[name] = part
    with h5py.File(tmp_path / "data.h5") as file:
        found = streamed((file["x"], file["y"]), window=window)
    assert bits(found) == bits(streamed(window=window))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 9), st.integers(1, 4), st.data())
def test_rows_are_cut_once_each_and_found_again(sizes, batch_size, steps, data):
    """Elements of any sizes: chunks have the rows in order, and reading on from the place of any step has the rest."""
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    like = (prefetch.Form((), np.dtype("int64")),)

    def chunks(place):
        elements = (Element((part[::-1],), np.arange(len(part))[::-1], [(0, Place(i))]) for i, part in enumerate(parts))
        left = [element for element in elements if element.places[0][1].element >= place.element]
        return list(prefetch.cut(left, like, tiles_of(None, batch_size), steps, place.rows))

    whole, total = chunks(Place()), int(ends[-1])
    assert [chunk.ends for chunk in whole] == [False] * (len(whole) - 1) + [True] * bool(total)
    assert all(chunk.rows == batch_size * steps for chunk in whole[:-1])
    rows = lambda found: [row for chunk in found for row in chunk.arrays[0][: chunk.rows].tolist()]
    assert rows(whole) == list(range(total))
    if total:
        row = batch_size * data.draw(st.integers(0, (total - 1) // batch_size))
        number, within = divmod(row, batch_size * steps)
        assert rows(chunks(prefetch.place_at(whole[number].places, within))) == list(range(row, total))
        first = prefetch.place_at(whole[0].places, 0)
        assert first.rows == 0 or rows(chunks(first)) == list(range(total))


@pytest.mark.parametrize("memory", [BUDGET, None])
def test_places_are_what_json_holds(memory):
    """Each step can be resumed at, also if many elements are joined, as without `device_memory`."""
    source = streams.source(Walk(), BATCH, memory, None)
    assert source is not None
    whole = rows_of(source, 0)[0]
    with contextlib.closing(source.elements(KEY, 0, Place(), None, True)) as elements:
        chunk = next(prefetch.cut(elements, source.like, tiles_of(None, BATCH), source.steps, 0))
    assert len(chunk.places) == (SIZE // 10 if memory is None else 8)
    for step in range(min(source.steps, SIZE // BATCH) + 1):
        place = Place(**json.loads(json.dumps(prefetch.place_at(chunk.places, step * BATCH)._asdict())))
        np.testing.assert_array_equal(rows_of(source, 0, place=place)[0], whole[step * BATCH :])
