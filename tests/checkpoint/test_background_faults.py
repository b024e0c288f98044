"""A save that fails in the background, and a training that ends while one is under way: nothing is hidden or lost."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.checkpoint import LockedError, atomic
from fnn.training import pruning
from tests.support.checkpoint_files import names
from tests.support.held_saves import held, left, threads
from tests.support.training import bits, small_fit

ROOT = Path(__file__).parents[2]
SECOND = "step-00000004"  # the checkpoint of the second epoch, of two steps


@contextlib.contextmanager
def failing(stage: str, name: str = SECOND):
    """Let a stage of the save of this checkpoint fail, on a full disk."""

    def fails(function):
        def call(*args, **options):
            if any(name in str(arg) for arg in args):
                raise OSError(28, os.strerror(28), str(args[0]))
            return function(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        if stage == "open":
            patch.setattr(atomic, "open", fails(open), raising=False)
        elif stage in ("write_new", "finish_folder", "sync_folder"):
            patch.setattr(atomic, stage, fails(getattr(atomic, stage)))
        elif stage == "prune":
            removed = pruning.atomic.remove_folder
            patch.setattr(pruning.atomic, "remove_folder", fails(removed))
        else:
            patch.setattr(os, stage, fails(getattr(os, stage)))
        yield


@pytest.fixture(scope="module")
def whole():
    return small_fit(epochs=4)


@pytest.mark.parametrize("stage", ["open", "write_new", "sync_folder", "finish_folder", "rename"])
@pytest.mark.parametrize("epochs", [4, 2], ids=["next", "end"])
def test_the_error_of_a_save_is_raised_at_the_next_one_or_at_the_end(stage, epochs, whole, tmp_path):
    reached = []
    with failing(stage), pytest.raises(OSError, match=rf"No space left on device.*{SECOND}"):
        small_fit(epochs=epochs, checkpoint_dir=tmp_path, callback=lambda epoch, *_: reached.append(epoch))
    assert reached == [1, 2], "the third epoch was trained, and its checkpoint raised the error"
    assert names(tmp_path) == ["step-00000002"]
    assert threads() == left(tmp_path) == []
    assert bits(small_fit(epochs=4, checkpoint_dir=tmp_path, resume=True)) == bits(whole)


def test_an_error_of_pruning_is_raised_and_the_checkpoint_is_there(whole, tmp_path):
    with failing("prune", "step-00000002"), pytest.raises(OSError, match=r"No space left on device.*step-00000002"):
        small_fit(epochs=4, checkpoint_dir=tmp_path, keep=1)
    assert names(tmp_path) == ["step-00000002", SECOND]
    assert bits(small_fit(epochs=4, checkpoint_dir=tmp_path, resume=True)) == bits(whole)


def test_a_folder_that_is_removed_while_a_checkpoint_is_written(tmp_path):
    folder = tmp_path / "run"

    def callback(epoch, logs, state):
        if epoch == 2:
            save.wait()
            shutil.rmtree(folder)
            save.go.set()

    with held(SECOND) as save, pytest.raises(LockedError, match=f"{folder} was removed or replaced"):
        small_fit(epochs=4, checkpoint_dir=folder, callback=callback)
    assert not folder.exists()
    assert threads() == []


def raises(error):
    def callback(epoch, logs, state):
        if epoch == 2:
            raise error

    return callback


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3)], ids=["error", "exit"])
def test_an_error_of_the_training_waits_for_the_save_under_way(error, whole, tmp_path):
    with held(SECOND, until=0.2), pytest.raises(type(error)) as caught:
        small_fit(epochs=4, checkpoint_dir=tmp_path, callback=raises(error))
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    assert names(tmp_path) == ["step-00000002", SECOND]
    assert bits(small_fit(epochs=4, checkpoint_dir=tmp_path, resume=True)) == bits(whole)


def test_an_error_of_the_training_is_not_hidden_by_that_of_the_save(tmp_path):
    with failing("finish_folder"), pytest.raises(ValueError, match="mine") as caught:
        small_fit(epochs=4, checkpoint_dir=tmp_path, callback=raises(ValueError("mine")))
    (note,) = caught.value.__notes__
    assert note.startswith("Besides, the save under way failed: OSError: [Errno 28] No space left on device: ")
    assert SECOND in note
    assert names(tmp_path) == ["step-00000002"]


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_not_finite_names_only_a_durable_checkpoint(fails, tmp_path):
    """The optimizer makes NaN of the fifth step, when the checkpoint of the fourth is under way."""

    def update(gradients, count, params=None, **_):
        return jax.tree.map(lambda g: jnp.where(count == 4, jnp.nan, -0.1 * g), gradients), count + 1

    optimizer = fnn.types.GradientTransformation(lambda params: jnp.int32(0), update)
    with contextlib.ExitStack() as stack:
        if fails:
            stack.enter_context(failing("finish_folder"))
        else:
            stack.enter_context(held(SECOND, until=0.5))
        with pytest.raises(FloatingPointError, match="first in epoch 3, step 1 of 2") as caught:
            small_fit(epochs=4, checkpoint_dir=tmp_path, optimizer=optimizer)
    newest = "step-00000002" if fails else SECOND
    assert f"the last good checkpoint is {tmp_path / newest}" in str(caught.value)
    assert names(tmp_path)[-1] == newest
    assert any(SECOND in note for note in getattr(caught.value, "__notes__", [])) == fails


@contextlib.contextmanager
def interrupted_while_it_waits(*numbers: signal.Signals):
    """Hold up the checkpoint of the second epoch, the last one; send these signals to this process; let it go."""
    with held(SECOND) as save:

        def send():
            save.wait()
            for number in numbers:
                time.sleep(0.2)
                os.kill(os.getpid(), number)
            time.sleep(0.2)
            save.go.set()

        sender = threading.Thread(target=send)
        sender.start()
        yield
        sender.join()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_while_fit_waits_for_the_last_checkpoint(number, error, tmp_path, capsys):
    """What is saved is said when it is durable, and not before."""
    with interrupted_while_it_waits(number), pytest.raises(error) as caught:
        small_fit(checkpoint_dir=tmp_path)
    assert f"saved {tmp_path}/{SECOND}; to resume" in capsys.readouterr().err
    assert names(tmp_path) == ["step-00000002", SECOND]
    assert int(caught.value.result.state.step) == 4
    assert threads() == []


def test_a_signal_is_not_lost_if_the_last_checkpoint_fails(tmp_path, capsys):
    interrupt = lambda epoch, *_: signal.raise_signal(signal.SIGINT) if epoch == 2 else None
    with failing("finish_folder"), pytest.raises(KeyboardInterrupt) as caught:
        small_fit(epochs=4, checkpoint_dir=tmp_path, callback=interrupt)
    assert SECOND in str(caught.value.__cause__)
    assert "saved" not in capsys.readouterr().err


def test_a_second_interrupt_gives_the_checkpoint_up(whole, tmp_path, capsys):
    with interrupted_while_it_waits(signal.SIGINT, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        small_fit(checkpoint_dir=tmp_path)
    assert "saved" not in capsys.readouterr().err
    assert names(tmp_path) == ["step-00000002"]
    assert threads() == left(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert bits(small_fit(epochs=4, checkpoint_dir=tmp_path, resume=True)) == bits(whole)


ENDS = """
import sys, threading, time
import numpy as np
from fnn.checkpoint import atomic
from tests.support.training import small_fit

folder, how = sys.argv[1:]
called, finish = threading.Event(), atomic.finish_folder


def slow(temporary, path, check):
    time.sleep(1.0)
    finish(temporary, path, check)


def callback(epoch, logs, state):
    if how == "exit":
        sys.exit(3)
    called.set()
    time.sleep(60)


atomic.finish_folder = slow
if how == "thread":
    threading.Thread(target=small_fit, kwargs={"checkpoint_dir": folder, "callback": callback}, daemon=True).start()
    called.wait()
    sys.exit(3)
small_fit(checkpoint_dir=folder, callback=callback)
"""


FORKS = """
import os, sys, warnings
from pathlib import Path
import numpy as np
from fnn.checkpoint import LockedError
from fnn.checkpoint.background import Saves
from tests.support.held_saves import held

warnings.simplefilter("ignore")
saves = Saves(Path(sys.argv[1]))
with held("step-00000001") as save, saves.opened():
    saves.start(1, {"state.safetensors": {"w": np.ones(3)}}, lambda name: None)
    save.wait()
    child = os.fork()
    if child == 0:
        try:
            saves.wait()
        except LockedError as error:
            os._exit(7 if f"process {os.getpid()} does not hold the lock" in str(error) else 1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    save.go.set()
"""


@pytest.mark.slow
def test_a_forked_process_does_not_wait_for_a_thread_that_it_has_not(tmp_path):
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout == "7\n", done.stderr
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exit", "thread"])
def test_an_interpreter_that_ends_finishes_the_checkpoint(how, whole, tmp_path):
    """`sys.exit` in a callback, or in the main thread while a daemon thread trains."""
    command = [sys.executable, "-c", ENDS, str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 3, done.stderr
    assert names(tmp_path) == ["step-00000002"]
    assert bits(small_fit(epochs=4, checkpoint_dir=tmp_path, resume=True)) == bits(whole)
