"""Ctrl-C is never lost, also where Python ignores exceptions: in a callback of the garbage collector."""

import contextlib
import gc
import os
import signal
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
from fnn.gradcheck import check_grad, redeliver_interrupts
from tests.support import children
from tests.support.slow import slow_except
from tests.support.training import LOSS, SGD, SMALL, X, Y, small_fit

ROOT = Path(__file__).parents[2]
PARAMS = SMALL.init(jax.random.key(0))


@contextlib.contextmanager
def interrupted_while_garbage_is_collected():
    """Yield a function that collects garbage, and is interrupted meanwhile when it is called for the first time."""
    left = [True]

    def interrupt(phase, info):
        if left and armed:
            left.clear()
            signal.raise_signal(signal.SIGINT)

    armed = []

    def collect():
        armed.append(True)
        gc.collect()
        armed.clear()

    gc.callbacks.append(interrupt)
    try:
        yield collect
        assert not left, "nothing was interrupted"
    finally:
        gc.callbacks.remove(interrupt)


def layer(collect):
    """A layer whose init and forward collect garbage when they are traced."""

    def init(key):
        collect()
        return SMALL.init(key)

    def forward(params, x, key=None):
        collect()
        return SMALL.forward(params, x, key)

    return SMALL._replace(init=init, forward=forward)


def made(network):
    return fnn.make_run(network, LOSS, fnn.sgd, (X[:8], Y[:8]), epochs=1, batch_size=8)


def swept(collect):
    return fnn.sweep(made(lambda rate: layer(collect)), jnp.ones(1), jax.random.key(0))


def checked(collect):
    def cost(x):
        collect()
        return jnp.sum(x**2)

    return check_grad(cost, lambda x: 2 * x, (jnp.arange(3.0),), key=0, checks=("reference",))


CALLS = {
    "check_grad": checked,
    "fit": lambda collect: small_fit(network=layer(collect)),
    "init_state": lambda collect: fnn.init_state(layer(collect), SGD, jax.random.key(0)),
    "evaluate": lambda collect: fnn.evaluate(layer(collect), LOSS, PARAMS, (X, Y)),
    "predict": lambda collect: fnn.predict(layer(collect), PARAMS, X),
    "make_run": lambda collect: made(layer(collect)),
    "sweep": swept,
}


@pytest.mark.parametrize("name", slow_except(CALLS, "check_grad", "fit", "predict"))
def test_an_interrupt_while_garbage_is_collected_is_raised(name):
    with interrupted_while_garbage_is_collected() as collect, pytest.raises(KeyboardInterrupt):
        CALLS[name](collect)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert jnp.zeros(()).dtype == jnp.float32, "a setting of the check is left behind"


def test_an_interrupt_in_a_function_of_the_host_ends_a_check():
    """XLA turns it into an error of its own."""
    left = [True]

    def on_host(x):
        if left:
            left.clear()
            signal.raise_signal(signal.SIGINT)
        return np.asarray(x)

    @jax.custom_vjp
    def copied(x):
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")

    copied.defvjp(lambda x: (copied(x), None), lambda residuals, dy: (dy,))
    with pytest.raises(KeyboardInterrupt):
        check_grad(lambda x: jnp.sum(copied(x) ** 2), lambda x: 2 * x, (jnp.arange(3.0),), key=0)
    assert left == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_before_the_first_epoch_carries_the_start(tmp_path, capsys):
    for options in ({}, {"checkpoint_dir": tmp_path}):
        with interrupted_while_garbage_is_collected() as collect, pytest.raises(KeyboardInterrupt) as caught:
            small_fit(network=layer(collect), **options)
        result = caught.value.result
        assert len(result.history["cost"]) == 0
        assert int(result.state.step) == 0
        because = "because it had not begun" if options else "because checkpoint_dir was not given"
        assert f"after epoch 0, step 0; nothing is saved, {because}" in capsys.readouterr().err
    small_fit(checkpoint_dir=tmp_path)


def test_an_interrupt_is_not_lost_if_the_function_fails():
    def fails(epoch, values, state):
        signal.raise_signal(signal.SIGINT)
        raise ValueError("a mistake of the callback")

    with pytest.raises(KeyboardInterrupt) as caught:
        small_fit(callback=fails)
    assert isinstance(caught.value.__cause__, ValueError)


def test_interrupts_that_python_ignores_are_raised_again(monkeypatch):
    class Interrupted:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    before = sys.unraisablehook
    go_on = lambda: (Interrupted(), time.sleep(5), pytest.fail("it was lost"))
    with pytest.raises(KeyboardInterrupt), redeliver_interrupts():
        go_on()
    assert sys.unraisablehook is before
    with pytest.raises(KeyboardInterrupt), redeliver_interrupts():
        Interrupted()
    start = threading.Thread.start
    with monkeypatch.context() as patch:  # the hook takes long, as on a busy machine
        patch.setattr(threading.Thread, "start", lambda thread: (start(thread), time.sleep(0.1)))
        with pytest.raises(KeyboardInterrupt), redeliver_interrupts():
            go_on()
    ignored, failed = [], type("Failed", (), {"__del__": lambda self: [][0]})
    sys.unraisablehook = ignored.append
    try:
        with redeliver_interrupts():
            failed()
        thread = threading.Thread(target=redeliver_interrupts()(lambda: None))
        thread.start()
        thread.join()
        assert sys.unraisablehook == ignored.append
    finally:
        sys.unraisablehook = before
    assert [unraisable.exc_type for unraisable in ignored] == [IndexError]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", np.linspace(0.05, 2.5, 10).round(2).tolist())
def test_an_interrupt_of_digits_ends_it(seconds, tmp_path):
    """The moments begin with the gradient check."""
    command = [sys.executable, "-m", "experiments", "digits", "--results", str(tmp_path)]
    environment = children.environment(PYTHONUNBUFFERED="1", JAX_ENABLE_COMPILATION_CACHE="false")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as child:
        assert child.stdout is not None
        next(line for line in child.stdout if "parameters" in line)
        time.sleep(seconds)
        os.kill(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "interrupted" in err
