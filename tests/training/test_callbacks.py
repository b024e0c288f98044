"""Callbacks and interrupts: what a callback may return, when it is called, and what an interrupt carries."""

import asyncio
import signal
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.training import bits, fit


async def coroutine(epoch, logs, state):
    return None


@pytest.mark.parametrize(
    "callback",
    [
        lambda *_: sys.stdout.write(""),
        lambda *_: "text",
        lambda *_: 1,
        lambda *_: np.zeros(2, bool),
        coroutine,
        lambda *_: [],
    ],
)
def test_a_callback_returns_none_or_a_boolean(callback):
    with pytest.raises(TypeError, match="fit: callback must be a function that returns None, True or False"):
        fit(callback=callback, epochs=2)


def test_booleans_of_numpy_and_jax_count():
    assert asyncio.iscoroutinefunction(coroutine)
    for value in (np.bool_(True), jnp.asarray(True), True):
        assert len(fit(callback=lambda *_, value=value: value, epochs=3).history["cost"]) == 1
    for value in (np.bool_(False), None, False):
        assert len(fit(callback=lambda *_, value=value: value, epochs=3).history["cost"]) == 3


def test_several_callbacks_are_all_called_and_any_ends_the_training():
    seen = []
    first = lambda epoch, logs, state: seen.append(("first", epoch)) or epoch == 2
    second = lambda epoch, logs, state: seen.append(("second", epoch)) or logs.clear()
    result = fit(callback=[first, second], epochs=5)
    assert seen == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]
    assert len(result.history["cost"]) == 2
    for callback in (3, [3], type("Callback", (), {}), "text"):
        with pytest.raises(TypeError, match="fit: callback must be a function of epoch"):
            fit(callback=callback)


def test_callbacks_have_their_own_interval(capsys):
    for options, expected in (
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"report_every": 3}, [3, 6, 7]),
        ({"report_every": 3, "callback_every": 2}, [2, 4, 6, 7]),
        ({"callback_every": 5}, [5, 7]),
    ):
        seen = []
        fit(callback=lambda epoch, *_, seen=seen: seen.append(epoch), epochs=7, patience=None, **options)
        assert seen == expected
    capsys.readouterr()
    fit(callback=lambda *_: None, epochs=7, report_every=7, callback_every=1, progress=True, patience=None)
    assert capsys.readouterr().out.count("epoch ") == 1
    with pytest.raises(ValueError, match="fit: callback_every must be a positive integer"):
        fit(callback_every=0)


def interrupt_in(epoch):
    return lambda e, *_: signal.raise_signal(signal.SIGINT) if e == epoch else None


@pytest.mark.parametrize("patience", [None, 5])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_carries_the_result_so_far(number, patience, capsys):
    def interrupt(epoch, logs, state):
        if epoch == 2:
            signal.raise_signal(number)

    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        fit(callback=interrupt, epochs=6, patience=patience)
    result, expected = caught.value.result, fit(epochs=2, patience=patience)
    assert isinstance(result, fnn.FitResult)
    assert bits(result.state) == bits(expected.state)
    assert {name: column.tolist() for name, column in result.history.items()} == {
        name: column.tolist() for name, column in expected.history.items()
    }
    assert "`result`" in capsys.readouterr().err


def test_an_interrupt_that_a_callback_raises_is_one_of_the_training(tmp_path, capsys):
    def interrupt(epoch, logs, state):
        raise KeyboardInterrupt("mine")

    with pytest.raises(KeyboardInterrupt, match=r"saved .*step-00000005; to resume") as caught:
        fit(callback=interrupt, epochs=6, checkpoint_dir=tmp_path, checkpoint_every=4)
    assert len(caught.value.result.history["cost"]) == 1
    assert str(caught.value.__cause__) == "mine"
    assert "SIGINT" in capsys.readouterr().err


def test_an_interrupt_reaches_a_fit_inside_a_callback_and_the_one_around_it(capsys):
    inner = []

    def evaluate(epoch, logs, state):
        try:
            fit(callback=interrupt_in(2), epochs=50, patience=None)
        except KeyboardInterrupt as error:
            inner.append(error.result)
            raise

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(callback=evaluate, epochs=6)
    assert len(inner[0].history["cost"]) == 2
    assert len(caught.value.result.history["cost"]) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def swallow(epoch, logs, state):
        with pytest.raises(KeyboardInterrupt):
            fit(callback=interrupt_in(1), epochs=50)

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(callback=swallow, epochs=6)
    assert len(caught.value.result.history["cost"]) == 1
    assert len(fit(epochs=2).history["cost"]) == 2
    capsys.readouterr()


def test_an_interrupt_of_a_stream_carries_the_result(capsys):
    x, y = np.ones((40, 4), "float32"), np.zeros(40, "int32")
    stream = lambda epoch: ((x[i : i + 16], y[i : i + 16]) for i in range(0, 40, 16))
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(data=stream, callback=interrupt_in(1), epochs=50)
    assert len(caught.value.result.history["cost"]) == 1
    capsys.readouterr()
