"""Attention that reads a sequence in pieces: its memory of keys and values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.oracles import assert_close, largest, normal, spread_params
from tests.support.slow import slow_except

LAYERS = {
    "plain": (fnn.attention(8, 2, length=9), 9),
    "rotary": (fnn.attention(8, 4, rotary=True, kv_heads=2, length=12), 9),
    "long": (fnn.attention(8, 2, rotary=True, length=140), 133),
    "block": (fnn.transformer_block(8, 2, length=9), 9),
}


@pytest.mark.parametrize("name", slow_except(LAYERS, "rotary"))
def test_pieces_equal_the_whole(name, x64):
    """A prompt, single positions, and the rest."""
    layer, time = LAYERS[name]
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, time, 8), "float64")
    advance, memory, pieces = jax.jit(layer.stream.advance), layer.stream.start(params, 3), []
    for piece in np.split(x, [time - 5, time - 4, time - 3], axis=1):
        y, _, memory = advance(params, memory, piece)
        pieces.append(y)
    assert_close(jnp.concatenate(pieces, axis=1), jax.jit(layer.forward)(params, x)[0], "float64")


@pytest.mark.parametrize("name", slow_except(LAYERS, "rotary"))
def test_truncated_backpropagation_stops_at_the_memory(name, x64):
    layer, time = LAYERS[name]
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, time, 8), "float64")

    @jax.jit
    def run(params, x):
        _, _, memory = layer.stream.advance(params, layer.stream.start(params, 3), x[:, :2])
        follows = lambda params, x: layer.stream.advance(params, memory, x)[0]
        y, residuals, _ = layer.stream.advance(params, memory, x[:, 2:])
        dy = jnp.cos(3 * y)
        return layer.backward(params, residuals, dy), jax.vjp(follows, params, x[:, 2:])[1](dy)

    got, expected = run(params, x)
    assert_close(got, expected, "float64")


def test_a_mask_from_the_top_left_while_decoding_would_be_seen(x64):
    """With the query taken for position 0, it sees the first key alone: the pieces differ from the whole."""
    layer, _ = LAYERS["plain"]
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, 6, 8), "float64")
    whole, (_, _, saved, _) = jax.jit(layer.forward)(params, x)
    fill = lambda a: jnp.pad(a[:, :, :5], ((0, 0), (0, 0), (0, 4), (0, 0)))
    memory, advance = (
        layer.stream.start(params, 3)._replace(k=fill(saved.k), v=fill(saved.v)),
        jax.jit(layer.stream.advance),
    )
    assert_close(advance(params, memory._replace(position=jnp.int32(5)), x[:, 5:])[0], whole[:, 5:], "float64")
    top_left = advance(params, memory, x[:, 5:])[0]
    assert largest(top_left - whole[:, 5:]) > 0.01


def test_the_memory_can_be_donated():
    """No two of its arrays are one buffer, neither at the start nor after a step."""
    network, optimizer = fnn.gpt(5, length=4, layers=1, heads=2, d=4), fnn.sgd(0.1)
    state = fnn.init_state(network, optimizer, jax.random.key(0))
    step = jax.jit(fnn.make_stream_step(network, fnn.softmax_cross_entropy, optimizer), donate_argnums=(0, 1))
    memory, ids = fnn.start_memory(network, state.params, 2), np.ones((2, 2), "int32")
    state, given, _ = step(state, memory, (ids, ids))
    _, _, cost = step(state, given, (ids, ids))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((memory, given)))
    assert np.isfinite(cost)


def test_positions_past_the_length_are_nan():
    """Those before it are right, and stay in the memory."""
    layer = fnn.attention(8, 2, length=6)
    params, x = spread_params(layer, 0), normal(1, (2, 9, 8))
    advance = jax.jit(layer.stream.advance)
    _, (_, _, saved, _) = jax.jit(layer.forward)(params, x[:, :5])
    _, _, memory = advance(params, layer.stream.start(params, 2), x[:, :5])
    y, _, memory = advance(params, memory, x[:, 4:9])  # one position is left
    assert np.isfinite(y[:, 0]).all()
    assert np.isnan(y[:, 1:]).all()
    assert_close(memory.k[:, :, :5], saved.k, "float32")
    assert np.isnan(advance(params, memory, x[:, :5])[0]).all()
