"""Checkpoints are written while the training goes on, one at a time, and the last one before `fit` ends."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.checkpoint import LockedError, store, tensors, writing
from tests.support.checkpoint_files import names
from tests.support.held_saves import held, left, threads
from tests.support.training import bits, content, small_fit

ROOT = Path(__file__).parents[2]


def test_the_training_goes_on_while_a_checkpoint_is_written_and_changes_nothing_of_it(tmp_path):
    """Two steps an epoch; the checkpoint of the third epoch is held up until the fifth has ended."""
    seen = []

    def callback(epoch, logs, state):
        if epoch == 5:
            save.wait()
            seen.extend([names(tmp_path / "held"), threads()])
            save.go.set()

    options = {"optimizer": fnn.adam(0.1), "epochs": 6, "checkpoint_every": 3}
    plain = small_fit(checkpoint_dir=tmp_path / "plain", callback=lambda *_: None, **options)
    with held("step-00000006") as save:
        result = small_fit(checkpoint_dir=tmp_path / "held", callback=callback, **options)
    assert bits(result) == bits(plain)
    (temporary,), running = seen
    assert temporary.startswith(".tmp-")
    assert running == ["fnn checkpoint"]
    assert content(tmp_path / "held") == content(tmp_path / "plain")
    assert threads() == left(tmp_path / "held") == []


def test_what_is_saved_shares_no_memory_with_what_the_programs_overwrite():
    x, key = jnp.arange(6.0).reshape(2, 3), jax.random.key(3)
    rows, scalar = np.arange(12.0).reshape(3, 4).T, np.float32(2.5)
    memory: dict = {"gone": np.zeros(3)}
    leaves = {"x": x, "key": key, "rows": rows, "scalar": scalar, "none": jnp.zeros((0, 2), jnp.bfloat16)}
    copies = tensors.copy_to_host(leaves, memory)
    assert list(copies) == list(leaves)
    assert {name: (a.dtype, a.shape) for name, a in copies.items()} == {
        name: (a.dtype, a.shape) for name, a in tensors.to_host(leaves).items()
    }
    assert {name: a.tobytes() for name, a in copies.items()} == {
        name: a.tobytes() for name, a in tensors.to_host(leaves).items()
    }
    assert not np.shares_memory(copies["x"], np.asarray(x))
    assert not np.shares_memory(copies["rows"], rows)
    again = tensors.copy_to_host(leaves | {"x": x + 1, "rows": rows[:2]}, memory)
    assert again["x"] is copies["x"], "the memory is used again"
    assert again["rows"].shape == (2, 3)
    assert float(again["x"][0, 0]) == 1.0
    assert memory.keys() == leaves.keys()


def test_one_save_at_most_is_under_way(tmp_path, monkeypatch):
    """With a checkpoint after every step and a slow disk, each save begins after the one before has ended."""
    events, finish = [], writing.finish

    def slow(prepared, check):
        events.append(("begins", prepared.path.name, len(threads())))
        time.sleep(0.02)
        finish(prepared, check)
        events.append(("ends", prepared.path.name, len(threads())))

    monkeypatch.setattr(writing, "finish", slow)
    whole = small_fit(epochs=3)
    assert bits(small_fit(epochs=3, checkpoint_dir=tmp_path, checkpoint_every_steps=1, keep=2)) == bits(whole)
    steps = [f"step-{i:08d}" for i in range(1, 7)]
    assert events == [(what, step, 1) for step in steps for what in ("begins", "ends")]
    assert names(tmp_path) == steps[-2:]


def test_without_another_thread_fit_writes_itself(tmp_path, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "fnn checkpoint":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    whole = small_fit(epochs=3)
    small_fit(epochs=2, checkpoint_dir=tmp_path)
    assert bits(small_fit(epochs=3, checkpoint_dir=tmp_path, resume=True)) == bits(whole)


def test_fit_ends_and_gives_the_folder_back_when_the_last_checkpoint_is_durable(tmp_path):
    """The trainings run in threads of their own; the second one takes the folder over."""
    whole, results = small_fit(epochs=3), []
    run = lambda **options: results.append(small_fit(checkpoint_dir=tmp_path, **options))
    with held("step-00000004") as save:
        thread = threading.Thread(target=run, kwargs={"epochs": 2})
        thread.start()
        save.wait()
        with pytest.raises(LockedError, match=r"in use.*this process"):
            store.save(tmp_path, {"w": jnp.ones(2)}, step=9)
        time.sleep(0.2)
        assert thread.is_alive()
        assert results == []
        save.go.set()
        thread.join()
    assert names(tmp_path)[-1] == "step-00000004"
    thread = threading.Thread(target=run, kwargs={"epochs": 3, "resume": True})
    thread.start()
    thread.join()
    assert bits(results[1]) == bits(whole)
    assert threads() == left(tmp_path) == []


def test_what_is_read_back_differently_is_an_error_and_not_a_checkpoint(tmp_path, monkeypatch):
    """A disk that flips a bit of what it was given."""
    fsync = os.fsync

    def flips(descriptor):
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if "step-00000002" in str(path) and path.name == "state.safetensors":
            data = bytearray(path.read_bytes())
            data[-1] ^= 4
            path.write_bytes(data)

    store.save(tmp_path, {"w": jnp.ones(2)}, step=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", flips)
        with pytest.raises(OSError, match=r"read back differently.*step-00000002/state.safetensors"):
            store.save(tmp_path, {"w": jnp.ones(2)}, step=2)
    assert names(tmp_path) == ["step-00000001"]


MEMORY = """
import re, sys
from pathlib import Path
import jax, jax.numpy as jnp
import fnn
from fnn.training import loop

MB = 128
loop._SNAPSHOT_SECONDS = 1e9  # on a slow machine, fit copies the state for another purpose


def begin(epoch, logs, state):  # initialisation takes more memory than training
    if epoch == 2:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is the current size


def run(**options):
    data = jnp.ones((4, 2**10)), jnp.ones((4, MB * 2**8))
    fnn.fit(fnn.dense(2**10, MB * 2**8), fnn.squared_error, fnn.sgd(0.0), data, epochs=5, batch_size=4,
            key=jax.random.key(0), progress=False, callback=begin, **options)
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**10 / MB


run()
before = max(run(), run())
after = run(checkpoint_dir=sys.argv[1], keep=1)
print(after - before)
"""


@pytest.mark.slow
def test_a_save_takes_at_most_one_more_copy_of_the_state(tmp_path):
    """The peak of the process's memory grows by one state of 128 MiB, but for what the allocator keeps."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 0.4 < float(done.stdout) < 1.3


@pytest.mark.slow
def test_a_split_state_is_copied_part_by_part(tmp_path):
    """Over eight devices: what is saved are the same bytes as those of one device's state."""
    code = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from fnn.checkpoint import tensors
mesh = jax.make_mesh((4, 2), ("a", "b"))
x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
for spec in ((), ("a",), ("b", None), ("a", "b"), (None, "b"), (("a", "b"),)):
    leaf = jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))
    copy = tensors.copy_to_host({"x": leaf}, {})["x"]
    assert copy.tobytes() == x.tobytes(), spec
    leaf.delete()
    assert copy.tobytes() == x.tobytes(), spec
print("same")
"""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.stdout == "same\n", done.stderr
