"""`make_run`: a training as a pure function equals `fit`, and vmap maps it over hyperparameters and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.classifying import LOSS, NETWORK, TRAIN, VALIDATION, fit
from tests.support.oracles import assert_close, normal

rng = np.random.default_rng(0)


@pytest.mark.accelerator
def test_make_run_equals_fit_and_maps_over_everything(key):
    def network(hyper):
        return fnn.mlp([4, 8, 3], fnn.tanh, w_init=fnn.init.normal(hyper["scale"]))

    run = fnn.make_run(
        network,
        LOSS,
        lambda hyper: fnn.momentum(hyper["rate"], hyper["beta"]),
        TRAIN,
        epochs=4,
        batch_size=32,
        l2=lambda hyper: hyper["l2"],
        validation=VALIDATION,
    )
    hypers = {
        name: jnp.array(values)
        for name, values in {"rate": [0.1, 0.5], "beta": [0.5, 0.9], "l2": [0.0, 0.01], "scale": [0.5, 1.0]}.items()
    }
    keys = jnp.stack([key, jax.random.fold_in(key, 1)])
    result = jax.vmap(run)(hypers, keys)
    assert result.history["cost"].shape == (2, 4)
    alone = run(jax.tree.map(lambda leaf: leaf[1], hypers), keys[1])
    assert_close(jax.tree.map(lambda leaf: leaf[1], result.params), alone.params, "float32")
    fixed = fnn.mlp([4, 8, 3], fnn.tanh, w_init=fnn.init.normal(1.0))
    fitted = fit(keys[1], network=fixed, optimizer=fnn.momentum(0.5, 0.9), epochs=4, l2=0.01, validation=VALIDATION)
    for name in fitted.history:
        np.testing.assert_allclose(alone.history[name], fitted.history[name], rtol=1e-4)
    assert_close(alone.params, fitted.state.params, "float32")


@pytest.mark.slow
def test_make_run_starts_from_given_parameters(key):
    start = NETWORK.init(key)
    options = {"epochs": 1, "batch_size": 150}
    for init in (start, lambda rate: start):
        run = fnn.make_run(NETWORK, LOSS, fnn.sgd, TRAIN, init=init, **options)
        cost = run(jnp.float32(0.1), key).history["cost"][0]
        np.testing.assert_allclose(cost, fnn.value_and_grad(NETWORK, LOSS)(start, *TRAIN)[0], rtol=1e-5)


def test_the_data_of_a_run_are_an_argument_of_its_program(key):
    big = normal(0, (1000, 4)), rng.integers(0, 3, 1000)
    run = fnn.make_run(NETWORK, LOSS, fnn.sgd, big, epochs=1, batch_size=1000)
    assert [leaf.shape for leaf in jax.tree.leaves(run)] == [(1000, 4), (1000,)]
    text = run.func.one.lower(*run.args, jnp.float32(0.1), key).as_text()
    assert "1000x4xf32>" in text.split("{")[1] + text.split("(")[1]
    assert len(text) < 200_000


def test_a_run_inside_a_jit_takes_its_data_as_arguments(key):
    big = normal(0, (5000, 4)), rng.integers(0, 3, 5000)
    run = fnn.make_run(NETWORK, LOSS, fnn.sgd, big, epochs=1, batch_size=5000)
    outer = jax.jit(lambda run, rate, key: run(rate, key).history["cost"])
    assert len(outer.lower(run, jnp.float32(0.1), key).as_text()) < 100_000
