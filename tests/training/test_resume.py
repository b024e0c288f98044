"""Exact resumption: a training that stops anywhere and resumes is bitwise equal to an uninterrupted one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.checkpoint import store
from tests.support.oracles import normal
from tests.support.slow import slow_except
from tests.support.training import LOSS, NETWORK, OPTIMIZER, TRAIN, VALIDATION, Y, bits, content, fit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of a training without checkpoints, and a folder with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp("whole")
    result = fit()
    every = fit(checkpoint_dir=folder, checkpoint_every_steps=1, keep=1000)
    assert bits(every) == bits(result)
    return result, folder


def test_the_training_stops_early_and_its_best_epoch_is_not_the_last(whole):
    result, folder = whole
    assert len(result.history["cost"]) == 6
    assert int(result.state.step) < 30, "the best is not the last"
    assert [path.name for path in store.list_checkpoints(folder)] == [f"step-{i:08d}" for i in range(1, 31)]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((1, 4, 5, 9, 13, 29, 30), marks=pytest.mark.accelerator),
        pytest.param(range(1, 31), marks=pytest.mark.exhaustive),
    ],
)
def test_resuming_after_any_step_gives_the_same_bits(steps, whole, tmp_path):
    result, folder = whole
    options = {"checkpoint_every_steps": 1, "keep": 3}
    fit(checkpoint_dir=tmp_path / "uninterrupted", **options)
    for step in steps:
        here = tmp_path / str(step)
        for path in store.list_checkpoints(folder)[:step]:  # those saved after so many steps
            shutil.copytree(path, here / path.name)
        resumed = fit(checkpoint_dir=here, resume=True, **options)
        assert bits(resumed) == bits(result), f"after step {step}"
        if step < 30:
            assert content(here) == content(tmp_path / "uninterrupted"), f"after step {step}"


@pytest.mark.parametrize("options", [{}, {"checkpoint_every_steps": 7}, {"checkpoint_every": 4}, {"report_every": 2}])
def test_other_options_of_saving_and_reporting_change_no_bits(options, whole, tmp_path):
    result, folder = whole
    shutil.copytree(store.list_checkpoints(folder)[7], tmp_path / "step-00000008")
    callback = {"callback": lambda *_: None} if "report_every" in options else {}
    resumed = fit(checkpoint_dir=tmp_path, resume=True, **options, **callback)
    assert bits(resumed) == bits(result)


IMAGES = normal(5, (74, 8, 8, 1))
WEIGHT = np.abs(normal(6, (74,)))
DEEP = fnn.serial(fnn.dense(4, 8), fnn.repeat(fnn.residual(fnn.serial(fnn.dense(8, 8), fnn.gelu)), 3), fnn.dense(8, 2))
HARD = {
    "convolution": (fnn.convnet((8, 8, 1), [3], 3, [10, 2]), fnn.adam(0.01), (IMAGES, Y[:74]), {"patience": None}),
    "batch_norm": (
        fnn.serial(fnn.dense(4, 8), fnn.batch_norm(8), fnn.relu, fnn.dense(8, 2)),
        fnn.nesterov(0.1),
        TRAIN,
        {"l2": 0.1},
    ),
    "weights": (fnn.mlp([4, 16, 2]), fnn.adam(0.01), (*TRAIN, WEIGHT), {"batch_size": 37}),
    "depth": (DEEP, fnn.heavy_ball(0.1), TRAIN, {"validation": None, "patience": None}),
    "full batch": (fnn.mlp([4, 16, 2]), OPTIMIZER, TRAIN, {"batch_size": 74}),
    "one by one": (fnn.mlp([4, 16, 2]), fnn.adam(0.001), TRAIN, {"batch_size": 1, "epochs": 2}),
}


@pytest.mark.accelerator
@pytest.mark.parametrize("name", slow_except(HARD, "weights"))
def test_steps_inside_an_epoch_are_those_of_whole_epochs(name, tmp_path):
    """With checkpoint_every_steps `fit` runs another program, whose bits are those of the program for whole epochs."""
    network, optimizer, data, options = HARD[name]
    held_out = (data[0][:20], data[1][:20])
    options = {"validation": held_out, "epochs": 3} | options
    plain = fit(network, optimizer=optimizer, data=data, **options)
    stepwise = fit(
        network, optimizer=optimizer, data=data, checkpoint_dir=tmp_path, checkpoint_every_steps=7, **options
    )
    assert bits(stepwise) == bits(plain)


@pytest.mark.slow
def test_optax_and_schedules_resume_too(tmp_path):
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 30)))
    with jax.numpy_dtype_promotion("standard"):
        result = fit(optimizer=optimizer)
        fit(optimizer=optimizer, epochs=2, checkpoint_dir=tmp_path)
        again = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 30)))
        assert bits(fit(optimizer=again, checkpoint_dir=tmp_path, resume=True)) == bits(result)


def test_a_finished_training_is_not_repeated_and_may_be_extended(tmp_path):
    first = fit(checkpoint_dir=tmp_path, epochs=4)
    before = content(tmp_path)
    assert bits(fit(checkpoint_dir=tmp_path, epochs=4, resume=True)) == bits(first)
    assert content(tmp_path) == before
    assert bits(fit(checkpoint_dir=tmp_path, epochs=6, resume=True)) == bits(fit())


@pytest.mark.slow
def test_a_training_that_patience_ended_stays_ended(tmp_path):
    first = fit(checkpoint_dir=tmp_path, epochs=100, patience=2)
    assert len(first.history["cost"]) < 100
    assert bits(fit(checkpoint_dir=tmp_path, epochs=100, patience=2, resume=True)) == bits(first)


def test_resume_without_a_checkpoint_starts_a_training(whole, tmp_path):
    assert bits(fit(checkpoint_dir=tmp_path / "new" / "folder", resume=True)) == bits(whole[0])


@pytest.mark.slow
def test_a_checkpoint_takes_precedence_over_the_given_state(tmp_path):
    start = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(7))
    whole = fit(key=None, state=start)
    fit(key=None, state=start, epochs=2, checkpoint_dir=tmp_path)
    assert bits(fit(key=None, state=start, checkpoint_dir=tmp_path, resume=True)) == bits(whole)
    odd = whole.state._replace(step=jnp.int32(7))  # by its number, the step is not the first of an epoch
    a = fit(key=None, state=odd, epochs=3)
    b = fit(key=None, state=odd, epochs=3, checkpoint_dir=tmp_path / "odd", checkpoint_every_steps=2)
    assert bits(a) == bits(b)


def test_the_newest_checkpoints_and_the_best_are_kept(tmp_path):
    result = fit(checkpoint_dir=tmp_path, keep=2, patience=None, epochs=12)
    best = int(np.argmin(result.history["validation_cost"])) + 1
    assert best < 11
    steps = [int(path.name[5:]) for path in store.list_checkpoints(tmp_path)]
    assert steps == [5 * best, 55, 60]
    like = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(0))
    state = store.restore(store.list_checkpoints(tmp_path)[0], like)
    cost = fnn.evaluate(NETWORK, LOSS, state.params, VALIDATION)["cost"]
    np.testing.assert_allclose(cost, result.history["validation_cost"].min(), rtol=1e-5)


def test_a_damaged_newest_checkpoint_is_named_and_renamed(whole, tmp_path):
    result, folder = whole
    for path in store.list_checkpoints(folder)[5:8]:
        shutil.copytree(path, tmp_path / path.name)
    file = tmp_path / "step-00000008" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.warns(store.CheckpointWarning, match=r"damaged: .*step-00000008.*step-00000007 is used instead"):
        resumed = fit(checkpoint_dir=tmp_path, resume=True, checkpoint_every_steps=1)
    assert bits(resumed) == bits(result)
    assert (tmp_path / "damaged-step-00000008" / "state.safetensors").exists()


def test_if_all_checkpoints_are_damaged_no_training_starts(whole, tmp_path):
    for path in store.list_checkpoints(whole[1])[5:7]:
        shutil.copytree(path, tmp_path / path.name)
        (tmp_path / path.name / "manifest.json").unlink()
    before = content(tmp_path)
    with pytest.raises(store.DamagedError, match=r"none of the 2 .*step-00000007.*step-00000006"):
        fit(checkpoint_dir=tmp_path, resume=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signals_end_a_training_cleanly(number, error, whole, tmp_path, capfd):
    def callback(epoch, logs, state):
        if epoch == 3:
            os.kill(os.getpid(), number)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(error) as stopped:
        fit(checkpoint_dir=tmp_path, checkpoint_every=100, callback=callback)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    said = capfd.readouterr().err
    assert f"stopped by {number.name} after epoch 3, step 15; saved {tmp_path}/step-00000015" in said
    assert "resume=True" in said
    if number == signal.SIGTERM:
        assert stopped.value.code == 143
    assert bits(fit(checkpoint_dir=tmp_path, resume=True)) == bits(whole[0])
    with pytest.raises(error):
        fit(callback=callback)
    assert "nothing is saved" in capfd.readouterr().err


CHILD = """
import sys, hashlib
from tests.support.training import bits, fit
result = fit(**({"checkpoint_dir": sys.argv[1], "checkpoint_every_steps": 4} if len(sys.argv) > 1 else {}))
print(hashlib.sha256(b"".join(bits(result))).hexdigest())
"""


@pytest.mark.slow
def test_processes_agree_with_the_compilation_cache_cold_and_warm(tmp_path):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def child(*args, **env):
        command = [sys.executable, "-c", CHILD, *args]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | env, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    cold = child(**cache)
    assert any((tmp_path / "cache").iterdir())
    assert cold == child(**cache) == child(str(tmp_path / "checkpoints"))


@pytest.mark.slow
def test_a_long_training_does_not_grow(tmp_path):
    """Neither the process's memory nor the number of live arrays grows in 1,000 epochs with reports and checkpoints."""

    def run(epochs, folder):
        options = {"callback": lambda *_: None, "patience": None, "checkpoint_every": 10, "keep": 1}
        fit(epochs=epochs, checkpoint_dir=tmp_path / folder, **options)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"), len(jax.live_arrays())

    run(1000, "a")  # warm: compilation, allocator
    memory, arrays = run(100, "b")
    after, still = run(1000, "c")
    assert still <= arrays
    assert after - memory < 4 * 2**20, f"{(after - memory) / 2**20:.1f} MiB"
