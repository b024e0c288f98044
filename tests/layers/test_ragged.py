"""Sequences that are padded at their end: each as if it were alone, and wrong copies that are caught."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.gradcheck import check_layer
from tests.support.oracles import assert_close, largest, normal, spread_params
from tests.support.sequence_layers import some_lengths
from tests.support.slow import slow_except

K = 7
SEQUENCES = [np.array(ids, "int32") for ids in ([3, 1, 4, 2], [5, 2])]
X, LENGTHS = fnn.data.pad(SEQUENCES)
LABELS = np.array([0, 1], "int32")
EMBED = fnn.embedding(K, 3)
RECURRENT = fnn.serial(EMBED, fnn.lstm(3, 4))
BOTH_WAYS = fnn.bidirectional(fnn.gru(3, 2), fnn.rnn(3, 2))
of_ids = fnn.data.lengths_of

NETWORKS = {
    "last": fnn.serial(fnn.ragged(RECURRENT, fnn.last(), of_ids), fnn.dense(4, 3)),
    "mean": fnn.serial(fnn.ragged(RECURRENT, fnn.mean_positions(), of_ids), fnn.dense(4, 3)),
    "both ways, mean": fnn.serial(
        fnn.ragged(fnn.ragged(EMBED, BOTH_WAYS, of_ids), fnn.mean_positions(), of_ids), fnn.dense(4, 3)
    ),
    "both ways, last": fnn.serial(
        fnn.ragged(fnn.ragged(EMBED, BOTH_WAYS, of_ids), fnn.last(), of_ids), fnn.dense(4, 3)
    ),
}


def alone(network, params):
    """Cost and gradient as the mean of those of each sequence without its padding, by jax.grad."""

    def cost(params):
        values = [
            fnn.softmax_cross_entropy.forward(network.forward(params, ids[None])[0], label[None])[0][0]
            for ids, label in zip(SEQUENCES, LABELS, strict=True)
        ]
        return sum(values) / len(values)

    return jax.jit(jax.value_and_grad(cost))(params)


@pytest.mark.parametrize("name", slow_except(NETWORKS, "both ways, last"))
def test_padded_sequences_equal_each_alone(name, x64):
    network = NETWORKS[name]
    params = spread_params(network, 0, "float64")
    got = jax.jit(fnn.value_and_grad(network, fnn.softmax_cross_entropy))(params, X, LABELS)
    assert_close(got, alone(network, params), "float64")


@pytest.mark.slow
def test_fit_evaluate_and_predict():
    network = NETWORKS["both ways, mean"]
    options = {"epochs": 30, "batch_size": 2, "key": jax.random.key(0), "progress": False}
    result = fnn.fit(network, fnn.softmax_cross_entropy, fnn.adam(0.05), (X, LABELS), **options)
    assert result.history["accuracy"][-1] == 1
    found = fnn.evaluate(network, fnn.softmax_cross_entropy, result.state.params, (X, LABELS))
    assert found["accuracy"] == 1
    wider, _ = fnn.data.pad(SEQUENCES, time=9)
    predictions = [fnn.predict(network, result.state.params, x) for x in (X, wider)]
    assert_close(*predictions, "float32")


def test_pairs():
    x = normal(1, (3, 4, 2))
    np.testing.assert_array_equal(fnn.last().forward((), (x, np.array([4, 2, 0])))[0], [x[0, 3], x[1, 1], [0, 0]])
    mean, residuals = fnn.mean_positions().forward((), (x, np.array([4, 2, 0], "uint8")))
    np.testing.assert_allclose(mean, [x[0].mean(0), x[1, :2].mean(0), [0, 0]], rtol=1e-6)
    _, (dx, dlengths) = fnn.mean_positions().backward((), residuals, jnp.ones((3, 2)))
    np.testing.assert_array_equal(dx[:, :, 0], [[0.25] * 4, [0.5, 0.5, 0, 0], [0] * 4])
    assert dlengths.dtype == jax.dtypes.float0
    inside = jax.jit(lambda lengths: fnn.last().forward((), (x, lengths))[0])(np.array([5, 2, -1]))
    np.testing.assert_array_equal(np.isnan(inside).all(1), [True, False, True])


MIXED = {
    "last": fnn.last(),
    "mean": fnn.mean_positions(),
    "both ways": fnn.bidirectional(fnn.rnn(2, 3), fnn.gru(2, 3)),
}


@pytest.mark.parametrize("name", slow_except(MIXED, "last"))
def test_pairs_inside_mixed_precision(name):
    """The array is cast, the lengths are not, and the loss scale is taken out of dx."""
    layer, x, lengths = MIXED[name], normal(1, (3, 400, 2)), np.array([400, 257, 0])
    narrow = fnn.mixed_precision(layer, "bfloat16", loss_scale=8.0)
    params = spread_params(layer, 0)
    (y, residuals), (z, exact) = (f.forward(params, (x, lengths)) for f in (narrow, layer))
    dy = normal(2, y.shape)
    dparams, (dx, dlengths) = narrow.backward(params, residuals, dy)
    expected, (dz, _) = layer.backward(params, exact, dy)
    assert {leaf.dtype for leaf in jax.tree.leaves((y, dparams, dx))} == {np.dtype("float32")}
    assert dlengths.dtype == jax.dtypes.float0
    for got, want in zip(jax.tree.leaves((y, dparams, dx)), jax.tree.leaves((z, expected, dz)), strict=True):
        assert largest(got - want) <= 0.05 * largest(want)
    np.testing.assert_array_equal(np.asarray(dx) == 0, np.asarray(dz) == 0)
    with pytest.raises(ValueError, match=r"mixed_precision: lengths must be in 0..400, got 401..401"):
        narrow.forward(params, (x, np.full(3, 401)))


IDS_BOTH_WAYS = fnn.bidirectional(*(fnn.serial(fnn.embedding(k, 3), fnn.rnn(3, 2)) for k in (9, K)))


@pytest.mark.slow
def test_both_ways_of_ids_is_differentiated():
    report = check_layer(IDS_BOTH_WAYS, spread_params(IDS_BOTH_WAYS, 0), X, checks=("reference",))
    assert report.ok, report.summary()


def test_both_ways_of_ids():
    """It checks ids, those that both layers know, and returns no gradient of them."""
    layer, params = IDS_BOTH_WAYS, spread_params(IDS_BOTH_WAYS, 0)
    assert layer.vocabulary == K
    for x, pair in ((X, False), ((X, LENGTHS), True)):
        y, residuals = layer.forward(params, x)
        _, dx = layer.backward(params, residuals, jnp.ones_like(y))
        assert [part.dtype for part in (dx if pair else [dx])] == [jax.dtypes.float0] * (1 + pair)
    with pytest.raises(ValueError, match=r"predict: x must be ids in 0..6, got 7, first in row 0"):
        fnn.predict(layer, params, [[K]])


def test_lengths_in_other_processes_are_not_read():
    lengths = jnp.array([4, 2, 9])
    with mock.patch.object(type(lengths), "is_fully_addressable", False):
        y, _ = fnn.last().forward((), (normal(1, (3, 4, 2)), lengths))
    np.testing.assert_array_equal(np.isnan(y).all(1), [False, False, True])


def with_lengths(whole, lengths):
    """The layer with other lengths in its backward."""

    def backward(params, residuals, dy):
        each, known = residuals
        return whole.backward(params, (each, lengths(known)), dy)

    return whole._replace(backward=backward)


def the_longest(lengths):
    return jnp.full_like(lengths, 5)


def ragged_of(layer):
    return fnn.ragged(fnn.identity, layer, some_lengths)


WRONG = {
    "last of the padding": ragged_of(with_lengths(fnn.last(), the_longest)),
    "the mean over the padding": ragged_of(with_lengths(fnn.mean_positions(), the_longest)),
    "a reversal that includes the padding": ragged_of(
        with_lengths(fnn.bidirectional(fnn.rnn(6, 2), fnn.rnn(6, 2)), the_longest)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", WRONG)
def test_wrong_backward_passes_are_caught(fault):
    layer = WRONG[fault]
    report = check_layer(layer, spread_params(layer, 0), normal(1, (3, 5, 6)), key=3, checks=("reference",))
    assert "[1]" in {leaf.path for leaf in report.leaves if leaf.status == "FAIL"}, report.summary()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last", "mean", "both ways, last"])
def test_without_lengths_the_padding_counts(name, x64):
    """What the lengths are for: a layer that gets none differs from each sequence alone."""
    ignores = lambda x: jnp.full(x.shape[0], x.shape[1], jnp.int32)
    whole = fnn.mean_positions() if name == "mean" else fnn.last()
    each = RECURRENT if "both" not in name else fnn.ragged(EMBED, BOTH_WAYS, ignores)
    lengths = of_ids if "both" in name else ignores
    wrong = fnn.serial(fnn.ragged(each, whole, lengths), fnn.dense(4, 3))
    params = spread_params(NETWORKS[name], 0, "float64")
    cost, _ = jax.jit(fnn.value_and_grad(wrong, fnn.softmax_cross_entropy))(params, X, LABELS)
    assert abs(cost - alone(NETWORKS[name], params)[0]) > 1e-6


def test_refused():
    x = normal(1, (3, 4, 2))
    last = fnn.last()
    too_long = fnn.ragged(fnn.identity, last, lambda x: np.full(3, 5))
    for call, error, message in (
        (
            lambda: fnn.ragged(fnn.identity, last, 3),
            TypeError,
            "ragged: lengths must be a function x -> lengths, such as",
        ),
        (lambda: fnn.ragged(jnp.tanh, last, of_ids), TypeError, "ragged: each must be a Layer"),
        (lambda: last.forward((), (x, [1, 2])), ValueError, r"last: lengths must be of shape \(3,\)"),
        (lambda: last.forward((), (x, [1, 2, 5])), ValueError, r"last: lengths must be in 0..4, got 1..5"),
        (lambda: last.forward((), (x, [1.0, 2.0, 3.0])), TypeError, "last: lengths must be integers"),
        (lambda: last.forward((), (x, x, x)), ValueError, r"last: x must be an array or a pair \(x, lengths\)"),
        (lambda: too_long.forward(((), ()), x), TypeError, r"ragged: params must be Ragged\(each, whole\)"),
        (lambda: too_long.forward(fnn.Ragged((), ()), x), ValueError, "ragged: lengths must be in 0..4, got 5..5"),
        (lambda: fnn.mean_positions().forward((), x[:, :0]), ValueError, "mean_positions: x .* at least one position"),
    ):
        with pytest.raises(error, match=message):
            call()
    flat = fnn.ragged(functools.reduce(fnn.serial, [fnn.flatten, fnn.dense(8, 2)]), last, of_ids)
    with pytest.raises(ValueError, match=r"ragged: the output of each must be of shape \(3, 4, ...\)"):
        flat.forward(spread_params(flat, 0), x)
