"""Gradients summed over micro-batches equal those of the batch, in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.oracles import assert_close, normal
from tests.support.training import TRAIN, fit

NETWORK, LOSS = fnn.mlp([6, 8, 3], fnn.tanh), fnn.softmax_cross_entropy
SIZE = 14
Y = np.arange(SIZE) % 3
WEIGHTS = {
    "none": None,
    "random": np.abs(normal(2, (SIZE,))),
    "zero in a part": (np.arange(SIZE) >= 5).astype("float32") * np.linspace(0.5, 2, SIZE, dtype="float32"),
    "all zero": np.zeros(SIZE, "float32"),
}


def example(dtype, network=NETWORK, shape=(6,)):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), network.init(jax.random.key(0)))
    return params, normal(1, (SIZE, *shape), dtype), Y


@functools.cache
def gradient(micro_batch_size, network=NETWORK, loss=LOSS, l2=0.3):
    return jax.jit(fnn.value_and_grad(network, loss, l2, micro_batch_size))


def both(micro_batch_size, args, weight=None, network=NETWORK):
    """Return (cost, dparams) summed over micro-batches, and of the whole batch."""
    return gradient(micro_batch_size, network)(*args, weight), gradient(None, network)(*args, weight)


@pytest.mark.parametrize(
    ("micro_batch_size", "weight"), [*((5, weight) for weight in WEIGHTS), *((n, "random") for n in (1, 7, 100))]
)
def test_micro_batches_add_up_to_the_batch(micro_batch_size, weight, x64):
    """14 = 2 · 5 + 4: the remainder has the weight of its size; the penalty is added once."""
    given = None if WEIGHTS[weight] is None else WEIGHTS[weight].astype("float64")
    got, expected = both(micro_batch_size, example("float64"), given)
    assert_close(got, expected, "float64")
    assert float(got[0]) > 0.3, "the penalty"


@pytest.mark.parametrize("weight", [pytest.param("none", marks=pytest.mark.slow), "random"])
def test_float32(weight):
    assert_close(*both(4, example("float32"), WEIGHTS[weight]), "float32")


@pytest.mark.slow
def test_convolutions_and_depth(x64):
    network = fnn.serial(fnn.conv2d(1, 2, 2), fnn.flatten, fnn.repeat(fnn.dense(8, 8), 2), fnn.dense(8, 3))
    assert_close(*both(4, example("float64", network, (3, 3, 1)), network=network), "float64")


@pytest.mark.slow
def test_a_whole_training_is_the_same(key):
    """Compare history and parameters; 74 = 4 · 16 + 10 examples, 16 = 2 · 6 + 4."""
    network, optimizer = fnn.mlp([4, 8, 2], fnn.tanh), fnn.momentum(0.5)
    weight = np.abs(normal(3, (74,)))
    options = {"network": network, "optimizer": optimizer, "patience": None, "l2": 0.01, "data": (*TRAIN, weight)}
    parts, whole = fit(micro_batch_size=6, **options), fit(**options)
    for name in whole.history:
        np.testing.assert_allclose(parts.history[name], whole.history[name], rtol=1e-5)
    assert_close(parts.state.params, whole.state.params, "float32", slack=1e-7)


@pytest.mark.slow
def test_a_checkpoint_of_another_micro_batch_size_is_refused(tmp_path):
    fit(checkpoint_dir=tmp_path, epochs=1, micro_batch_size=8)
    with pytest.raises(ValueError, match="micro_batch_size was 8, is None"):
        fit(checkpoint_dir=tmp_path, resume=True)


def test_each_micro_batch_has_its_own_key(key):
    network = fnn.serial(fnn.dropout(0.5), fnn.dense(4, 1, w_init=lambda key, shape, dtype=None: jnp.ones(shape)))
    params, half = network.init(key), (normal(1, (4, 4)), np.zeros((4, 1), "float32"))
    twice = tuple(np.repeat(part, 2, axis=0) for part in half)  # a micro-batch has every other row
    cost = lambda key: float(gradient(4, network, fnn.squared_error)(params, *twice, None, key)[0])
    part = lambda k: float(
        gradient(None, network, fnn.squared_error)(params, *half, None, jax.random.fold_in(key, k))[0]
    )
    assert cost(key) == cost(key) != cost(jax.random.fold_in(key, 1))
    assert part(0) != part(1)
    np.testing.assert_allclose(cost(key), (part(0) + part(1)) / 2, rtol=1e-6)


def test_narrow_gradients_are_summed_in_float32():
    """256 + 1 is 256 in bfloat16, where a sum of 512 ones would stay at 256."""
    network = fnn.dense(1, 1, w_init=fnn.init.zeros)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), network.init(jax.random.key(0)))
    x, y = jnp.ones((512, 1), jnp.bfloat16), -jnp.ones((512, 1), jnp.bfloat16)
    _, dparams = fnn.value_and_grad(network, fnn.squared_error, 0.0, 1)(params, x, y)
    assert dparams.w.dtype == jnp.bfloat16
    assert float(dparams.w[0, 0]) == float(dparams.b[0]) == 1.0


def test_optimizers_that_evaluate_again_get_the_same_value(key):
    seen = []

    def update(gradients, state, params=None, *, value, value_fn, **_):
        seen.append((value, value_fn(params)))
        return jax.tree.map(jnp.zeros_like, gradients), state

    optimizer = fnn.GradientTransformation(lambda params: (), update)
    step = fnn.make_step(NETWORK, LOSS, optimizer, 0.1, micro_batch_size=4)

    def values(state):
        step(state, (normal(1, (SIZE, 6)), Y))
        return seen.pop()

    state = fnn.init_state(NETWORK, optimizer, key)
    value, again = jax.jit(values)(state)
    assert float(value) == float(again)
    np.testing.assert_allclose(value, gradient(None, l2=0.1)(state.params, normal(1, (SIZE, 6)), Y)[0], rtol=1e-5)


@pytest.mark.slow
def test_memory_falls_with_the_size(key):
    """Only the residuals of one micro-batch are kept for the backward pass."""
    network, optimizer = fnn.mlp([32, 512, 512, 512, 4]), fnn.sgd(0.1)
    state = jax.eval_shape(lambda: fnn.init_state(network, optimizer, key))
    batch = jax.ShapeDtypeStruct((512, 32), jnp.float32), jax.ShapeDtypeStruct((512,), jnp.int32)

    def temporary(micro_batch_size):
        step = fnn.make_step(network, LOSS, optimizer, micro_batch_size=micro_batch_size)
        compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole, parts, small = temporary(None), temporary(128), temporary(32)
    gradient = sum(leaf.size * 4 for leaf in jax.tree.leaves(state.params))
    activations = 3 * 512 * 512 * 4
    assert whole > activations
    assert parts < 0.75 * whole
    assert small - gradient < (whole - gradient) / 3
