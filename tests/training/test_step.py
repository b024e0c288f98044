"""Steps and epochs: their results, one compilation each, and the same bits for the same key."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training.epoch import _epoch, epoch
from tests.support.oracles import assert_close, normal
from tests.support.slow import slow_except

rng = np.random.default_rng(0)
X, Y = normal(0, (23, 4)), rng.integers(0, 3, 23)
NETWORK = fnn.mlp([4, 6, 3], fnn.tanh)
LOSS = fnn.softmax_cross_entropy


def all_equal(a, b) -> bool:
    return all(bool(jnp.all(x == y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.claim("C014", "C116", "C118")
def test_a_step_is_gradient_then_update(key):
    optimizer = fnn.momentum(0.3)
    state = fnn.init_state(NETWORK, optimizer, key)
    new, cost = jax.jit(fnn.make_step(NETWORK, LOSS, optimizer, l2=0.01))(state, (X, Y))
    expected_cost, dparams = fnn.value_and_grad(NETWORK, LOSS, 0.01)(state.params, X, Y)
    updates, opt_state = optimizer.update(dparams, state.opt_state, state.params)
    np.testing.assert_allclose(cost, expected_cost, rtol=1e-6)
    assert_close(new.params, jax.tree.map(jnp.add, state.params, updates), "float32")
    assert_close(new.opt_state.v, opt_state.v, "float32")
    assert int(new.step) == 1
    assert all_equal(jax.random.key_data(new.key), jax.random.key_data(key))


@pytest.mark.accelerator
@pytest.mark.claim("C187")
@pytest.mark.parametrize("batch_size", slow_except([1, 5, 22, 23], 5))
def test_an_epoch_is_its_steps_one_after_the_other(batch_size, key):
    """An epoch uses every example once, and the remainder is a smaller batch."""
    optimizer = fnn.sgd(0.1)
    step = fnn.make_step(NETWORK, LOSS, optimizer)
    sizes = []

    def spying_step(state, batch):
        sizes.append(batch[0].shape[0])
        return step(state, batch)

    start = fnn.init_state(NETWORK, optimizer, key)
    arrays = jnp.asarray(X), jnp.asarray(Y)
    state, costs = jax.jit(epoch, static_argnums=(0, 1))(spying_step, batch_size, start, arrays)
    assert costs.shape == (-(-23 // batch_size),)
    assert set(sizes) == {batch_size, 23 % batch_size} - {0}
    assert int(state.step) == len(costs)

    seen = []

    def recording_step(state, batch):
        seen.append(np.asarray(batch[0]))
        return step(state, batch)

    with jax.disable_jit():
        eager, eager_costs = epoch(recording_step, batch_size, start, arrays)
    rows = np.concatenate(seen)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, X))
    assert np.array_equal(rows, X) == (batch_size == 23), "shuffled, unless there is one batch"
    np.testing.assert_allclose(costs, eager_costs, rtol=1e-5)
    assert_close(state.params, eager.params, "float32")


@pytest.mark.claim("C185")
def test_epochs_shuffle_differently_and_can_start_anywhere(key):
    optimizer = fnn.sgd(0.1)
    run = fnn.make_epoch(fnn.make_step(NETWORK, LOSS, optimizer), 5)
    state, first = run(fnn.init_state(NETWORK, optimizer, key), (X, Y))
    saved = jax.tree.map(jnp.copy, state)
    state, second = run(state, (X, Y))
    again, second_again = run(saved, (X, Y))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, second_again)
    assert all_equal(state.params, again.params)


def test_an_epoch_donates_its_state_but_not_the_users_key(key):
    optimizer = fnn.adam(0.1)
    run = fnn.make_epoch(fnn.make_step(NETWORK, LOSS, optimizer), 5)
    state = fnn.init_state(NETWORK, optimizer, key)
    run(state, (X, Y))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not key.is_deleted()


def test_a_step_compiles_once(key):
    optimizer = fnn.adam(0.1)
    step = jax.jit(chex.assert_max_traces(fnn.make_step(NETWORK, LOSS, optimizer), n=1))
    state = fnn.init_state(NETWORK, optimizer, key)
    for _ in range(5):
        state, _ = step(state, (X, Y))
    assert step._cache_size() == 1
    assert int(state.step) == 5


def test_an_epoch_compiles_once_also_when_made_again(key):
    optimizer = fnn.momentum(0.1)
    step = fnn.make_step(NETWORK, LOSS, optimizer)
    state = fnn.init_state(NETWORK, optimizer, key)
    state, _ = fnn.make_epoch(step, 5)(state, (X, Y))
    before = _epoch._cache_size()
    for _ in range(3):
        state, _ = fnn.make_epoch(step, 5)(state, (X, Y))
    assert _epoch._cache_size() == before


def test_initial_states_differ_by_key_and_are_not_traced_twice(key):
    optimizer = fnn.momentum(0.1)
    a, b = (fnn.init_state(NETWORK, optimizer, key) for _ in range(2))
    c = fnn.init_state(NETWORK, optimizer, jax.random.fold_in(key, 1))
    assert all_equal(a.params, b.params)
    assert not np.array_equal(a.params[0].w, c.params[0].w)


@pytest.mark.accelerator
def test_the_same_key_gives_the_same_bits(key):
    network = fnn.serial(fnn.dense(4, 9), fnn.relu, fnn.dropout(0.5), fnn.dense(9, 3))
    optimizer = fnn.momentum(0.3)
    run = fnn.make_epoch(fnn.make_step(network, LOSS, optimizer), 5)

    def train(key):
        state = fnn.init_state(network, optimizer, key)
        for _ in range(2):
            state, _ = run(state, (X, Y))
        state, costs = run(state, (X, Y))
        return state.params, costs

    assert all_equal(train(key), train(key))
    assert not all_equal(train(key), train(jax.random.fold_in(key, 1)))


@pytest.mark.slow
def test_raw_keys_work_too():
    state = fnn.init_state(NETWORK, fnn.sgd(0.1), jax.random.PRNGKey(0))
    state, _ = fnn.make_epoch(fnn.make_step(NETWORK, LOSS, fnn.sgd(0.1)), 5)(state, (X, Y))
    assert int(state.step) == 5


def test_a_batch_may_carry_weights(key):
    optimizer = fnn.sgd(0.1)
    step = jax.jit(fnn.make_step(NETWORK, LOSS, optimizer))
    state = fnn.init_state(NETWORK, optimizer, key)
    weight = (np.arange(23) < 10).astype("float32")
    weighted, _ = step(state, (X, Y, weight))
    plain, _ = step(state, (X[:10], Y[:10]))
    assert_close(weighted.params, plain.params, "float32")


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(optax.adam(0.05), marks=pytest.mark.slow),
        pytest.param(optax.lbfgs(), marks=pytest.mark.slow),
        pytest.param(
            optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau(patience=2)), marks=pytest.mark.slow
        ),
        optax.chain(fnn.add_l2(1e-3), optax.sgd(0.1, momentum=0.9)),
    ],
    ids=["adam", "lbfgs", "reduce_on_plateau", "chain"],
)
def test_optax_transformations_take_the_optimizers_place(optimizer, key):
    """lbfgs needs value, grad and value_fn; reduce_on_plateau needs value."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax's own code needs it
        state = fnn.init_state(NETWORK, optimizer, key)
        step = jax.jit(fnn.make_step(NETWORK, LOSS, optimizer))
        costs = []
        for _ in range(20):
            state, cost = step(state, (X, Y))
            costs.append(float(cost))
    assert costs[-1] < 0.8 * costs[0]


@pytest.mark.slow
def test_a_jitted_loop_equals_a_scan(key):
    optimizer = fnn.nesterov(0.05)
    step = fnn.make_step(NETWORK, LOSS, optimizer)
    state = fnn.init_state(NETWORK, optimizer, key)
    scanned, costs = jax.jit(lambda state: jax.lax.scan(lambda s, _: step(s, (X, Y)), state, None, length=10))(state)
    jitted = jax.jit(step)
    for i in range(10):
        state, cost = jitted(state, (X, Y))
        np.testing.assert_allclose(cost, costs[i], rtol=1e-5)
    assert_close(state.params, scanned.params, "float32")
