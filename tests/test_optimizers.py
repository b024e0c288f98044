"""Optimizers: 200 steps against the equal optax expression, jit, vmap, chains."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.optimizers import apply_updates
from tests.support.oracles import assert_close, normal
from tests.support.slow import slow_except

BETA, RATE, DECAY = 0.85, 0.01, 0.01


def weights_only(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].name == "w", params)


def schedule(step):
    return RATE / (1 + 0.1 * step)


PAIRS = {  # fnn's optimizer and the expression in optax that equals it, as functions of the learning rate
    "sgd": (fnn.sgd, optax.sgd),
    "momentum": (
        lambda rate: fnn.momentum(rate, BETA),
        lambda rate: optax.chain(optax.ema(BETA, debias=False), optax.scale_by_learning_rate(rate)),
    ),
    "momentum as sgd": (
        lambda rate: fnn.momentum(rate, BETA),
        lambda rate: optax.chain(optax.scale(1 - BETA), optax.sgd(rate, momentum=BETA)),
    ),
    "heavy_ball": (lambda rate: fnn.heavy_ball(rate, BETA), lambda rate: optax.sgd(rate, momentum=BETA)),
    "nesterov": (
        lambda rate: fnn.nesterov(rate, BETA),
        lambda rate: optax.sgd(rate, momentum=BETA, nesterov=True),
    ),
    "adam": (lambda rate: fnn.adam(rate, 0.8, 0.99, 1e-6), lambda rate: optax.adam(rate, 0.8, 0.99, 1e-6)),
    "add_l2": (
        lambda rate: optax.chain(fnn.add_l2(DECAY), fnn.sgd(rate)),
        lambda rate: optax.chain(optax.add_decayed_weights(DECAY, weights_only), optax.sgd(rate)),
    ),
    "add_l2 before adam": (
        lambda rate: optax.chain(fnn.add_l2(DECAY), fnn.adam(rate)),
        lambda rate: optax.chain(optax.add_decayed_weights(DECAY, weights_only), optax.adam(rate)),
    ),
    "clipped momentum": (
        lambda rate: optax.chain(optax.clip_by_global_norm(0.5), fnn.heavy_ball(rate, BETA)),
        lambda rate: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(rate, momentum=BETA)),
    ),
}

X, Y = normal(0, (30, 4), "float64"), normal(1, (30, 2), "float64")
NETWORK = fnn.mlp([4, 5, 2], fnn.tanh)


def trajectory(optimizer, steps=200):
    """Return the parameters after each step of training a small network."""
    cost = fnn.value_and_grad(NETWORK, fnn.squared_error)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), NETWORK.init(jax.random.key(0)))

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(cost(params, X, Y)[1], state, params)
        params = apply_updates(params, updates)
        return (params, state), params

    with jax.numpy_dtype_promotion("standard"):  # optax's own code needs it
        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[1]


@pytest.mark.accelerator
@pytest.mark.claim("C189", "C193")
@pytest.mark.parametrize("name", slow_except(PAIRS, "momentum", "adam", "add_l2"))
@pytest.mark.parametrize("rate", [RATE, pytest.param(schedule, marks=pytest.mark.slow)], ids=["constant", "schedule"])
def test_trajectories_equal_optax(name, rate, x64):
    ours, theirs = (jax.jit(lambda make=make: trajectory(make(rate)))() for make in PAIRS[name])
    assert_close(ours, theirs, "float64")
    first, last = (jax.tree.map(lambda leaf, i=i: leaf[i], ours) for i in (0, -1))
    assert max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(*map(jax.tree.leaves, (first, last)), strict=True)) > 0.01


@pytest.mark.parametrize("name", slow_except([n for n in PAIRS if "add_l2" not in n and "clipped" not in n], "sgd"))
def test_learning_rates_can_be_traced_and_mapped(name, x64):
    rates = jnp.array([0.01, 0.1])
    mapped = jax.jit(jax.vmap(lambda rate: trajectory(PAIRS[name][0](rate), 20)))(rates)
    for i, rate in enumerate((0.01, 0.1)):
        alone = jax.jit(lambda rate=rate: trajectory(PAIRS[name][0](rate), 20))()
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], mapped), alone, "float64")


def test_betas_and_strengths_can_be_traced(x64):
    def run(beta, strength):
        return trajectory(optax.chain(fnn.add_l2(strength), fnn.momentum(0.1, beta), optax.identity()), 10)

    mapped = jax.jit(jax.vmap(run))(jnp.array([0.5, 0.9]), jnp.array([0.0, 0.1]))
    assert_close(jax.tree.map(lambda leaf: leaf[1], mapped), jax.jit(lambda: run(0.9, 0.1))(), "float64")


@pytest.mark.claim("C190")
def test_momentum_is_an_average_that_starts_at_zero():
    """With a constant gradient of 1, v_10 = 1 - 0.9^10."""
    optimizer = fnn.momentum(1.0, 0.9)
    state = optimizer.init({"w": jnp.zeros(())})
    for _ in range(10):
        _, state = optimizer.update({"w": jnp.ones(())}, state)
    np.testing.assert_allclose(state.v["w"], 1 - 0.9**10, rtol=1e-6)


@pytest.mark.claim("C188")
def test_momentum_descends_where_the_printed_sign_climbs():
    """Minimise w²/2 from 1: after 200 steps the right rule is near 0, the misprint at 2e5."""
    ends = []
    for sign in (1.0, -1.0):
        w = v = 0.0
        w = 1.0
        for _ in range(200):
            v = 0.9 * v + sign * 0.1 * w
            w -= 0.1 * v
        ends.append(w)
    optimizer, w = fnn.momentum(0.1, 0.9), {"w": jnp.ones(())}
    state = optimizer.init(w)
    step = jax.jit(lambda w, state: optimizer.update(w, state))
    for _ in range(200):
        updates, state = step(w, state)
        w = apply_updates(w, updates)
    np.testing.assert_allclose(w["w"], ends[0], atol=1e-6)
    assert abs(ends[0]) < 1e-3
    assert abs(ends[1]) > 1e4


def test_l2_in_the_cost_and_add_l2_are_the_same(x64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), NETWORK.init(jax.random.key(0)))
    in_cost = fnn.value_and_grad(NETWORK, fnn.squared_error, l2=0.3)(params, X, Y)[1]
    gradients = fnn.value_and_grad(NETWORK, fnn.squared_error)(params, X, Y)[1]
    transform = fnn.add_l2(0.3)
    assert_close(transform.update(gradients, transform.init(params), params)[0], in_cost, "float64")


@pytest.mark.claim("C199")
def test_sgd_with_l2_shrinks_the_weights(x64):
    """W := (1 - αλ) W - α dJ/dW."""
    alpha, strength = 0.1, 0.2
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), NETWORK.init(jax.random.key(0)))
    plain = fnn.value_and_grad(NETWORK, fnn.squared_error)(params, X, Y)[1]
    optimizer = fnn.sgd(alpha)
    penalised = fnn.value_and_grad(NETWORK, fnn.squared_error, strength)(params, X, Y)[1]
    got = apply_updates(params, optimizer.update(penalised, optimizer.init(params))[0])
    expected = (1 - alpha * strength) * params[0].w - alpha * plain[0].w
    assert_close(got[0].w, expected, "float64")
    assert_close(got[0].b, params[0].b - alpha * plain[0].b, "float64")


def test_updates_keep_the_parameters_dtype():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    for optimizer in (fnn.sgd(0.1), fnn.momentum(0.1), fnn.nesterov(jnp.float32(0.1)), fnn.adam(lambda step: 0.1)):
        updates, _ = optimizer.update({"w": jnp.ones(3, jnp.bfloat16)}, optimizer.init(params), params)
        chex.assert_trees_all_equal_dtypes(apply_updates(params, updates), params)


def test_leaves_without_a_gradient_are_not_updated():
    params = {"w": jnp.ones(2), "frozen": jnp.ones(3)}
    optimizer = fnn.sgd(0.5)
    updates, _ = optimizer.update({"w": jnp.ones(2), "frozen": None}, optimizer.init(params), params)
    assert updates["frozen"] is None
    np.testing.assert_array_equal(updates["w"], [-0.5, -0.5])
