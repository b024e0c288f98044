"""`add`: layers side by side, whose outputs are added."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.oracles import assert_close, by_autodiff, by_hand, cotangent, normal, spread_params
from tests.support.slow import slow_except

NETWORK = fnn.add(
    fnn.dense(6, 3),
    fnn.serial(fnn.dense(6, 5), fnn.silu, fnn.dropout(0.3), fnn.dense(5, 3)),
    fnn.serial(fnn.batch_norm(6), fnn.dense(6, 3)),
)
X = normal(1, (7, 6))
CASES = [(dtype, key) for dtype in ("float64", "float32") for key in (None, 3)]


@pytest.mark.parametrize(("dtype", "key"), slow_except(CASES, ("float64", 3)))
def test_the_gradient_is_that_of_the_sum(dtype, key, x64):
    """With dropout, and with statistics of the batch in one part; against jax.vjp and against the parts."""
    key = None if key is None else jax.random.key(key)
    params, x = spread_params(NETWORK, 0, dtype), normal(1, (7, 6), dtype)
    dy = cotangent(NETWORK, params, x, key)
    dparams, dx = by_hand(NETWORK, params, x, dy, key)
    assert_close((dparams, dx), by_autodiff(NETWORK, params, x, dy, key), dtype)
    keys = [None] * 3 if key is None else [jax.random.fold_in(key, i) for i in range(3)]
    parts = [by_hand(f, p, x, dy, k) for f, p, k in zip(NETWORK.layers, params, keys, strict=True)]
    assert_close(dx, sum(part[1] for part in parts), dtype)
    assert_close(dparams, tuple(part[0] for part in parts), dtype)


def test_parts_draw_from_keys_of_their_own(key):
    layer = fnn.add(fnn.dropout(0.5), fnn.dropout(0.5))
    y, _ = layer.forward(layer.init(key), jnp.ones((1, 400)), key)
    assert set(y.ravel().tolist()) == {0.0, 2.0, 4.0}


def test_one_layer_is_that_layer(key):
    layer = fnn.add(fnn.dense(6, 3))
    params = layer.init(key)
    np.testing.assert_array_equal(layer.forward(params, X)[0], fnn.dense(6, 3).forward(params[0], X)[0])


def test_calibrate_sets_the_statistics_of_each_part(key):
    params = fnn.calibrate(NETWORK, NETWORK.init(key), X)
    np.testing.assert_allclose(params[2][0].mean, X.mean(0), atol=1e-6)
    assert fnn.add(fnn.dense(6, 3)).calibrate is None


@pytest.mark.slow
def test_pieces_of_a_sequence_equal_the_whole(key):
    layer = fnn.serial(fnn.add(fnn.dense(6, 4), fnn.gru(6, 4), fnn.serial(fnn.dense(6, 4), fnn.rnn(4, 4))), fnn.tanh)
    params, x = layer.init(key), normal(2, (3, 8, 6))
    memory, pieces = fnn.start_memory(layer, params, 3), []
    for piece in (x[:, :5], x[:, 5:]):
        y, _, memory = layer.stream.advance(params, memory, piece)
        pieces.append(y)
    np.testing.assert_allclose(jnp.concatenate(pieces, 1), layer.forward(params, x)[0], rtol=1e-5, atol=1e-6)
    assert fnn.add(fnn.dense(6, 4), fnn.bidirectional(fnn.rnn(6, 2), fnn.rnn(6, 2))).stream is None


def test_ids_and_pairs_are_inputs_too(key):
    """Of ids there is no gradient; the lengths of a pair (x, lengths) have none either."""
    ids = fnn.add(fnn.embedding(9, 4), fnn.embedding(7, 4))
    assert ids.vocabulary == 7
    network = fnn.serial(ids, fnn.dense(4, 3))
    params = network.init(key)
    cost, dparams = fnn.value_and_grad(network, fnn.squared_error)(params, jnp.array([[1, 2]]), jnp.ones((1, 2, 3)))
    assert np.isfinite(cost)
    assert np.any(dparams[0][1].w[2])
    pairs = fnn.add(fnn.mean_positions(), fnn.last())
    x, lengths = normal(3, (2, 5, 4)), jnp.array([2, 5])
    y, residuals = pairs.forward(pairs.init(key), (x, lengths))
    np.testing.assert_allclose(y[0], x[0, :2].mean(0) + x[0, 1], rtol=1e-5)
    (dx, dlengths) = pairs.backward(pairs.init(key), residuals, jnp.ones((2, 4)))[1]
    assert dx.shape == x.shape
    assert dlengths.dtype == jax.dtypes.float0
    np.testing.assert_allclose(dx[0, :, 0], [0.5, 1.5, 0, 0, 0])


def test_mixed_dtypes_compute_in_the_wider(x64):
    layer = fnn.add(fnn.dense(6, 3), fnn.dense(6, 3))
    params = spread_params(layer, 0, "float32")
    params = params[0], jax.tree.map(lambda leaf: leaf.astype(np.float64), params[1])
    y, residuals = layer.forward(params, X)
    dparams, dx = layer.backward(params, residuals, jnp.ones_like(y))
    assert (y.dtype, dx.dtype) == (jnp.float64, jnp.float32)
    assert [leaf.dtype for leaf in jax.tree.leaves(dparams)] == [leaf.dtype for leaf in jax.tree.leaves(params)]


def test_the_summary_counts_the_parts_and_the_sums():
    parts = fnn.dense(64, 8), fnn.serial(fnn.repeat(fnn.dense(64, 64), 3), fnn.dense(64, 8)), fnn.dense(64, 8)
    table = fnn.summary(fnn.add(*parts), (5, 64))
    each = [fnn.summary(part, (5, 64)) for part in parts]
    assert table.num_params == sum(part.num_params for part in each)
    assert table.flops == sum(part.flops for part in each) + 2 * 5 * 8


WRONG = [
    (lambda: fnn.add(), ValueError, "add: layers must be at least one Layer, got none"),
    (lambda: fnn.add([fnn.relu, fnn.tanh]), TypeError, r"add: layers must be .* Unpack it: add\(\*layers\)"),
    (lambda: fnn.add(fnn.relu, 3), TypeError, r"add: layers\[1\] must be a Layer"),
    (
        lambda: run(fnn.add(fnn.dense(6, 3), fnn.dense(6, 1))),
        ValueError,
        r"add: the output of layers\[1\] \(dense\(6, 1\)\) must be of the shape of .* \(7, 3\), got .* \(7, 1\)",
    ),
    (lambda: fnn.add(fnn.relu, fnn.tanh).forward(((),), X), ValueError, "add: params must be a tuple of 2"),
]


def run(layer):
    return layer.forward(layer.init(jax.random.key(0)), X)


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
