"""Beam search: equal to an exhaustive search, and to the greedy continuation with one beam."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.generation.test_sample import LSTM, NETWORKS, PROMPT, K
from tests.support.oracles import spread_params

SMALL = fnn.serial(fnn.embedding(K, 4), fnn.learned_positions(9, 4), fnn.gru(4, 5), fnn.dense(5, 3))


def log_probs(network, params, prompt, continuations):
    """The log-probability of each continuation (rows, n) of one prompt (time,), by the whole sequence."""
    rows, _ = continuations.shape
    ids = jnp.concatenate([jnp.tile(jnp.asarray(prompt), (rows, 1)), jnp.asarray(continuations)], axis=1)
    log_p = jax.nn.log_softmax(network.forward(params, ids)[0])[:, len(prompt) - 1 : -1]
    return jnp.sum(jnp.take_along_axis(log_p, jnp.asarray(continuations)[..., None], axis=-1), axis=(1, 2))


def test_as_many_beams_as_continuations_are_an_exhaustive_search():
    params = spread_params(SMALL, 0)
    every = np.array([*itertools.product(range(3), repeat=3)])
    found = fnn.beam_search(SMALL, params, PROMPT, 3, beams=9)
    score = jax.jit(lambda params, prompt: log_probs(SMALL, params, prompt, every))
    for row, prompt in enumerate(PROMPT):
        scores = np.asarray(score(params, prompt))
        order = np.argsort(-scores)
        np.testing.assert_allclose(found.log_probs[row], scores[order[:9]], rtol=1e-5)
        np.testing.assert_array_equal(found.ids[row], every[order[:9]])


@pytest.mark.slow
def test_all_continuations_are_found_once():
    params = spread_params(SMALL, 0)
    found = fnn.beam_search(SMALL, params, PROMPT, 3, beams=27)
    np.testing.assert_allclose(np.exp(found.log_probs).sum(1), 1, rtol=1e-5)
    for ids in np.asarray(found.ids).tolist():
        assert sorted(map(tuple, ids)) == [*itertools.product(range(3), repeat=3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_one_beam_is_greedy_and_scores_are_those_of_the_ids(name):
    network = NETWORKS[name]
    params = spread_params(network, 0)
    greedy = fnn.sample(network, params, PROMPT, 5, None, temperature=0)
    np.testing.assert_array_equal(fnn.beam_search(network, params, PROMPT, 5, beams=1).ids[:, 0], greedy)
    if name != "bfloat16":
        found = fnn.beam_search(network, params, PROMPT, 5, beams=3)
        for row, prompt in enumerate(PROMPT):
            scores = np.asarray(log_probs(network, params, prompt, np.asarray(found.ids[row])))
            np.testing.assert_allclose(found.log_probs[row], scores, rtol=1e-4)
            assert (np.diff(scores) <= 1e-5).all()


def of_heads(params, batch):
    """A row for each head of each sequence, with the sequences not on an axis of their own."""
    return jnp.zeros((2 * batch, 3))


def between(params, batch):
    return jnp.zeros((batch, batch))


def list_of_rows(params, batch):
    return [jnp.zeros(3)] * batch


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (
            of_heads,
            r"the memory\[1\] must be an array with one axis of .*, got \(4, 3\) for 2 sequences, \(6, 3\) for 3",
        ),
        (between, r"the memory\[1\] must be .*, got \(2, 2\) for 2 sequences, \(3, 3\) for 3"),
        (list_of_rows, "the memory must be a tree that does not depend on the number of sequences"),
    ],
)
def test_a_memory_without_an_axis_of_sequences_is_refused(start, says):
    """Its rows could not be gathered by beams, nor reset."""
    custom = fnn.tanh._replace(stream=fnn.Stream(start, lambda params, memory, x, key=None: (x, (), memory)))
    network, optimizer = fnn.serial(fnn.embedding(K, K), custom), fnn.sgd(0.1)
    state = fnn.init_state(network, optimizer, jax.random.key(0))
    with pytest.raises(ValueError, match=f"^beam_search: {says}"):
        fnn.beam_search(network, state.params, PROMPT, 2, beams=2)
    step, memory = fnn.make_stream_step(network, fnn.softmax_cross_entropy, optimizer), ((), start((), 2))
    ids = np.zeros((2, 3), "int32")
    with pytest.raises(ValueError, match=f"^step: {says}"):
        step(state, memory, (ids, ids), np.array([True, False]))


def test_infinite_logits_are_refused():
    """A search would return NaN."""
    network = fnn.embedding(K, K)
    params = spread_params(network, 0)
    params = params._replace(w=jnp.asarray(params.w).at[3, 1].set(jnp.inf))
    with pytest.raises(ValueError, match=r"must be a distribution over ids .*, got NaN or inf .*after 3 positions"):
        fnn.beam_search(network, params, PROMPT[:1], 2, beams=2)


def test_refused():
    params = spread_params(LSTM, 0)
    for arguments, error, message in (
        ({"beams": 0}, ValueError, "beam_search: beams must be a positive integer"),
        (
            {"beams": 8, "n": 1},
            ValueError,
            "beams must be at most the number of continuations, 7, got int 8",
        ),
        ({"prompt": [[K]]}, ValueError, "beam_search: prompt must be ids in 0..6"),
        ({"n": 0}, ValueError, "beam_search: n must be a positive integer"),
        ({"prompt": [[0.5]]}, TypeError, "beam_search: prompt must be integer ids"),
    ):
        with pytest.raises(error, match=message):
            fnn.beam_search(**{"network": LSTM, "params": params, "prompt": PROMPT, "n": 2, "beams": 2} | arguments)
