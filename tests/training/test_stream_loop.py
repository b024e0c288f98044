"""The loop on data larger than the device: bitwise resume, errors, reports, and memory."""

import itertools
import os
import shutil
import signal
import threading
import time
import weakref

import jax
import numpy as np
import pytest

import fnn
from fnn.checkpoint import store
from fnn.data import prefetch, streams
from fnn.data.prefetch import Place
from fnn.sharding.tiles import tiles_of
from fnn.training import programs, stream_loop
from tests.support.oracles import assert_close
from tests.support.streaming import BATCH, BUDGET, DATA, KEY, SIZE, Read, X, Y, batches, fit, streamed
from tests.support.training import bits

pytestmark = pytest.mark.usefixtures("no_stream_is_left")


def content(folder):
    return {
        path.name: [file.read_bytes() for file in sorted(path.iterdir())] for path in store.list_checkpoints(folder)
    }


@pytest.mark.accelerator
@pytest.mark.parametrize("kind", ["arrays", pytest.param("batches", marks=pytest.mark.slow)])
def test_going_on_inside_an_epoch_gives_the_same_bits(kind, tmp_path):
    options = {"window": 40, "device_memory": BUDGET}
    options |= {"data": DATA if kind == "arrays" else lambda epoch: batches(epoch)}
    uninterrupted = fit(**options)
    saving = {"checkpoint_every_steps": 5, "keep": 100}
    assert bits(fit(checkpoint_dir=tmp_path / "whole", **saving, **options)) == bits(uninterrupted)
    done = content(tmp_path / "whole")
    assert [int(name[5:]) for name in done] == sorted({*range(5, 64, 5), 21, 42, 63})
    for step in (5, 20, 21, 60, 63):
        folder = tmp_path / str(step)
        for name, files in done.items():
            if int(name[5:]) <= step:
                (folder / name).mkdir(parents=True)
                for file, data in zip(sorted((tmp_path / "whole" / name).iterdir()), files, strict=True):
                    (folder / name / file.name).write_bytes(data)
        resumed = fit(checkpoint_dir=folder, resume=True, **saving, **options)
        assert bits(resumed) == bits(uninterrupted), f"after {step}"
        assert content(folder) == done
    other = {"data": (X[:SIZE], 1 - Y[:SIZE])} if kind == "arrays" else {"window": 80}
    for changed in ({"window": 41}, {"batch_size": 17}, other):
        with pytest.raises(ValueError, match="checkpoints of this same training"):
            fit(checkpoint_dir=tmp_path / "5", resume=True, **(options | changed))


def test_a_signal_is_heeded_inside_an_epoch_and_while_waiting(tmp_path, capfd):
    plain = fit(batches, device_memory=BUDGET)
    held = threading.Event()

    def stream(epoch):
        for number, batch in enumerate(batches(epoch)):
            if epoch == 1 and number == 12 and not held.is_set():
                held.set()
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.5)  # the signal arrives while the training waits for a batch
            yield batch

    with pytest.raises(SystemExit):
        fit(stream, device_memory=BUDGET, checkpoint_dir=tmp_path)
    step = int(store.list_checkpoints(tmp_path)[-1].name[5:])
    assert 21 < step < 42
    assert f"stopped by SIGTERM after epoch 1, step {step}; saved" in capfd.readouterr().err
    assert bits(fit(stream, device_memory=BUDGET, checkpoint_dir=tmp_path, resume=True)) == bits(plain)


def test_what_the_stream_raises_is_raised():
    def stream(epoch):
        yield from batches(epoch) if epoch == 0 else ()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fit(stream, device_memory=BUDGET)


def poisoned(params, residuals, dy):
    """The gradient of a dense layer; NaN if the batch contains a 7."""
    x, inner = residuals
    gradient, dx = DENSE.backward(params, inner, dy)
    return jax.tree.map(lambda leaf: jax.numpy.where((x == 7).any(), np.float32(np.nan), leaf), gradient), dx


def forward(params, x, key=None):
    y, residuals = DENSE.forward(params, x)
    return y, (x, residuals)


DENSE = fnn.dense(4, 2)
POISONED = DENSE._replace(forward=forward, backward=poisoned)


@pytest.mark.parametrize("kind", ["arrays", pytest.param("batches", marks=pytest.mark.slow)])
def test_what_is_not_finite_is_named(kind, tmp_path):
    x = DATA[0].copy()
    order = np.concatenate([index for *_, index in batches(0, (*DATA, np.arange(SIZE)))])
    x[order[9 * BATCH + 3]] = 7  # seen in step 10
    data = (x, DATA[1]) if kind == "arrays" else (lambda epoch: batches(epoch, (x, DATA[1])))
    options = {"network": POISONED, "checkpoint_dir": tmp_path, "checkpoint_every_steps": 2}
    with pytest.raises(FloatingPointError) as error:
        streamed(data, window=SIZE if kind == "arrays" else None, **options)
    of = " of 21" if kind == "arrays" else ""
    assert f"first in epoch 1, step 10{of}: the gradient of params.w (and 1 more of 2 leaves)" in str(error.value)
    assert f"the last good checkpoint is {tmp_path}/step-00000008" in str(error.value)


@pytest.mark.slow
def test_reports_and_callbacks_come_as_they_do_in_memory():
    def told(run, *args):
        seen = []
        run(*args, callback=lambda epoch, logs, state: seen.append((epoch, logs, bits(state))) or epoch == 2)
        return seen

    assert told(streamed) == told(fit)
    assert len(told(streamed)) == 2


NORMALIZED = fnn.serial(fnn.dense(4, 6), fnn.batch_norm(6), fnn.relu, fnn.dense(6, 2))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_batch_norm_is_calibrated_on_the_first_chunk(devices, tmp_path):
    source = streams.source(DATA, BATCH, BUDGET, 100)
    assert source is not None
    options = {"network": NORMALIZED, "window": 100, "patience": None}
    if devices > 1:
        options["sharding"] = fnn.sharding.data_parallel(jax.make_mesh((devices,), ("data",)))
    result = streamed(checkpoint_dir=tmp_path, **options)
    elements = source.elements(KEY, 2, Place(), None, False)
    chunk = next(prefetch.cut(elements, source.like, tiles_of(None, BATCH), source.steps, 0))
    params, x = jax.device_get(result.state.params), jax.numpy.asarray(chunk.arrays[0][: chunk.rows])
    assert_close(params, fnn.calibrate(NORMALIZED, params, x), "float32")
    assert bits(streamed(checkpoint_dir=tmp_path, resume=True, **options)) == bits(result)


@pytest.mark.parametrize("kind", ["arrays", pytest.param("batches", marks=pytest.mark.slow)])
def test_one_thread_reads(kind, tmp_path):
    """A file or a random generator may be shared by all epochs, so only one thread may read; also for batch_norm."""
    threads, begun, together = [], [], []
    here = lambda: threads.append(threading.current_thread().name)

    def stream(epoch):
        mine = threading.get_ident()
        begun.append(mine)
        try:
            for batch in batches(epoch):
                together.extend({*begun} - {mine})
                here()
                yield batch
        finally:
            begun.remove(mine)

    data = stream if kind == "batches" else (Read(DATA[0], here), DATA[1])
    options = {"data": data, "device_memory": BUDGET, "network": NORMALIZED, "patience": None}
    options |= {"checkpoint_every_steps": 5, "keep": 100}

    def trained(folder, **changed):
        threads.clear()
        result = fit(checkpoint_dir=folder, **(options | changed))
        assert not together
        return result, list(itertools.dropwhile(lambda name: name == "MainThread", threads))

    uninterrupted, seen = trained(tmp_path / "whole")
    assert set(seen) == {"fnn stream"}
    assert bits(trained(tmp_path / "again", data=batches if kind == "batches" else DATA)[0]) == bits(uninterrupted)
    for step in (25, 40, 42, 63):
        kept = [path for path in store.list_checkpoints(tmp_path / "whole") if int(path.name[5:]) <= step]
        for path in kept:
            shutil.copytree(path, tmp_path / str(step) / path.name)
        result, seen = trained(tmp_path / str(step), resume=True)
        assert bits(result) == bits(uninterrupted), f"after {step}"
        assert set(seen) == {"fnn stream"}


def test_what_steps_report_is_kept_once(monkeypatch, tmp_path):
    """The logs of an epoch's steps are appended in place: of 21 calls, few copy them."""
    kept, save_and_report = [], stream_loop.save_and_report

    def watched(training, loop_state, *args):
        kept.append(None if loop_state.step_logs is None else jax.tree.leaves(loop_state.step_logs)[0])
        return save_and_report(training, loop_state, *args)

    monkeypatch.setattr(stream_loop, "save_and_report", watched)
    streamed(device_memory=BUDGET // 4, checkpoint_dir=tmp_path, epochs=2)
    epoch = kept[:20]
    assert [len(outs) for outs in epoch] == list(range(1, 21))
    assert kept[20] is None
    assert len({outs.ctypes.data for outs in epoch}) <= 6
    assert not any(np.shares_memory(outs, kept[21]) for outs in epoch)


def test_where_it_began_is_not_kept(monkeypatch):
    """Neither the given state nor the first carry stays on the device."""
    first, alive, run_chunk = [], [], programs.run_chunk
    start_or_resume, run_stream_loop = stream_loop.start_or_resume, stream_loop.run_stream_loop
    watch = lambda params: first.extend(map(weakref.ref, jax.tree.leaves(params)))
    is_alive = lambda ref: ref() is not None and not ref().is_deleted()

    def watched_loop(training, source, state):
        copies = [jax.tree.map(jax.numpy.copy, state)]
        watch(copies[0].params)
        return run_stream_loop(training, source, copies.pop())

    def watched_start(*args):
        loop_state, saved = start_or_resume(*args)
        watch(loop_state.carry.state.params)
        return loop_state, saved

    def watched_chunk(*args):
        alive.append(sum(map(is_alive, first)))
        return run_chunk(*args)

    monkeypatch.setattr(stream_loop, "run_stream_loop", watched_loop)
    monkeypatch.setattr(stream_loop, "start_or_resume", watched_start)
    monkeypatch.setattr(programs, "run_chunk", watched_chunk)
    streamed()
    assert len(first) == 8
    assert set(alive[2:]) == {0}, alive
