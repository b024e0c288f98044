"""Grain's datasets as data of fit, and `from_files`: the order of rows, resuming by state, what is refused."""

import json
import sys
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.data import streams
from tests.support.oracles import normal
from tests.support.resuming import resumed
from tests.support.streaming import BATCH, BUDGET, DATA, KEY, SIZE, X, Y, fit, rows_of, streamed
from tests.support.training import bits

grain = pytest.importorskip("grain", reason="needs Grain: pip install 'fnn[streams]'")
pytestmark = pytest.mark.usefixtures("no_stream_is_left")


def dataset(seen=lambda index: None):
    """21 batches of shuffled rows (the last of 10), of which one in seven is left out; `seen` is told what is read."""
    take = lambda index, rows: (seen(index), (X[rows], Y[rows]))[1]
    shuffled = grain.MapDataset.range(SIZE).seed(1).shuffle().batch(BATCH)
    return shuffled.map_with_index(take).filter(lambda batch: int(batch[1].sum()) % 7 != 3)


def test_all_rows_in_one_window_give_the_bits_of_training_in_memory():
    data = fnn.data.from_files(*DATA, window=SIZE, key=KEY)
    assert bits(fit(data, device_memory=BUDGET)) == bits(streamed()), "which test_streams compares with memory"


@pytest.mark.slow
def test_so_they_do_without_device_memory():
    assert bits(fit(fnn.data.from_files(*DATA, window=SIZE, key=KEY))) == bits(fit())


@pytest.mark.parametrize(("size", "window", "width"), [(1, 1, 3), (97, 7, 3), (101, 200, 1), (5000, 640, 4000)])
def test_every_row_comes_once_per_epoch(size, window, width):
    x, y = np.zeros((size, width), "float32"), np.arange(size)
    data = fnn.data.from_files(x, y, np.ones(size, "float32"), window=window)
    epochs = [[data[e * len(data) + i] for i in range(len(data))] for e in range(2)]
    orders = [np.concatenate([part[1] for part in parts if part is not None]) for parts in epochs]
    np.testing.assert_array_equal(np.sort(orders[0]), y)
    np.testing.assert_array_equal(np.sort(orders[1]), y)
    assert size == 1 or not np.array_equal(*orders)
    other = fnn.data.from_files(x, y, window=window, key=jax.random.key(5))
    assert size == 1 or not np.array_equal(other[0][1], epochs[0][0][1])
    assert all(part[0].nbytes <= 2**23 + 2 * width * 4 for parts in epochs for part in parts if part is not None)
    source = streams.source(data.map(lambda rows: (rows[0], rows[1])), BATCH, 2**20, None)
    assert source is not None
    np.testing.assert_array_equal(rows_of(source, 1)[1], orders[1])


def test_each_epoch_is_what_grain_defines():
    data = dataset()
    source = streams.source(data, BATCH, BUDGET, None)
    assert source is not None
    wanted = lambda epoch: [data[epoch * len(data) + i] for i in range(len(data))]
    for epoch in (0, 2):
        kept = [batch for batch in wanted(epoch) if batch is not None]
        assert len(kept) < len(data)
        np.testing.assert_array_equal(rows_of(source, epoch)[0], np.concatenate([x for x, _ in kept]))
    assert not np.array_equal(rows_of(source, 0)[1], rows_of(source, 1)[1])


ONE = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)  # the default reads hundreds of elements ahead

KINDS = {
    "a MapDataset": dataset,
    "from_files": lambda seen: fnn.data.from_files(*DATA, window=12, key=KEY).map_with_index(
        lambda index, rows: (seen(index), rows)[1]
    ),
    "an IterDataset": lambda seen: dataset(seen).to_iter_dataset(ONE),
    "its iterator": lambda seen: iter(dataset(seen).to_iter_dataset(ONE)),
    "a function": lambda seen: lambda epoch: dataset(seen).to_iter_dataset(ONE),
    "batches of an IterDataset": lambda seen: (
        grain.MapDataset.range(SIZE).map(lambda row: (seen(row), (X[row], Y[row]))[1]).to_iter_dataset(ONE).batch(10)
    ),
}


@pytest.mark.parametrize("name", ["a MapDataset", *(pytest.param(k, marks=pytest.mark.slow) for k in list(KINDS)[1:])])
def test_it_resumes_where_it_was_and_reads_nothing_twice(name, tmp_path):
    """In the second of three epochs. A MapDataset is read at e·n + i in epoch e, others at i."""
    seen = []
    data = KINDS[name](seen.append)
    place = resumed(data, tmp_path, step=28, seen=seen)
    index, before = json.loads(place["state"])["next_index"], len(data) if name in list(KINDS)[:2] else 0
    assert index > 2
    assert seen.count(before + index - 1) == (0 if before else 1), "in the third epoch only"
    assert seen.count(before + index) == (1 if before else 2)


def test_what_a_dataset_raises_comes_with_its_traceback():
    def broken(rows):
        if 100 in rows:
            raise OSError("the disk is gone")
        return X[rows], Y[rows]

    with pytest.raises(OSError, match="the disk is gone") as error:
        fit(grain.MapDataset.range(SIZE).batch(BATCH).map(broken), device_memory=BUDGET)
    assert "raise OSError" in "".join(traceback.format_tb(error.value.__traceback__))


def test_a_dataset_without_end_is_refused():
    with pytest.raises(ValueError, match=r"fit: data must be a dataset that ends.*without end"):
        fit(dataset().repeat())
    assert sys.maxsize == len(dataset().repeat())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_trained_on_as_in_memory(dtype):
    x = X[:SIZE].astype(jnp.dtype(dtype))
    options = {"validation": None, "patience": None, "epochs": 1}
    data = fnn.data.from_files(x, Y[:SIZE], window=SIZE, key=KEY)
    plain = fit((x, Y[:SIZE]), **options)
    assert bits(fit(data, device_memory=BUDGET, **options)) == bits(plain)
    assert bits(streamed((x, Y[:SIZE]), **options)) == bits(plain)


@pytest.mark.slow
def test_bytes_are_scaled_by_a_map_and_ids_are_embedded():
    options = {"validation": None, "patience": None, "epochs": 1}
    images, y = np.abs(normal(7, (SIZE, 4)) * 50).astype("uint8"), Y[:SIZE]
    scaled = fnn.data.from_files(images, y, window=SIZE, key=KEY).map(lambda rows: (rows[0] / np.float32(255), rows[1]))
    assert bits(fit(scaled, **options)) == bits(fit((images / np.float32(255), y), **options))
    with pytest.raises(TypeError, match="fit: data: batch 1 of epoch 1: x must be floating point"):
        fit(fnn.data.from_files(images, y), **options)
    network = fnn.serial(fnn.embedding(256, 3), fnn.flatten, fnn.dense(12, 2))
    ids = fnn.data.from_files(images.astype("int64"), y, window=SIZE, key=KEY)
    assert bits(fit(ids, network=network, **options)) == bits(
        fit((images.astype("int32"), y), network=network, **options)
    )


def test_without_grain_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"from_files: needs Grain; install it with `pip install 'fnn\[streams\]'`"):
        fnn.data.from_files(*DATA)
