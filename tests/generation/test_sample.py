"""Sampling with memory: the same ids as without it, temperature, truncation, and arguments that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.generation.sample import _sample
from fnn.generation.truncation import truncate
from tests.support.oracles import normal, spread_params
from tests.support.slow import slow_except

K = 7
NETWORKS = {
    "lstm": fnn.serial(fnn.embedding(K, 4), fnn.lstm(4, 5), fnn.dense(5, K)),
    "two cells": fnn.serial(
        fnn.embedding(K, 4), fnn.learned_positions(9, 4), fnn.repeat(fnn.residual(fnn.gru(4, 4)), 2), fnn.rnn(4, 4),
        fnn.dropout(0.5), fnn.dense(4, K),
    ),
    "bfloat16": fnn.mixed_precision(fnn.serial(fnn.embedding(K, 4), fnn.gru(4, 5), fnn.dense(5, K)), jnp.bfloat16),
}  # fmt: skip
LSTM = NETWORKS["lstm"]
PROMPT, KEY = np.array([[1, 2, 3], [4, 5, 6]]), jax.random.key(1)


def without_memory(network, params, prompt, n, key, temperature=1.0, top_k=None, top_p=None):
    """Read the whole sequence again for each id."""
    ids = jnp.asarray(prompt)
    for i in range(n):
        logits = network.forward(params, ids)[0][:, -1]
        scaled = truncate(logits / temperature, top_k, None if top_p is None else jnp.asarray(top_p, logits.dtype))
        drawn = jax.random.categorical(jax.random.fold_in(key, i), scaled)
        ids = jnp.concatenate([ids, drawn[:, None].astype(ids.dtype)], axis=1)
    return ids[:, prompt.shape[1] :]


@pytest.mark.parametrize("name", slow_except(NETWORKS, "lstm"))
def test_the_ids_are_those_drawn_without_memory(name):
    network = NETWORKS[name]
    params = spread_params(network, 0)
    got = fnn.sample(network, params, PROMPT, 6, KEY, temperature=0.7, top_k=4, top_p=0.9)
    expected = jax.jit(lambda params: without_memory(network, params, PROMPT, 6, KEY, 0.7, 4, 0.9))(params)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == jnp.int32


@pytest.mark.slow
def test_temperature_and_top_p_do_not_compile_again():
    params = spread_params(LSTM, 0)
    draw = lambda n=6, **options: fnn.sample(LSTM, params, PROMPT, n, KEY, **options)
    cold = draw(temperature=0.0, top_p=0.5)
    before = _sample._cache_size()
    for temperature, top_p in ((1.0, 0.9), (0.3, 1.0), (2, 1), (jnp.float32(0.5), np.float32(0.7))):
        draw(temperature=temperature, top_p=top_p)
    assert _sample._cache_size() == before
    np.testing.assert_array_equal(draw(temperature=1e-6, top_p=1.0), cold)
    greedy = fnn.sample(LSTM, params, PROMPT, 6, None, temperature=0)
    for same in (cold, draw(top_k=1), draw(top_p=1e-6)):
        np.testing.assert_array_equal(same, greedy)
    for same in (draw(top_k=K), draw(top_k=99), draw(top_p=1.0)):
        np.testing.assert_array_equal(same, draw())
    np.testing.assert_array_equal(draw(n=2), draw()[:, :2])
    assert draw(n=1).shape == (2, 1)
    inside = jax.jit(lambda params, t: fnn.sample(LSTM, params, PROMPT, 6, KEY, t, top_p=t))(params, 0.7)
    np.testing.assert_array_equal(inside, draw(temperature=0.7, top_p=0.7))


def kept(p, top_k=None, top_p=None):
    """The ids that truncation keeps."""
    top_p = None if top_p is None else jnp.asarray(top_p, jnp.float32)
    return np.flatnonzero(np.isfinite(truncate(jnp.log(jnp.array([p])), top_k, top_p)[0])).tolist()


TRUNCATED = [  # probabilities, options, the ids that are kept
    ([0.5, 0.25, 0.25], {"top_p": 0.5}, [0]),
    ([0.25, 0.5, 0.25], {"top_p": 0.51}, [0, 1]),
    ([0.25, 0.25, 0.5], {"top_p": 0.8}, [0, 1, 2]),
    ([0.25, 0.25, 0.5], {"top_p": 1e-9}, [2]),
    ([0.25] * 4, {"top_p": 0.5}, [0, 1]),
    ([0.25] * 4, {"top_k": 3}, [0, 1, 2]),
    ([0.1, 0.4, 0.1, 0.4], {"top_k": 3}, [0, 1, 3]),
    ([0.2, 0.3, 0.4, 0.1], {"top_k": 2, "top_p": 0.5}, [2]),  # 0.4 / 0.7 >= 0.5
    ([0.0, 0.5, 0.5], {"top_k": 9, "top_p": 1.0}, [1, 2]),
]


@pytest.mark.parametrize("case", slow_except(range(len(TRUNCATED)), 0, 4, 7))
def test_truncation_keeps_the_most_probable(case):
    p, options, ids = TRUNCATED[case]
    assert kept(p, **options) == ids


@pytest.mark.slow
def test_truncation_equals_a_sort_in_numpy():
    logits = normal(0, (20, 50))
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    got = np.isfinite(jax.jit(lambda z: truncate(z, None, jnp.asarray(0.8)))(logits))
    for row, keep in zip(p, got, strict=True):
        order = np.argsort(-row)
        count = 1 + np.flatnonzero(np.cumsum(row[order]) >= 0.8)[0]
        np.testing.assert_array_equal(np.sort(order[:count]), np.flatnonzero(keep))


@pytest.mark.slow
def test_the_frequencies_are_the_probabilities():
    """20,000 ids after the same prompt, at temperature 2."""
    params, prompt = spread_params(LSTM, 0), np.tile(PROMPT[:1], (20_000, 1))
    z = LSTM.forward(params, PROMPT[:1])[0][0, -1]
    found = np.bincount(np.asarray(fnn.sample(LSTM, params, prompt, 1, KEY, temperature=2.0))[:, 0], minlength=K)
    np.testing.assert_allclose(found / 20_000, jax.nn.softmax(z / 2), atol=0.015)


def test_tiny_temperatures():
    """z / temperature may overflow, and its rounding hide the noise: equal logits are still drawn equally often."""
    network, prompt = fnn.embedding(3, 3), np.zeros((1000, 1), "int32")
    for logits, drawn in (([3, 3, 2], [0, 1]), ([-3, -4, -3], [0, 2])):
        params = fnn.Embedding(jnp.tile(jnp.array(logits, jnp.float32), (3, 1)))
        for temperature in (1.5e-38, 1e-9):
            ids = np.asarray(fnn.sample(network, params, prompt, 1, KEY, temperature))[:, 0]
            counts = np.bincount(ids, minlength=3)
            assert counts[drawn].sum() == 1000
            assert counts[drawn].min() > 440


@pytest.mark.slow
def test_float64(x64):
    params = spread_params(LSTM, 0, "float64")
    got = fnn.sample(LSTM, params, PROMPT.astype("uint8"), 3, KEY, temperature=0.5, top_k=5, top_p=0.9)
    expected = jax.jit(lambda params: without_memory(LSTM, params, PROMPT, 3, KEY, 0.5, 5, 0.9))(params)
    np.testing.assert_array_equal(got, expected)


POSITIONS = fnn.serial(fnn.embedding(K, 4), fnn.learned_positions(5, 4), fnn.dense(4, K))
BOTH_WAYS = fnn.serial(fnn.embedding(K, 4), fnn.bidirectional(fnn.rnn(4, 2), fnn.rnn(4, 2)), fnn.dense(4, K))
WIDE = fnn.serial(fnn.embedding(K, 4), fnn.dense(4, K + 1))
REFUSED = [  # arguments, error, message
    ({"prompt": [[1, K]]}, ValueError, "sample: prompt must be ids in 0..6, got 7, first in row 0"),
    ({"prompt": np.zeros((2, 0), "int32")}, ValueError, "prompt must be ids of shape .*at least one position"),
    ({"prompt": np.zeros((0, 2), "int32")}, ValueError, "prompt must be ids of shape .*at least one position"),
    ({"prompt": [1, 2]}, ValueError, "prompt must be ids of shape"),
    ({"prompt": np.zeros((1, 2), "float32")}, TypeError, "prompt must be integer ids in 0..6, got float32"),
    ({"n": 0}, ValueError, "n must be a positive integer, got int 0"),
    ({"n": 1.5}, TypeError, "n must be a positive integer, got float 1.5"),
    ({"key": None}, TypeError, "key must be a single PRNG key unless the temperature is 0"),
    ({"key": 3}, TypeError, "key must be a single PRNG key"),
    ({"temperature": -0.1}, ValueError, "temperature must be finite and at least 0.0, got float -0.1"),
    ({"temperature": float("nan")}, ValueError, "temperature must be finite"),
    ({"top_k": 0}, ValueError, "top_k must be a positive integer, got int 0"),
    ({"top_p": 0.0}, ValueError, r"top_p must be in \(0, 1\], got float 0.0"),
    ({"top_p": 1.1}, ValueError, r"top_p must be in \(0, 1\], got float 1.1"),
    ({"top_p": float("nan")}, ValueError, "top_p must be finite"),
    ({"network": fnn.dense(3, 3)}, ValueError, "network must be a layer that begins with an embedding"),
    ({"network": BOTH_WAYS}, ValueError, "got serial with bidirectional, which has no stream"),
    ({"network": POSITIONS, "n": 4}, ValueError, "learned_positions: x must be of at most 5 positions"),
    ({"network": WIDE}, ValueError, "sample: the output of the network must be .* at most 7 ids, got .*8"),
    ({"network": jnp.tanh}, TypeError, "sample: network must be a Layer"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refused(arguments, error, message):
    network = arguments.get("network", LSTM)
    params = spread_params(network, 0) if isinstance(network, fnn.Layer) else ()
    given = {"network": network, "params": params, "prompt": PROMPT, "n": 2, "key": KEY} | arguments
    with pytest.raises(error, match=message):
        fnn.sample(**given)


@pytest.mark.slow
def test_a_network_that_returns_nan_is_named():
    """As one that reads more positions than its memory has room for."""
    room = POSITIONS._replace(forward=LSTM.forward, layers=())
    params = spread_params(POSITIONS, 0)
    room = room._replace(forward=lambda params, x, key=None: (jnp.zeros((*x.shape, K)), ()))
    assert fnn.sample(room, params, PROMPT, 3, KEY).shape == (2, 3)
    with pytest.raises(ValueError, match=r"must be a distribution over ids .*after 6 positions"):
        fnn.sample(room, params, PROMPT, 4, KEY)
