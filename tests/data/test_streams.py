"""Data larger than the device: the same bits as in memory, every example once, two chunks in memory."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from experiments.benchmarks import streams as benchmark
from fnn.data import prefetch, streams
from fnn.data.order import shuffled_windows
from fnn.training import programs
from fnn.training.history import ROWS
from tests.support.oracles import assert_close, normal
from tests.support.slow import slow_except
from tests.support.streaming import BATCH, BUDGET, DATA, KEY, SIZE, Read, batches, fit, rows_of, streamed
from tests.support.training import bits

pytestmark = pytest.mark.usefixtures("no_stream_is_left")


@pytest.fixture(scope="module")
def in_memory():
    return fit()


def test_the_same_order_gives_the_same_bits(in_memory):
    assert bits(streamed()) == bits(in_memory)
    assert bits(streamed(device_memory=BUDGET // 4)) == bits(in_memory), "in chunks of one step"
    assert bits(fit(batches)) == bits(in_memory), "as batches"


NETWORKS = {
    "sigmoid": (fnn.mlp([20, 30, 10], fnn.sigmoid), 250, 32, False),
    "relu": (fnn.mlp([20, 30, 10], fnn.relu), 256, 32, False),
}
WEIGHTED = {
    "weights": (fnn.mlp([20, 30, 10], fnn.relu), 256, 32, True),
    "ragged weights": (fnn.mlp([20, 30, 10], fnn.sigmoid), 250, 10, True),
}


@pytest.mark.parametrize("name", slow_except([*NETWORKS, *WEIGHTED]))
def test_so_it_does_for_other_networks(name):
    network, size, batch_size, weighted = (NETWORKS | WEIGHTED)[name]
    data = normal(3, (size, 20)), np.arange(size) * 7 % 10
    data += (np.abs(normal(4, (size,))),) if weighted else ()
    options = {"batch_size": batch_size, "validation": None, "patience": None, "network": network}
    options |= {"optimizer": fnn.momentum(0.5), "epochs": 2}
    plain = fit(data, **options)
    assert bits(fit(data, device_memory=size * 100 // 3, window=size, **options)) == bits(plain)


def test_data_that_fit_are_put_on_the_device(in_memory, monkeypatch):
    monkeypatch.setattr(programs, "run_chunk", None)
    assert bits(fit(device_memory=DATA[0].nbytes + DATA[1].nbytes)) == bits(in_memory)


def test_it_reads_files_and_other_layouts(in_memory, tmp_path):
    np.save(tmp_path / "x.npy", DATA[0])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert bits(streamed((mapped, DATA[1].astype("int64")))) == bits(in_memory)
    others = np.asfortranarray(DATA[0].astype("float64")), Read(DATA[1])
    assert bits(streamed(others)) == bits(in_memory)
    assert bits(streamed((jax.numpy.asarray(DATA[0]), DATA[1].tolist()))) == bits(in_memory)


def order_of(size, window, row_bytes, epoch=0):
    windows, rows = shuffled_windows(KEY, size, window, row_bytes)
    return [rows(epoch, number) for number in range(windows)]


@given(st.integers(1, 300), st.integers(1, 400), st.integers(1, 2**20))
def test_every_row_comes_once(size, window, row_bytes):
    first = order_of(size, window, row_bytes)
    np.testing.assert_array_equal(np.sort(np.concatenate(first)), np.arange(size))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(order_of(size, window, row_bytes)))
    assert all(0 < len(part) <= max(window, size if window >= size else 0) for part in first)
    if size > 30:
        other = order_of(size, window, row_bytes, 1)
        assert not np.array_equal(np.concatenate(first), np.concatenate(other))


def test_a_window_mixes_what_lies_together():
    """For 100 sorted classes and a window of a tenth of the rows, each window has at least half of the classes."""
    parts = order_of(100_000, 10_000, 4096)
    assert len(parts) <= 11
    assert min(len(np.unique(part // 1000)) for part in parts[:10]) >= 50


@pytest.mark.parametrize("window", [None, 40, SIZE])
def test_pieces_are_the_rows_of_their_order(window):
    data = np.arange(SIZE, dtype="float32")[:, None], np.arange(SIZE)
    source = streams.source(data, BATCH, BUDGET // 2, window)
    assert source is not None
    _, whole = rows_of(source, 3)
    np.testing.assert_array_equal(np.sort(whole), np.arange(SIZE))
    for position in (0, 7, 20):
        seen = rows_of(source, 3, position)
        np.testing.assert_array_equal(seen[0][:, 0], seen[1])
        np.testing.assert_array_equal(seen[1], whole[position * BATCH :])


def test_a_stream_keeps_its_order_or_is_mixed_within_a_window():
    """The stream may use the same memory for all of its batches."""
    x = np.arange(SIZE, dtype="float32")[:, None]

    def stream(epoch):
        shared = np.empty((BATCH, 1), "float32")
        for (part,) in batches(epoch, (x,), np.arange(SIZE)):
            shared[: len(part)] = part
            yield shared[: len(part)], np.zeros(len(part), "int32")

    def seen(window, position=0):
        source = streams.source(stream, BATCH, None, window)
        assert source is not None
        return rows_of(source, 1, position)[0][:, 0]

    np.testing.assert_array_equal(seen(None), x[:, 0])
    mixed = seen(5 * BATCH)
    np.testing.assert_array_equal(mixed, np.concatenate([mixed[:48], seen(5 * BATCH, 3)]))
    for begin in range(0, SIZE, 5 * BATCH):
        part = mixed[begin : begin + 5 * BATCH]
        assert not np.array_equal(part, np.sort(part))
        np.testing.assert_array_equal(np.sort(part), x[begin : begin + 5 * BATCH, 0])


def test_two_chunks_are_on_the_device_at_a_time(monkeypatch):
    """The data are eight times as large as device_memory."""
    x, y = normal(5, (4096, 64)), np.arange(4096) % 2
    budget, seen = (x.nbytes + 4096 * 4) // 8, []
    network = fnn.mlp([64, 4, 2])
    live = lambda: sum(array.nbytes for array in jax.live_arrays())
    send = prefetch.send
    watched = lambda *args: (send(*args), seen.append(live()))[0]
    monkeypatch.setattr(prefetch, "send", watched)  # measured after each chunk is sent
    options = {"network": network, "batch_size": 16, "validation": None, "patience": None, "epochs": 2}
    before = live()
    fit((x, y), device_memory=budget, **options)
    state = 3 * sum(leaf.nbytes for leaf in jax.tree.leaves(network.init(KEY)))
    history = 2 * 4 * ROWS  # cost and accuracy of the epochs since the last call
    slack = 2 * state + history + 16 * 1024
    assert max(seen) - before <= budget + slack
    assert max(seen) - before >= 0.9 * budget, "two chunks are seen"
    assert live() - before <= slack


CHILD = """
import sys, threading, time, jax, numpy as np, fnn
x, y = (np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode="r") for name in "xy")
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024
network, optimizer = fnn.mlp([1024, 8, 2]), fnn.sgd(0.1)
def fit(n):
    fnn.fit(network, fnn.softmax_cross_entropy, optimizer, (x[:n], y[:n]), epochs=2, batch_size=64,
            key=jax.random.key(0), device_memory=2**24, progress=False)
fit(8192)
before, seen, over = resident(), [], threading.Event()
def watch():
    while not over.wait(0.002):
        seen.append(resident())
thread = threading.Thread(target=watch)
thread.start()
fit(len(x))
over.set()
thread.join()
print(max(seen) - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_process_stays_small(tmp_path):
    """128 MiB in files, 16 MiB of device memory, which on the CPU is memory of the process.

    Mapped pages are not counted: the system takes them back when it needs them.
    """
    np.save(tmp_path / "x.npy", np.zeros((32768, 1024), "float32"))
    np.save(tmp_path / "y.npy", np.arange(32768) % 2)
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 48, (
        f"{done.stdout} MiB"
    )  # two chunks of 8 MiB, the next 8 MiB as read, what malloc keeps


@pytest.mark.slow
def test_a_mesh_trains_to_the_same(in_memory):
    mesh = jax.make_mesh((2,), ("data",))
    result = streamed(sharding=fnn.sharding.data_parallel(mesh))
    for name in result.history:
        np.testing.assert_allclose(result.history[name], in_memory.history[name], rtol=1e-5)
    assert_close(jax.device_get(result.state.params), jax.device_get(in_memory.state.params), "float32", slack=1e-6)


@pytest.mark.slow
def test_doubles_stay_doubles(x64):
    data = DATA[0].astype("float64"), DATA[1]
    options = {"network": fnn.dense(4, 2), "validation": None, "patience": None, "optimizer": fnn.sgd(0.5)}
    result = streamed(data, **options)
    assert result.history["cost"].dtype == np.float64
    assert bits(result) == bits(fit(data, **options))


@pytest.mark.slow
def test_it_draws_as_the_caller_does():
    with jax.threefry_partitionable(False):
        assert bits(fit()) == bits(streamed())


def test_it_follows_the_default_device(monkeypatch):
    seen, second, send = set(), jax.devices()[1], prefetch.send

    def watched(*args):
        chunk = send(*args)
        seen.update(*(array.devices() for array in jax.tree.leaves(chunk)))
        return chunk

    monkeypatch.setattr(prefetch, "send", watched)
    with jax.default_device(second):
        streamed(network=fnn.dense(4, 2), validation=None, patience=None, epochs=1, key=jax.random.key(0))
    assert seen == {second}


def test_a_second_one_compiles_nothing():
    streamed()
    before = programs.run_chunk._cache_size(), programs.end_epoch._cache_size()
    streamed(key=jax.random.key(1))
    assert (programs.run_chunk._cache_size(), programs.end_epoch._cache_size()) == before


@pytest.mark.exhaustive
def test_the_benchmark_tells_all_sides():
    said = []
    times = benchmark.compare("small", benchmark.Case((4, 3, 2), fnn.relu, 10, 200, 2), 1, said.append)
    assert list(times) == ["in memory", "files", "batches"]
    assert all(len(values) == 1 and values[0] > 0 for values in times.values())
    assert len(said) == 4
    assert all("of in memory" in line for line in said[1:])
