"""Trainings in a loop: their compiled programs are released, and a second training of the same compiles nothing."""

import gc
import logging
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.training.compiled import compiled
from tests.support.oracles import normal

KEY = jax.random.key(5)
X, Y = normal(0, (40, 4)).astype("float32"), np.arange(40) % 3
LOSS = fnn.softmax_cross_entropy
OPTIONS = {"epochs": 2, "batch_size": 16, "key": KEY, "progress": False}

on_linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory mappings are counted on Linux")


def mappings():
    with open("/proc/self/maps") as file:
        return sum(1 for _ in file)


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def network():
    """A new one in each call, so that its programs are new too."""
    return fnn.dense(4, 3)


def fit(i, **options):
    fnn.fit(network(), LOSS, fnn.adam(0.01), (X, Y), **OPTIONS | options)


def fit_to_validation(i):
    fit(i, validation=(X, Y), patience=2, callback=lambda *_: None)


def fit_a_stream(i):
    stream = lambda epoch: iter([(X[:16], Y[:16]), (X[16:32], Y[16:32])])
    fnn.fit(network(), LOSS, fnn.adam(0.01), stream, **OPTIONS)


def fit_on_more_rows(i, net=network(), optimizer=fnn.sgd(0.1)):  # noqa: B008 (the same in each call)
    fnn.fit(net, LOSS, optimizer, (X[: 20 + i], Y[: 20 + i]), **OPTIONS)


def epoch(i):
    net, optimizer = network(), fnn.sgd(0.1)
    run = fnn.make_epoch(fnn.make_step(net, LOSS, optimizer), 16)
    run(fnn.init_state(net, optimizer, KEY), (X, Y))


def sweep(i):
    run = fnn.make_run(network(), LOSS, fnn.sgd, (X, Y), epochs=2, batch_size=16)
    fnn.sweep(run, jnp.array([0.1, 0.2]), KEY)


def evaluate(i, params=network().init(KEY)):  # noqa: B008
    net = network()
    fnn.predict(net, params, X)
    fnn.evaluate(net, LOSS, params, (X, Y))


def predict_more_rows(i, net=network(), params=network().init(KEY)):  # noqa: B008
    fnn.predict(net, params, X[: 1 + i])


SLOW = pytest.mark.slow
LOOPS = [
    pytest.param(fit, 4, id="fit"),
    pytest.param(fit_to_validation, 4, id="fit_to_validation", marks=SLOW),
    pytest.param(fit_on_more_rows, 4, id="fit_on_more_rows", marks=SLOW),
    pytest.param(fit_a_stream, 4, id="fit_a_stream", marks=SLOW),
    pytest.param(epoch, 4, id="epoch", marks=SLOW),
    pytest.param(sweep, 4, id="sweep", marks=SLOW),
    pytest.param(evaluate, 16, id="evaluate", marks=SLOW),
    pytest.param(predict_more_rows, 20, id="predict_more_rows"),
]


@on_linux
@pytest.mark.parametrize(("work", "times"), LOOPS)
def test_programs_of_networks_that_are_gone_are_released(work, times):
    """What is kept is full after some calls; from there on each program that is made replaces another."""
    before = mappings()
    for i in range(times):
        work(i)
    halfway = mappings()
    for i in range(times, 2 * times):
        work(i)
    assert mappings() - halfway < 100, f"{halfway - before} mappings, then {mappings() - halfway} more"


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("times", [24, pytest.param(300, marks=pytest.mark.exhaustive)])
def test_many_fits_in_one_process(times):
    """A program holds some 300 mappings and 10 MB."""
    fit(0)
    before, size = mappings(), resident_bytes()
    for i in range(times):
        fit(i)
    gc.collect()
    assert mappings() - before < 2000
    assert resident_bytes() - size < 200e6


def programs_compiled(caplog, work):
    """The number of programs that XLA compiles in the call of a function."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        caplog.clear()
        work()
    return sum("Finished XLA compilation" in record.message for record in caplog.records)


def test_a_second_fit_of_the_same_compiles_nothing(caplog):
    net, optimizer = network(), fnn.sgd(0.1)
    train = lambda: fnn.fit(net, LOSS, optimizer, (X, Y), validation=(X, Y), **OPTIONS)
    assert programs_compiled(caplog, train) > 0
    assert programs_compiled(caplog, train) == 0


@pytest.mark.slow
def test_networks_that_take_turns_compile_once(caplog):
    pairs = [(network(), fnn.sgd(0.1)) for _ in range(4)]

    def train():
        for net, optimizer in pairs:
            fnn.fit(net, LOSS, optimizer, (X, Y), **OPTIONS)

    train()
    assert programs_compiled(caplog, train) == 0


ROWS = [*range(1, 39), 100, 101]
WEIGHTED = normal(1, (101, 4)).astype("float32"), np.arange(101) % 3, np.arange(101, dtype="float32") % 7


@pytest.mark.parametrize("batch_size", [None, 16])
def test_predictions_of_many_numbers_of_rows_share_a_few_programs(caplog, batch_size):
    net = fnn.mlp([4, 5, 3])
    params, inputs = net.init(KEY), [normal(n, (n, 4)).astype("float32") for n in ROWS]
    on_device, outputs = [jnp.asarray(x) for x in inputs], []
    work = lambda: outputs.extend(fnn.predict(net, params, x, batch_size) for x in inputs)
    assert 0 < programs_compiled(caplog, work) <= 8
    assert programs_compiled(caplog, lambda: [fnn.predict(net, params, x, batch_size) for x in on_device]) == 0
    for x, y in zip(inputs, outputs, strict=True):
        w = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
        expected = np.maximum(x @ w[0] + w[1], 0) @ w[2] + w[3]
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_evaluations_of_many_numbers_of_rows_share_a_few_programs(caplog):
    net = network()
    params, found = net.init(KEY), []
    work = lambda: found.extend(fnn.evaluate(net, LOSS, params, [a[:n] for a in WEIGHTED]) for n in ROWS[1:])
    assert 0 < programs_compiled(caplog, work) <= 8
    logits = np.asarray(net.forward(params, WEIGHTED[0])[0], np.float64)
    costs = np.log(np.exp(logits).sum(1)) - logits[np.arange(101), WEIGHTED[1]]
    for n, values in zip(ROWS[1:], found, strict=True):
        np.testing.assert_allclose(values["cost"], np.average(costs[:n], weights=WEIGHTED[2][:n]), rtol=1e-5)


def test_padded_rows_hold_what_the_network_takes():
    """A row of zeros could be outside of the domain of a function; `jax.debug_nans` would find the NaN."""
    log = fnn.elementwise(jnp.log, jnp.reciprocal)
    with jax.debug_nans(True):
        np.testing.assert_allclose(fnn.predict(log, (), np.full((5, 2), np.e, "float32")), np.ones((5, 2)), rtol=1e-6)


@pytest.mark.slow
def test_fits_in_two_threads():
    expected = fnn.fit(network(), LOSS, fnn.sgd(0.1), (X, Y), **OPTIONS)
    results, net, optimizer = [None] * 4, network(), fnn.sgd(0.1)

    def train(i):
        results[i] = fnn.fit(net, LOSS, optimizer, (X, Y), **OPTIONS)

    threads = [threading.Thread(target=train, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result.history["cost"], expected.history["cost"])


def test_the_programs_used_last_are_kept():
    made = []

    @compiled(static=1, kept=2)
    def scaled(factor, x):
        made.append((factor, x.shape))
        return factor * x

    for factor in (1, 2, 1, 3, 1, 2):  # 3 takes the place of 2, which is made again
        assert scaled(factor, jnp.ones(2))[0] == factor
    assert [factor for factor, _ in made] == [1, 2, 3, 2]
    for size in (2, 3, 4, 4):
        scaled(1, jnp.ones(size))
    assert scaled._cache_size() == 2
