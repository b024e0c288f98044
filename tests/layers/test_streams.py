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


STATEFUL = {
    **CELLS,
    "conv1d": fnn.conv1d(6, 6, 3, causal=True),
    "attention": fnn.attention(6, 2, length=8),
    "network": fnn.serial(fnn.learned_positions(8, 6), fnn.repeat(fnn.residual(fnn.remat(fnn.lstm(6, 6))), 2)),
}


def read(layer, params, pieces):
    """Return the memory after the last piece, and all outputs."""
    step = lambda memory, x: layer.stream.advance(params, memory, x)[::-2]
    return jax.lax.scan(step, layer.stream.start(params, 3), pieces)


@pytest.mark.parametrize(("narrow", "wide"), [("bfloat16", "float32"), ("float32", "float64")])
def test_the_memory_keeps_its_dtype(narrow, wide, x64):
    """If x is wider than the parameters, a scan over pieces can still carry it."""
    for layer in STATEFUL.values():
        params = jax.tree.map(lambda leaf: leaf.astype(narrow), spread_params(layer, 0))
        for dtype in (narrow, wide):
            pieces = jax.ShapeDtypeStruct((2, 3, 4, 6), dtype)

            memory, y = jax.eval_shape(functools.partial(read, layer), params, pieces)
            assert y.dtype == dtype
            assert {leaf.dtype.name for leaf in jax.tree.leaves(memory)} <= {narrow, "float32", "int32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATEFUL)
def test_a_memory_that_is_narrower_than_x_rounds(name):
    layer = STATEFUL[name]
    params = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), spread_params(layer, 0))
    x = normal(1, (3, 8, 6))
    memory, pieces = layer.stream.start(params, 3), []
    for piece in np.split(x, [3, 4], axis=1):
        y, _, memory = layer.stream.advance(params, memory, piece)
        pieces.append(y)
    whole = layer.forward(params, x)[0]
    assert largest(jnp.concatenate(pieces, axis=1) - whole) <= 4 * float(jnp.finfo("bfloat16").eps) * largest(whole)


TIED = fnn.tied_embedding(5, 4, fnn.gru(4, 4))
X = np.zeros((2, 3, 4), "float32")
MIXERS = fnn.softmax, fnn.dense(4, 4), fnn.layer_norm(4), fnn.rms_norm(4), fnn.swiglu(4, 3)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (fnn.rnn(4, 3), r"rnn: params must be RNN\(w, u, b\)"),
        (fnn.gru(4, 3), r"gru: params must be GRU\(w, u, b, c\)"),
        (fnn.lstm(4, 3), r"lstm: params must be LSTM\(w, u, b\)"),
        (fnn.conv1d(4, 3, 2, causal=True), r"conv1d: params must be Conv1d\(w, b\)"),
        (fnn.attention(4, 2, length=3), "attention: params must be Attention"),
        (fnn.learned_positions(5, 4), r"learned_positions: params must be Positions\(w\)"),
        (TIED, r"tied_embedding: params must be TiedEmbedding\(w, layer\)"),
        (fnn.residual(fnn.gru(4, 4)), r"residual: params must be Residual\(layer, shortcut\)"),
        (fnn.remat(fnn.serial(fnn.tanh, fnn.gru(4, 4))), "serial: params must be a tuple of 2, .*, got a tuple of 1"),
    ],
)
def test_parameters_of_another_form_are_refused(layer, says):
    """At the start of a memory, in a step from it, and in the forward pass, with the same words."""
    params = jax.eval_shape(layer.init, jax.random.key(0))
    memory = layer.stream.start(params, 2)
    x = np.zeros((2, 3), "int32") if layer is TIED else X
    for call in (
        lambda: fnn.start_memory(layer, ((),), 2),
        lambda: layer.stream.advance(((),), memory, x),
        lambda: jax.eval_shape(layer.forward, ((),), x),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{says}"):
            call()


def test_parameters_and_memories_of_another_size_are_refused():
    network, copies = fnn.serial(fnn.dense(4, 4), fnn.gru(4, 4)), fnn.repeat(fnn.gru(4, 4), 2)
    params, params_of_copies = spread_params(network, 0), spread_params(copies, 0)
    memory, memories = fnn.start_memory(network, params, 2), fnn.start_memory(copies, params_of_copies, 2)
    two, three = (jax.tree.map(lambda leaf, n=n: np.zeros((n, *leaf.shape)), params[1]) for n in (2, 3))
    wide = fnn.repeat(fnn.dense(4, 3), 2)
    for call, says in (
        (lambda: fnn.start_memory(network, params[:1], 2), "serial: params must be a tuple of 2, .*, got a tuple of 1"),
        (lambda: network.stream.advance(params[:1], memory, X), "serial: params must be a tuple of 2, one entry"),
        (lambda: network.stream.advance(params, memory[:1], X), "serial: memory must be a tuple of 2, .* tuple of 1"),
        (lambda: network.stream.advance(params, 0.0, X), "serial: memory must be a tuple of 2, .* got float 0.0"),
        (
            lambda: fnn.residual(fnn.gru(4, 4)).stream.advance(fnn.Residual(params[1], ()), ((),), X),
            "residual: memory must be a tuple of 2",
        ),
        (
            lambda: fnn.start_memory(copies, three, 2),
            "repeat: params must be a tree of leaves with a leading axis of 2",
        ),
        (lambda: copies.stream.advance(three, memories, X), "repeat: params must be a tree of leaves with a leading"),
        (
            lambda: wide.stream.advance(spread_params(wide, 0), ((), ()), X),
            r"repeat: the layer's output must be of the shape of its input, \(2, 3, 4\)",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{says}"):
            call()
    assert fnn.start_memory(copies, two, 2).shape == (2, 2, 4)
    assert fnn.start_memory(fnn.repeat(fnn.tanh, 2), (), 2) == ()


@pytest.mark.parametrize("layer", MIXERS, ids=lambda layer: layer.name)
def test_the_last_axis_of_a_stream_is_not_time(layer):
    params = jax.eval_shape(layer.init, jax.random.key(0))
    advance, forward = (lambda p, x, f=f: f(p, *x)[0] for f in (layer.stream.advance, layer.forward))
    with pytest.raises(ValueError, match=r"x must be of shape \(batch, time, ..., features\), if a sequence is read"):
        jax.eval_shape(advance, params, ((), X[:, 0]))
    assert jax.eval_shape(advance, params, ((), X)).shape == X.shape
    assert jax.eval_shape(forward, params, (X[:, 0],)).shape == X[:, 0].shape


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
