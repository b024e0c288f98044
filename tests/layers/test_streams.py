"""Layers that read a sequence in pieces, and both directions of time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.oracles import assert_close, by_hand, cotangent, largest, normal, spread_params
from tests.support.slow import slow_except

CELLS = {
    "rnn": fnn.rnn(6, 4),
    "gru": fnn.gru(6, 4),
    "gru_reset_before": fnn.gru(6, 4, reset_after=False),
    "lstm": fnn.lstm(6, 4),
}
NETWORK = fnn.serial(
    fnn.dense(6, 4),
    fnn.residual(fnn.lstm(4, 4)),
    fnn.repeat(fnn.serial(fnn.gru(4, 4), fnn.layer_norm(4)), 2),
    fnn.remat(fnn.rnn(4, 4, fnn.silu)),
    fnn.dropout(0.5),
)
each_cell = pytest.mark.parametrize("name", CELLS)


@each_cell
def test_pieces_equal_the_whole(name, x64):
    """The same bits in jax 0.10, except for a single position, since XLA compiles a loop of one iteration differently.

    Later versions of XLA compile loops of different lengths differently, too.
    """
    close = functools.partial(assert_close, dtype="float64")
    layer = CELLS[name]
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, 8, 6), "float64")
    whole = layer.forward(params, x)[0]
    for cuts, compare in (
        ([5], np.testing.assert_array_equal if jax.__version_info__ < (0, 11) else close),
        ([1], close),
    ):
        memory, pieces = layer.stream.start(params, 3), []
        for piece in np.split(x, cuts, axis=1):
            y, _, memory = layer.stream.advance(params, memory, piece)
            pieces.append(y)
        compare(jnp.concatenate(pieces, axis=1), whole)


@pytest.mark.parametrize("name", slow_except([*CELLS, "network"], "network"))
def test_truncated_backpropagation_stops_at_the_memory(name, x64):
    """Compare with jax.vjp of both pieces, the memory between them taken as a constant."""
    layer = {**CELLS, "network": NETWORK}[name]
    params, x = spread_params(layer, 0, "float64"), normal(1, (3, 7, 6), "float64")
    dy = cotangent(layer, params, x)

    def truncated(params, x):
        y, _, memory = layer.stream.advance(params, layer.stream.start(params, 3), x[:, :4])
        second = layer.stream.advance(params, jax.lax.stop_gradient(memory), x[:, 4:])[0]
        return jnp.concatenate([y, second], axis=1)

    @jax.jit
    def by_pieces(params, x, dy):
        _, first, memory = layer.stream.advance(params, layer.stream.start(params, 3), x[:, :4])
        _, second, _ = layer.stream.advance(params, memory, x[:, 4:])
        (dp, dx), (dq, dz) = (layer.backward(params, r, d) for r, d in ((first, dy[:, :4]), (second, dy[:, 4:])))
        return jax.tree.map(jnp.add, dp, dq), jnp.concatenate([dx, dz], axis=1)

    expected = jax.jit(lambda params, x, dy: jax.vjp(truncated, params, x)[1](dy))(params, x, dy)
    assert_close(by_pieces(params, x, dy), expected, "float64")


WRAPPED = {
    "network": NETWORK,
    "remat": fnn.remat(NETWORK),
    "autodiff": fnn.autodiff(fnn.lstm(6, 4)),
    "mixed_precision": fnn.mixed_precision(fnn.lstm(6, 4), jnp.bfloat16),
    "repeat": fnn.repeat(fnn.mixed_precision(fnn.gru(6, 6), jnp.bfloat16), 2),
}


@pytest.mark.parametrize("name", slow_except(WRAPPED, "remat", "mixed_precision"))
def test_combinators_and_wrappers_read_in_pieces(name):
    """The outputs, and the gradients of what follows the memory."""
    layer = WRAPPED[name]
    params, x = spread_params(layer, 0), normal(1, (3, 8, 6))

    @jax.jit
    def run(params, x):
        first, _, memory = layer.stream.advance(params, layer.stream.start(params, 3), x[:, :5])
        follows = lambda params, x: layer.stream.advance(params, memory, x)[0]
        y, residuals, _ = layer.stream.advance(params, memory, x[:, 5:])
        pieces, gradients = jnp.concatenate([first, y], axis=1), layer.backward(params, residuals, y)
        return (pieces, layer.forward(params, x)[0]), (gradients, jax.vjp(follows, params, x[:, 5:])[1](y))

    (pieces, whole), (got, expected) = run(params, x)
    assert_close(pieces, whole, "float32")
    bound = (0.03 if name in ("mixed_precision", "repeat") else 1e-5) * largest(expected)
    assert largest(jax.tree.map(jnp.subtract, got, expected)) <= bound


def test_layers_that_see_other_positions_cannot_read_in_pieces():
    for layer in (fnn.last(), fnn.flatten, fnn.batch_norm(6), fnn.conv2d(2, 3, 3), fnn.bidirectional(NETWORK, NETWORK)):
        assert layer.stream is None
        assert fnn.remat(fnn.repeat(fnn.residual(fnn.serial(fnn.tanh, layer)), 2)).stream is None


@pytest.mark.slow
def test_both_directions_equal_pytorch(x64):
    torch = pytest.importorskip("torch")
    network = fnn.bidirectional(CELLS["lstm"], CELLS["lstm"])
    params, x = spread_params(network, 0, "float64"), normal(1, (3, 5, 6), "float64")
    dy = cotangent(network, params, x)
    theirs = torch.nn.LSTM(6, 4, batch_first=True, bidirectional=True, dtype=torch.float64)
    ends = "_l0", "_l0_reverse"
    for p, end in zip(params, ends, strict=True):
        for part, value in {"weight_ih": p.w.T, "weight_hh": p.u.T, "bias_ih": p.b, "bias_hh": 0 * p.b}.items():
            getattr(theirs, part + end).data = torch.tensor(np.array(value))
    x_t = torch.tensor(x, requires_grad=True)
    y_t = theirs(x_t)[0]
    y_t.backward(torch.tensor(dy))
    assert_close(network.forward(params, x)[0], y_t.detach().numpy(), "float64")
    grads = [
        [getattr(theirs, part + end).grad.numpy() for part in ("weight_ih", "weight_hh", "bias_ih")] for end in ends
    ]
    expected = fnn.Bidirectional(*(fnn.LSTM(w.T, u.T, b) for w, u, b in grads))
    assert_close(by_hand(network, params, x, dy), (expected, x_t.grad.numpy()), "float64")
