"""Nothing of a training is lost by mistake: other choices are refused or allowed by name, interrupts give a result."""

import asyncio
import dataclasses
import functools
import json
import os
import signal
import sys
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.checkpoint import manifest, store
from fnn.training.compatibility import CHANGEABLE
from fnn.training.description import describe
from fnn.training.fingerprint import describe_optimizer
from tests.support.training import NETWORK, OPTIMIZER, bits, fit

RATE = 0.9


class Falling:
    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start / (1.0 + step)

    def method(self, step):
        return self.start

    @classmethod
    def of_class(cls, step):
        return cls.default

    default = 0.9


class Slots:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate


class ByClass:
    rate = 0.9

    def __call__(self, step):
        return self.rate


class ByOtherClass(ByClass):
    rate = 0.1


ByOtherClass.__qualname__ = "ByClass"


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    rate: float
    names: frozenset = frozenset()


def closing_over(value):
    def schedule(step):
        return value and 0.5

    return schedule


def with_attribute(rate):
    def schedule(step):
        return schedule.rate

    schedule.rate = rate
    return schedule


def reading_global(rate):
    def schedule(step):
        return RATE / (1 + step)

    names = dict(schedule.__globals__, RATE=rate)
    return type(schedule)(schedule.__code__, names, "schedule")


def with_default(rate):
    schedule = lambda step, *, value: value(step)
    schedule.__kwdefaults__ = {"value": Falling(rate)}
    return schedule


def nested(rate):
    return functools.partial(jax.jit(Falling(rate).method))


MADE = {  # functions of a rate, whose results are told apart by the rate alone
    "object": Falling,
    "object with slots": Slots,
    "attribute of the class": lambda rate: ByClass() if rate == 0.9 else ByOtherClass(),
    "bound method": lambda rate: Falling(rate).method,
    "jitted bound method": nested,
    "method of a C type": lambda rate: {0: rate}.get,
    "dataclass": lambda rate: closing_over(Options(rate)),
    "set": lambda rate: closing_over({rate, "a", None}),
    "frozenset in a dataclass": lambda rate: closing_over(Options(0.5, frozenset([rate]))),
    "range": lambda rate: closing_over(range(int(rate * 10))),
    "deque": lambda rate: closing_over(__import__("collections").deque([rate])),
    "date": lambda rate: closing_over(__import__("datetime").timedelta(rate)),
    "object in an object": lambda rate: closing_over([Falling(Falling(rate))]),
    "attribute of a function": with_attribute,
    "global": reading_global,
    "keyword default": with_default,
}


@pytest.mark.parametrize("name", MADE)
def test_values_are_compared_wherever_a_function_holds_them(name):
    make = MADE[name]
    assert describe(fnn.sgd(make(0.9))) == describe(fnn.sgd(make(0.9)))
    assert describe(fnn.sgd(make(0.9))) != describe(fnn.sgd(make(0.1)))
    for builder in (fnn.sgd, optax.sgd):
        one, same, other = (describe_optimizer(builder(make(rate))) for rate in (0.9, 0.9, 0.1))
        assert one == same != other


OPTIMIZERS = {
    "MultiSteps": lambda rate: optax.MultiSteps(optax.sgd(rate), 2),
    "inject_hyperparams": lambda rate: optax.inject_hyperparams(optax.adam)(learning_rate=rate),
    "inject_hyperparams in a chain": lambda rate: optax.chain(
        optax.clip(1.0), optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    ),
    "user's init": lambda rate: fnn.GradientTransformation(
        lambda params: jax.tree.map(lambda leaf: jnp.full_like(leaf, rate), params), fnn.sgd(0.1).update
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numbers_in_the_state_or_the_object_of_an_optimizer_are_compared(name):
    one, same, other = (describe_optimizer(OPTIMIZERS[name](rate)) for rate in (0.9, 0.9, 0.1))
    assert one == same != other


def test_what_cannot_be_described_is_its_type():
    """Values that change from run to run do not make a training another one."""
    file = lambda: os.fdopen(os.open(os.devnull, os.O_RDONLY))
    for make in (object, file, threading.Lock, lambda: (i for i in ())):
        one, other = make(), make()
        assert describe(closing_over(one)) == describe(closing_over(other))
        for value in (one, other):
            getattr(value, "close", lambda: None)()
    chain = None
    for _ in range(5000):
        chain = [chain]
    assert describe(closing_over(chain)) == describe(closing_over(chain))


def test_another_optimizer_is_refused_and_the_error_says_how_to_go_on(tmp_path):
    make = OPTIMIZERS["MultiSteps"]
    with jax.numpy_dtype_promotion("standard"):  # optax divides numbers by counters
        fit(optimizer=make(0.9), checkpoint_dir=tmp_path, epochs=1)
        with pytest.raises(ValueError, match=r"optimizer was MultiSteps.*pass allow_changes=\('optimizer',\)"):
            fit(optimizer=make(0.1), checkpoint_dir=tmp_path, epochs=2, resume=True)
        assert int(fit(optimizer=make(0.9), checkpoint_dir=tmp_path, epochs=2, resume=True).state.step) == 10


def test_another_start_with_the_same_key_is_refused(tmp_path):
    start = fnn.init_state(NETWORK, OPTIMIZER, jax.random.key(0))
    other = start._replace(params=jax.tree.map(lambda leaf: leaf + 1, start.params))
    options = {"key": None, "checkpoint_dir": tmp_path, "resume": True}
    fit(state=start, epochs=1, **options)
    for given in ({"state": other}, {"state": start._replace(step=start.step + 1)}, {"key": start.key}):
        with pytest.raises(ValueError, match=r"state was \d+ arrays #.*is (\d+ arrays #|drawn from the key)"):
            fit(epochs=2, **options | given)
    resumed = fit(state=start, epochs=2, **options)
    assert bits(resumed.state) == bits(fit(state=start, key=None, epochs=2).state)
    fit(state=other, epochs=3, allow_changes=["state"], **options)


def test_a_lower_rate_midway_keeps_epochs_history_and_early_stopping(tmp_path):
    options = {"checkpoint_dir": tmp_path, "resume": True}
    first = fit(optimizer=fnn.momentum(2.0), epochs=3, **options)
    lower = fit(optimizer=fnn.momentum(0.5), epochs=6, allow_changes=("optimizer",), **options)
    whole = fit(optimizer=fnn.momentum(2.0), epochs=6)
    for name, column in first.history.items():
        assert column.tolist() == lower.history[name][:3].tolist()
        assert len(lower.history[name]) == 6
    assert lower.history["cost"].tolist() != whole.history["cost"].tolist()
    assert bits(fit(optimizer=fnn.momentum(0.5), epochs=6, **options).state) == bits(lower.state)
    with pytest.raises(ValueError, match="optimizer was"):
        fit(optimizer=fnn.momentum(2.0), epochs=7, **options)
    with pytest.raises(ValueError, match=r"l2 was 0.0, is 0.5.*allow_changes=\('l2', 'optimizer'\)"):
        fit(optimizer=fnn.momentum(2.0), l2=0.5, epochs=7, allow_changes=("optimizer",), **options)


def test_early_stopping_goes_on_over_a_change(tmp_path):
    """The waited epochs and the best state are those of the whole training."""
    options = {"patience": 2, "epochs": 30, "checkpoint_dir": tmp_path, "resume": True}
    stopped = fit(optimizer=fnn.momentum(2.0), **options)
    ran = len(stopped.history["cost"])
    assert ran < 30
    again = fit(optimizer=fnn.momentum(1.0), allow_changes=("optimizer",), **options)
    assert len(again.history["cost"]) == ran
    assert bits(again.state.params) == bits(stopped.state.params)
    longer = fit(optimizer=fnn.momentum(1.0), allow_changes=("patience", "optimizer"), **options | {"patience": 3})
    assert len(longer.history["cost"]) > ran


def test_new_numbers_replace_those_in_the_state(tmp_path):
    make = OPTIMIZERS["inject_hyperparams in a chain"]
    fit(optimizer=make(0.9), checkpoint_dir=tmp_path, epochs=1, patience=None)
    options = {"checkpoint_dir": tmp_path, "resume": True, "patience": None}
    with pytest.raises(ValueError, match="optimizer was"):
        fit(optimizer=make(0.1), epochs=2, **options)
    state = fit(optimizer=make(0.1), epochs=2, allow_changes=("optimizer",), **options).state
    assert float(state.opt_state[1].hyperparams["learning_rate"]) == np.float32(0.1)
    state = fit(optimizer=make(0.1), epochs=3, **options).state
    assert float(state.opt_state[1].hyperparams["learning_rate"]) == np.float32(0.1)


def test_allow_changes_takes_names():
    for names, kind in {"optimizer": TypeError, 3: TypeError, ("key",): ValueError, ("rate",): ValueError}.items():
        with pytest.raises(kind, match="fit: allow_changes must be"):
            fit(allow_changes=names, epochs=1)
    assert "key" not in CHANGEABLE


def test_inside_an_epoch_the_batches_stay(tmp_path):
    def stop(epoch, logs, state):
        raise RuntimeError

    options = {"checkpoint_dir": tmp_path, "checkpoint_every_steps": 3, "resume": True}
    with pytest.raises(RuntimeError):
        fit(callback=stop, epochs=2, **options)
    newest = store.list_checkpoints(tmp_path)[-1]
    assert manifest.read_manifest(newest)["training"]["position"] == 0
    for path in store.list_checkpoints(tmp_path)[1:]:
        __import__("shutil").rmtree(path)
    with pytest.raises(ValueError, match="Inside an epoch neither batch_size nor data can change"):
        fit(epochs=2, batch_size=8, allow_changes=("batch_size",), **options)


SCRIPT = """
import sys, warnings
import jax, numpy as np
import fnn
RATE = 0.5
class Schedule:
    def __call__(self, step):
        return RATE / (1 + step.astype("float32"))
def metric(prediction, target):
    return target.astype("float32")
def train(epochs):
    x = np.ones((8, 2), "float32")
    fnn.fit(fnn.mlp([2, 2]), fnn.softmax_cross_entropy, fnn.sgd(Schedule()), (x, np.zeros(8, "int32")), epochs=epochs,
            batch_size=4, key=jax.random.key(0), metrics={"own": metric}, checkpoint_dir=FOLDER, resume=True,
            progress=False)
"""


def run_as(name, folder, source=SCRIPT, epochs=1):
    names = {"__name__": name, "FOLDER": folder}
    exec(compile(source, "script.py", "exec"), names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names["train"](epochs)
    return [str(warning.message) for warning in caught if warning.category is store.CheckpointWarning]


def test_a_script_may_become_a_module_and_change_its_code_with_a_warning(tmp_path):
    assert run_as("__main__", tmp_path) == []
    assert run_as("a_package.a_module", tmp_path, epochs=2) == []
    (message,) = run_as("__main__", tmp_path, SCRIPT.replace("RATE / (1", "RATE / (2"), epochs=3)
    assert "the code of functions in optimizer is not what it was" in message
    with pytest.raises(ValueError, match="optimizer was"):
        run_as("__main__", tmp_path, SCRIPT.replace("RATE = 0.5", "RATE = 0.25"), epochs=4)


# callbacks


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
    for callback in (3, [3], Falling, "text"):
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


# interrupts


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


# numbers of NumPy, programs, and JAX's debugging


def test_integers_of_numpy_are_saved_like_integers(tmp_path):
    three = np.int64(3)
    options = dict.fromkeys(("patience", "keep", "micro_batch_size", "checkpoint_every", "report_every"), three)
    options |= {"epochs": three, "batch_size": np.int32(16), "l2": np.float64(0.5), "callback_every": np.uint8(3)}
    fit(checkpoint_dir=tmp_path, checkpoint_every_steps=np.int64(2), **options)
    (*_, newest) = store.list_checkpoints(tmp_path)
    saved = json.loads((newest / "manifest.json").read_text())["configuration"]
    assert (saved["patience"], saved["batch_size"], saved["l2"]) == (3, 16, 0.5)
    again = fit(checkpoint_dir=tmp_path, resume=True, epochs=4, micro_batch_size=3, l2=0.5, patience=3)
    assert len(again.history["cost"]) == 4


def test_other_epochs_compile_nothing():
    from fnn.training import programs

    sizes = lambda: (programs.run_epochs._cache_size(), programs.init_carry._cache_size())
    fit(epochs=2, patience=1)
    before = sizes()
    fit(epochs=3, patience=1)
    assert len(fit(epochs=10**8, patience=1).history["cost"]) < 1000  # 4 GB if it were allocated
    assert sizes() == before


@pytest.mark.parametrize("rows", [3, 5])
def test_a_history_longer_than_the_device_keeps_is_the_same(rows, monkeypatch, tmp_path):
    from fnn.training import due, history, programs

    whole = fit(epochs=12)
    jax.clear_caches()
    monkeypatch.setattr(history, "ROWS", rows)
    monkeypatch.setattr(due, "ROWS", rows)
    short = fit(epochs=12)
    fit(epochs=7, checkpoint_dir=tmp_path, checkpoint_every=4)
    resumed = fit(epochs=12, checkpoint_dir=tmp_path, resume=True)
    assert rows == programs.history.ROWS
    jax.clear_caches()
    for result in (short, resumed):
        assert bits(result.state) == bits(whole.state)
        for name, column in whole.history.items():
            assert column.tolist() == result.history[name].tolist()


@pytest.mark.parametrize("flag", ["jax_debug_nans", "jax_debug_infs"])
@pytest.mark.parametrize("options", [{}, {"checkpoint_every_steps": 2}, {"data": "stream"}])
def test_debugging_of_jax_finds_nothing_in_a_training_that_is_finite(flag, options, tmp_path):
    x, y = np.ones((40, 4), "float32"), np.zeros(40, "int32")
    if "data" in options:
        options = {"data": lambda epoch: ((x[i : i + 16], y[i : i + 16]) for i in range(0, 40, 16))}
    elif options:
        options = options | {"checkpoint_dir": tmp_path}
    expected = fit(epochs=2, **{name: value for name, value in options.items() if name == "data"})
    jax.config.update(flag, True)
    try:
        result = fit(epochs=2, **options)
        fnn.evaluate(NETWORK, fnn.softmax_cross_entropy, result.state.params, (x, y))
    finally:
        jax.config.update(flag, False)
    assert result.history["cost"].tolist() == expected.history["cost"].tolist()
