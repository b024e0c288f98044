"""Training that carries memory from step to step: equal to jax.grad with the memory stopped; resets; refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import fnn
from fnn.gradcheck import check_layer
from tests.support.oracles import assert_close, largest, normal, spread_params

K, IGNORE = 5, -100
NETWORKS = {
    "lstm": fnn.serial(fnn.embedding(K, 3), fnn.lstm(3, 4), fnn.dense(4, K)),
    "gru and rnn": fnn.serial(
        fnn.embedding(K, 4), fnn.repeat(fnn.residual(fnn.gru(4, 4)), 2), fnn.remat(fnn.rnn(4, 3)), fnn.dense(3, K)
    ),
}
LSTM = NETWORKS["lstm"]
LOSS, RATE, L2 = fnn.token_cross_entropy(), 0.5, 0.1
IDS = np.random.default_rng(0).integers(0, K, (3, 12)).astype("int32")
TARGETS = np.roll(IDS, -1, axis=1)
TARGETS[1, 9:] = IGNORE
PIECES = slice(0, 4), slice(4, 8), slice(8, 12)
RESETS = np.array([[False] * 3, [False, True, False], [True, False, False]])


def start(network, dtype="float64"):
    params = spread_params(network, 0, dtype)
    optimizer = fnn.sgd(RATE)
    state = fnn.TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), jax.random.key(0))
    return fnn.make_stream_step(network, LOSS, optimizer, L2), state, fnn.start_memory(network, params, len(IDS))


def by_hand(network, step=None):
    """The parameters after each piece, and the costs."""
    made, state, memory = start(network)
    step, out = jax.jit(step or made), []
    for piece, reset in zip(PIECES, RESETS, strict=True):
        x, y = IDS[:, piece], TARGETS[:, piece]
        state, memory, cost = step(state, memory, (x, y, fnn.data.token_weights(y)), reset)
        out.append((state.params, cost))
    return out


def token_mean(network, params, x, y, memory):
    """The mean over all tokens of the batch, with the penalty, for jax.grad."""
    z = network.stream.advance(params, memory, x)[0]
    log_p = jnp.take_along_axis(jax.nn.log_softmax(z), jnp.maximum(y, 0)[..., None], axis=-1)[..., 0]
    w = (y != IGNORE).astype(z.dtype)
    weights = [leaf for path, leaf in jax.tree.leaves_with_path(params) if path[-1].name in ("w", "u")]
    return -jnp.sum(w * log_p) / jnp.sum(w) + 0.5 * L2 * sum(jnp.sum(leaf**2) for leaf in weights)


def by_autodiff(network):
    """The same with jax.grad, for which the memory is an argument and so a constant."""
    _, state, memory = start(network)
    gradient = jax.jit(lambda *args: jax.value_and_grad(functools.partial(token_mean, network))(*args))
    advance = jax.jit(lambda params, memory, x: network.stream.advance(params, memory, x)[2])
    params, fresh, out = state.params, memory, []
    for piece, reset in zip(PIECES, RESETS, strict=True):
        x, y = IDS[:, piece], TARGETS[:, piece]
        # the copies of repeat have their own axis before that of the sequences
        rows = {2: np.array(reset)[:, None], 3: np.array(reset)[None, :, None]}
        memory = jax.tree.map(lambda old, new, rows=rows: jnp.where(rows[old.ndim], new, old), memory, fresh)
        cost, dparams = gradient(params, x, y, memory)
        memory = advance(params, memory, x)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, dparams)
        out.append((params, cost))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_steps_equal_jax_grad(name, x64):
    network = NETWORKS[name]
    for got, expected in zip(by_hand(network), by_autodiff(network), strict=True):
        assert_close(got, expected, "float64")


def test_the_gradient_stops_at_the_memory(x64):
    """It equals that of jax.grad with stop_gradient, and not that through the memory."""
    step, state, memory = start(LSTM)
    x, x2, y2 = IDS[:, PIECES[0]], IDS[:, PIECES[1]], TARGETS[:, PIECES[1]]

    def cost(params, stop):
        reached = LSTM.stream.advance(params, memory, x)[2]
        return token_mean(LSTM, params, x2, y2, stop(reached)), reached

    @jax.jit
    def run(params):
        stopped, reached = jax.grad(cost, has_aux=True)(params, jax.lax.stop_gradient)
        batch = x2, y2, fnn.data.token_weights(y2)
        return stopped, jax.grad(cost, has_aux=True)(params, lambda m: m)[0], step(state, reached, batch)[0].params

    stopped, through, params = run(state.params)
    assert_close(params, jax.tree.map(lambda p, g: p - RATE * g, state.params, stopped), "float64")
    assert largest(jax.tree.map(jnp.subtract, stopped, through)) > 1e-3


def forgets_the_memory(params, memory, x, key=None):
    return LSTM.stream.advance(params, LSTM.stream.start(params, x.shape[0]), x, key)


STEP = fnn.make_stream_step(LSTM, LOSS, fnn.sgd(RATE), L2)
FORGETS = LSTM._replace(stream=fnn.Stream(LSTM.stream.start, forgets_the_memory))
WRONG = {
    "the memory is not carried": fnn.make_stream_step(FORGETS, LOSS, fnn.sgd(RATE), L2),
    "the memory is not reset": lambda state, memory, batch, reset: STEP(state, memory, batch),
    "all rows are reset": lambda state, memory, batch, reset: STEP(state, memory, batch, reset | True),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", WRONG)
def test_wrong_steps_differ(fault, x64):
    got, expected = by_hand(LSTM, WRONG[fault]), by_hand(LSTM)
    assert largest(jax.tree.map(jnp.subtract, got[2], expected[2])) > 1e-4


@pytest.mark.slow
def test_the_checker_catches_a_backward_that_forgets_the_memory():
    """h_0 = 0 in dU, though the piece began from a memory."""
    layer = fnn.gru(3, 4)
    params, h = spread_params(layer, 0), normal(5, (2, 4))
    advance = layer.stream.advance
    goes_on = layer._replace(forward=lambda params, x, key=None: advance(params, jnp.asarray(h, x.dtype), x)[:2])
    forgets = lambda params, r, dy: layer.backward(params, (r[0], jnp.zeros_like(r[1]), *r[2:]), dy)
    for backward, status in ((layer.backward, "PASS"), (forgets, "FAIL")):
        report = check_layer(
            goes_on._replace(backward=backward), params, normal(1, (2, 3, 3)), key=3, checks=("reference",)
        )
        found = {leaf.path: leaf.status for leaf in report.leaves}
        assert found["[0].u"] == status, report.summary()


@pytest.mark.slow
def test_a_row_of_weight_0_has_no_part_in_the_cost_but_goes_on():
    network = fnn.serial(fnn.gru(2, 3), fnn.dense(3, 1))
    params = spread_params(network, 0)
    state = fnn.TrainState(params, fnn.sgd(0.1).init(params), jnp.zeros((), jnp.int32), jax.random.key(0))
    step = jax.jit(fnn.make_stream_step(network, fnn.squared_error, fnn.sgd(0.1)))
    memory = fnn.start_memory(network, params, 2)
    x, y, weight = normal(1, (2, 4, 2)), normal(2, (2, 4, 1)), np.array([0.0, 1.0], "float32")
    after, carried, cost = step(state, memory, (x, y, weight))
    alone = step(state, jax.tree.map(lambda m: m[1:], memory), (x[1:], y[1:]))
    assert_close((after.params, cost), (alone[0].params, alone[2]), "float32")
    assert_close(carried, step(state, memory, (x, y))[1], "float32")
    x[0, 1], y[0] = np.nan, np.nan
    again = step(state, memory, (x, y, weight))
    assert_close((again[0].params, again[2]), (after.params, cost), "float32")
    assert np.isfinite(again[1][0]).all()


@pytest.mark.slow
def test_in_a_scan(x64):
    """One program for many pieces."""
    step, state, memory = start(LSTM)
    x, y = (np.stack([a[:2, i : i + 4] for i in (0, 4, 8)]) for a in (IDS, np.maximum(TARGETS, 0)))
    memory = jax.tree.map(lambda leaf: leaf[:2], memory)

    @jax.jit
    def run(state, memory, x, y):
        def body(carry, batch):
            state, memory, cost = step(*carry, batch)
            return (state, memory), cost

        return jax.lax.scan(body, (state, memory), (x, y))

    (last, _), costs = run(state, memory, x, y)
    step = jax.jit(step)
    for i in range(3):
        state, memory, cost = step(state, memory, (x[i], y[i]))
        assert_close(costs[i], cost, "float64")
    assert_close(last.params, state.params, "float64")


@pytest.mark.slow
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_two_devices_change_nothing(axis_type, x64):
    network = fnn.serial(fnn.dense(2, 3), fnn.lstm(3, 4), fnn.gru(4, 4), fnn.dense(4, K))
    step, state, memory = start(network)
    batch, reset = (normal(1, (4, 5, 2), "float64"), np.resize(IDS, (4, 5))), np.array([True, False, False, True])
    memory = jax.tree.map(lambda m: jnp.ones_like(m, shape=(4, 4)), memory)
    expected = jax.jit(step)(state, memory, batch, reset)
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",), axis_types=(axis_type,))
    layout, rows = fnn.sharding.data_parallel(mesh), NamedSharding(mesh, PartitionSpec("data"))

    def in_pairs(state, inputs):
        state, *out = step(state, *inputs)
        return state, out

    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    inputs = jax.device_put((memory, batch, reset), rows)
    last, out = jax.jit(fnn.sharding.constrained(layout, in_pairs))(state, inputs)
    assert len(last.params[0].w.devices()) == 2
    assert_close((last.params, *out), (expected[0].params, *expected[1:]), "float64")


def test_refused():
    step, state, memory = start(LSTM, "float32")
    batch = IDS[:, :4], IDS[:, :4]
    both_ways = fnn.serial(fnn.dense(2, 4), fnn.residual(fnn.bidirectional(fnn.rnn(4, 2), fnn.rnn(4, 2))))
    positions = fnn.serial(fnn.embedding(K, 3), fnn.learned_positions(9, 3), fnn.dense(3, K))
    shared = fnn.make_stream_step(positions, LOSS, fnn.sgd(RATE))
    params = spread_params(positions, 0)
    moved = state._replace(params=params)
    for call, error, message in (
        (
            lambda: fnn.make_stream_step(both_ways, LOSS, fnn.sgd(0.1)),
            ValueError,
            "serial with bidirectional, which has",
        ),
        (lambda: fnn.make_stream_step(fnn.relu, LOSS, 0.1), TypeError, "optimizer must be a GradientTransformation"),
        (
            lambda: step(state, None, batch),
            ValueError,
            "memory must be a tree as .* The first memory is fnn.start_memory",
        ),
        (lambda: step(state, memory, (IDS[:2], IDS[:2])), ValueError, r"memory\[1\].h must be of shape \(2, 4\)"),
        (lambda: step(state, memory, (IDS[:, :0], IDS[:, :0])), ValueError, "x must be .* at least one position"),
        (lambda: step(state, memory, batch, np.zeros(3)), TypeError, r"reset must be booleans \(3,\), got float"),
        (lambda: step(state, memory, batch, np.zeros(2, bool)), ValueError, r"reset must be booleans \(3,\)"),
        (
            lambda: shared(moved, fnn.start_memory(positions, params, 3), batch, RESETS[1]),
            ValueError,
            "reset must be None, got a network whose sequences share",
        ),
        (lambda: fnn.start_memory(LSTM, state.params, 0), ValueError, "start_memory: batch must be a positive integer"),
    ):
        with pytest.raises(error, match=message):
            call()
    _, after, _ = jax.eval_shape(shared, moved, fnn.start_memory(positions, params, 3), batch)
    assert after[1].shape == ()
