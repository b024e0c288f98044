"""Every program lowers for accelerators that are not there: no callback, and float64 only where asked for."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.generation.sample import _sample
from fnn.training import programs
from fnn.training.epoch import Program
from tests import test_token_losses
from tests.layers import test_embedding, test_gpt
from tests.layers.test_layers import LAYERS
from tests.support.oracles import cotangent, loss_by_hand, normal, spread_params
from tests.support.slow import slow_except
from tests.test_losses import CASES

PLATFORMS, DTYPES = ("cuda", "tpu"), ("float32", "bfloat16")
KEY = jax.random.key(3)
IDS = np.array([[0, 3, 3, 6], [6, 0, 3, 2], [1, 2, 3, 4], [5, 5, 0, 1], [1, 0, 0, 2]], "int32")
LABELS = np.array([0, 2, 1, 1, 0], "int32")


def assert_lowers(function, *args, **options):
    """Lower for each platform: without callbacks and, although x64 is on, without arrays in float64.

    A callback would wait for the host in each call, and a TPU has no float64. XLA folds JAX's scalar constants, which
    may be in float64. Dropout draws in float64 if x64 is on (jax.random.bernoulli, jax 0.10).
    """
    with jax.enable_x64(True):
        traced = jax.jit(function, **options).trace(*args)
        for platform in PLATFORMS:
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            assert "func.func public @main" in text, platform
            assert "callback" not in text, platform
            assert "@_bernoulli" in text or not re.search(r"tensor<[0-9x]+xf64>", text), platform


def passes(layer, params, x, dy, key=None):
    """Forward and backward."""
    y, residuals = layer.forward(params, x, key)
    return y, layer.backward(params, residuals, dy)


IDS_LAYERS = {"embedding": test_embedding.LAYER, "embedding_network": test_embedding.NETWORK, **test_gpt.NETWORKS}


@pytest.mark.parametrize(
    ("dtype", "how"), slow_except(itertools.product(DTYPES, ("alone", "vmap")), (DTYPES[0], "alone"))
)
def test_layers(dtype, how):
    """vmap maps parameters and cotangents, as in a sweep, and shares the input."""
    for layer, shape in (*LAYERS.values(), *((layer, None) for layer in IDS_LAYERS.values())):
        params, x = spread_params(layer, 0, dtype), IDS[:2] if shape is None else normal(1, shape, dtype)
        dy, both = cotangent(layer, params, x), functools.partial(passes, layer)
        if how == "vmap":
            params, dy = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), (params, dy))
            both = jax.vmap(both, in_axes=(0, None, 0, None))
        assert_lowers(both, params, x, dy, KEY)


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses(dtype):
    for loss, prediction, target in CASES.values():
        args = prediction((4, 3), dtype), target((4, 3), dtype), normal(5, (4,), dtype)
        assert_lowers(functools.partial(loss_by_hand, loss), *args)
    for loss in test_token_losses.LOSSES.values():
        z = normal(1, (4, 6, test_token_losses.K), dtype)
        assert_lowers(functools.partial(loss_by_hand, loss), z, test_token_losses.LABELS, normal(2, 4, dtype))


NORMED = fnn.serial(fnn.dense(6, 5), fnn.batch_norm(5), fnn.relu, fnn.dropout(0.2), fnn.dense(5, 3))
NETWORKS = {  # network, x, y, loss
    "dense": (NORMED, normal(1, (5, 6)), LABELS, fnn.softmax_cross_entropy),
    "convnet": (fnn.convnet((7, 6, 2), (3,), 2, (5, 3)), normal(1, (5, 7, 6, 2)), LABELS, fnn.softmax_cross_entropy),
    "lstm": (
        fnn.serial(fnn.lstm(6, 4), fnn.last(), fnn.dense(4, 3)),
        normal(1, (5, 4, 6)),
        LABELS,
        fnn.softmax_cross_entropy,
    ),
    "gpt": (test_gpt.SMALL, IDS, IDS, fnn.token_cross_entropy()),
}
OPTIMIZERS = {
    "sgd": fnn.sgd(0.1),
    "momentum": fnn.momentum(0.1),
    "heavy_ball": fnn.heavy_ball(0.1),
    "nesterov": fnn.nesterov(lambda step: 0.1 / (1.0 + step.astype(jnp.float32)), 0.9),
    "adam": fnn.adam(1e-3),
    "optax.adamw": optax.adamw(1e-3),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_except(itertools.product(NETWORKS, DTYPES), ("convnet", "float32"), ("lstm", "float32"), ("gpt", "bfloat16")),
)
def test_trainings(name, dtype):
    """An epoch, the programs of `fit`, a sweep, and predictions; bfloat16 with float32 parameters."""
    network, x, y, loss = NETWORKS[name]
    network = network if dtype == "float32" else fnn.mixed_precision(network, jnp.bfloat16)
    optimizer, batch = fnn.adam(1e-3), 3  # of five examples: the last batch is smaller
    state = jax.eval_shape(functools.partial(fnn.init_state, network, optimizer), KEY)
    epoch = fnn.make_epoch(fnn.make_step(network, loss, optimizer, l2=1e-3), batch)
    assert_lowers(epoch, state, (x, y))
    program = Program(network, loss, optimizer, 1e-3, loss.metrics, batch, patience=2)
    carry = jax.eval_shape(functools.partial(programs.init_carry, program), state, (x, y), (x, y))
    assert_lowers(functools.partial(programs.run_epochs, program), carry, (x, y), (x, y), jnp.int32(3))
    assert_lowers(functools.partial(programs.copy_state, program), state, (x, y))
    assert_lowers(lambda p, x: fnn.predict(network, p, x, batch_size=3), state.params, x)
    run = fnn.make_run(network, loss, fnn.sgd, (x, y), epochs=2, batch_size=batch, validation=(x, y))
    assert_lowers(functools.partial(run.func.many, False), *run.args, np.array([0.1, 0.2], "float32"), KEY)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps(name):
    network, x, y, loss = NETWORKS["dense"]
    optimizer = OPTIMIZERS[name]
    state = jax.eval_shape(functools.partial(fnn.init_state, network, optimizer), KEY)
    with jax.numpy_dtype_promotion("standard"):  # optax relies on it if x64 is on
        assert_lowers(fnn.make_step(network, loss, optimizer, l2=1e-3), state, (x, y), donate_argnums=0)


def test_streams_and_generation():
    network, optimizer = test_gpt.SMALL, fnn.sgd(0.1)
    state = jax.eval_shape(functools.partial(fnn.init_state, network, optimizer), KEY)
    memory = jax.eval_shape(lambda p: fnn.start_memory(network, p, len(IDS)), state.params)
    step = fnn.make_stream_step(network, fnn.token_cross_entropy(), optimizer)
    assert_lowers(step, state, memory, (IDS, IDS))
    draw = _sample.jitted(network, 2, 3)
    assert_lowers(draw, state.params, IDS, KEY, np.float32(1), np.float32(0.9))
