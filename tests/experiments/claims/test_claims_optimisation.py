"""Claims on descent (learning rates, batches, epochs) and on the penalty on weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.data.order import shuffled_batches
from fnn.weights import squared_norm
from tests.support.columns import same
from tests.support.oracles import normal

X, Y = normal(0, (60, 3), "float64"), normal(1, (60, 1), "float64")
LAYER = fnn.dense(3, 1)
PARAMS = fnn.Dense(normal(2, (3, 1), "float64"), np.array([0.5]))


@pytest.mark.claim("C175", "C194")
def test_descent_by_step_length(x64):
    """On ½ (x² + 10 y²), descent converges below 2/10, diverges above, and is slow for very small rates."""
    curvature = jnp.array([1.0, 10.0])

    @jax.jit
    @jax.vmap
    def norms(rate):
        optimizer = fnn.sgd(rate)

        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(curvature * w, state, w)
            return (w + updates, state), jnp.linalg.norm(w)

        w = jnp.ones(2)
        return jax.lax.scan(step, (w, optimizer.init(w)), None, length=101)[1]

    fine, too_long, too_short = np.asarray(norms(jnp.array([0.19, 0.21, 1e-4])))
    assert fine[-1] < 1e-4 < fine[0]
    assert np.all(np.diff(fine) < 0)
    assert too_long[-1] > 1e4
    assert too_short[-1] > 0.9 * too_short[0]


@pytest.mark.claim("C188")
def test_with_the_printed_sign_momentum_climbs_from_its_first_step(x64):
    """From w = 1, v = 0 on w²/2, the printed rule moves to 1.01 and fnn's to 0.99."""
    v = -(1 - 0.9) * 1.0
    assert 1.0 - 0.1 * v == pytest.approx(1.01)
    optimizer, w = fnn.momentum(0.1, 0.9), jnp.ones(())
    updates, state = optimizer.update(w, optimizer.init(w), w)
    assert float(w + updates) == pytest.approx(0.99)
    assert float(state.v) == pytest.approx(0.1)


def per_example_gradients():
    """Gradients of ½ (x w + b - y)² as vectors (w, b)."""
    error = X @ PARAMS.w + PARAMS.b - Y
    return np.concatenate([error * X, error], axis=1)


@pytest.mark.slow
@pytest.mark.claim("C181")
def test_batches_of_the_epochs_estimate_the_full_gradient_without_bias(x64):
    keys = jax.random.split(jax.random.key(0), 3000)
    first = np.asarray(jax.jit(jax.vmap(lambda key: shuffled_batches(key, 60, 10)[0][0]))(keys))
    each = per_example_gradients()
    estimates = each[first].mean(axis=1)
    full = fnn.value_and_grad(LAYER, fnn.squared_error)(PARAMS, X, Y)[1]
    full = np.concatenate([full.w[:, 0], full.b])
    assert same(each.mean(axis=0), full)
    noise = estimates.std(axis=0)
    assert np.all(noise > 0.05), "one batch is noisy"
    assert np.all(np.abs(estimates.mean(axis=0) - full) < 4 * noise / np.sqrt(3000)), "their mean is not"


@pytest.mark.claim("C182", "C183")
def test_gradients_of_parts_add_up_when_weighted_by_their_sizes(x64):
    gradient = jax.jit(fnn.value_and_grad(LAYER, fnn.squared_error))
    full = np.asarray(gradient(PARAMS, X, Y)[1].w)

    def parts(*sizes):
        ends = np.cumsum(sizes)
        return np.stack([gradient(PARAMS, X[e - n : e], Y[e - n : e])[1].w for e, n in zip(ends, sizes, strict=True)])

    assert same(parts(20, 20, 20).mean(axis=0), full), "equal parts: the mean of their means"
    ragged = parts(20, 20, 20 - 5, 5)
    assert np.abs(ragged.mean(axis=0) - full).max() > 1e-3
    assert same(np.average(ragged, axis=0, weights=[20, 20, 15, 5]), full)


@pytest.mark.claim("C183")
def test_the_cost_of_an_epoch_counts_a_short_batch_for_what_it_is():
    """With a learning rate of 0 it is the cost of all examples, 60 = 2 · 25 + 10."""
    data = X.astype("float32"), Y.astype("float32")
    result = fnn.fit(
        LAYER, fnn.squared_error, fnn.sgd(0.0), data, epochs=1, batch_size=25, key=jax.random.key(0), progress=False
    )
    expected = fnn.evaluate(LAYER, fnn.squared_error, result.state.params, data)["cost"]
    assert float(result.history["cost"][0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.claim("C184", "C187")
def test_how_many_batches_there_are_and_how_large_they_are():
    """1000 examples in batches of 64 make T = 16 batches, not 64; each example is in one."""
    parts = [np.asarray(x) for (x,) in fnn.data.batches(jax.random.key(0), (jnp.arange(1000.0)[:, None],), 64)]
    assert len(parts) == 16 == int(np.ceil(1000 / 64))
    assert [len(part) for part in parts] == [64] * 15 + [40]
    assert sorted(np.concatenate(parts)[:, 0]) == list(range(1000))


@pytest.mark.claim("C185")
def test_a_new_epoch_begins_where_the_batches_end_in_a_new_order():
    full = [np.asarray(shuffled_batches(jax.random.key(seed), 12, 4)[0]) for seed in (0, 1)]
    assert [sorted(order.ravel()) for order in full] == [list(range(12))] * 2
    assert not np.array_equal(*full)
    step = fnn.make_step(LAYER, fnn.squared_error, fnn.sgd(0.1))
    state = fnn.init_state(LAYER, fnn.sgd(0.1), jax.random.key(0))
    before = np.asarray(state.params.w)
    epoch = fnn.make_epoch(step, 20)
    data = X.astype("float32"), Y.astype("float32")
    state, first = epoch(state, data)
    state, second = epoch(state, data)
    assert int(state.step) == 6
    assert not np.array_equal(before, state.params.w), "each batch ends with an update"
    assert second.mean() < first.mean()


@pytest.mark.claim("C196", "C197")
def test_the_penalty_is_the_sum_of_squares(x64):
    w = normal(3, (3, 4), "float64")
    penalty = float(squared_norm({"w": w}))
    assert penalty == pytest.approx(np.sum(w**2)) == pytest.approx(np.linalg.norm(w) ** 2)
    assert (w.T @ w).shape == (4, 4), "no number"
    assert np.trace(w.T @ w) == pytest.approx(penalty) == pytest.approx(w.ravel() @ w.ravel())
    assert np.linalg.norm(w, 2) ** 2 < 0.95 * penalty, "the spectral norm is another"
    plain, _ = fnn.value_and_grad(LAYER, fnn.squared_error)(PARAMS, X, Y)
    with_l2, _ = fnn.value_and_grad(LAYER, fnn.squared_error, l2=0.3)(PARAMS, X, Y)
    assert float(with_l2 - plain) == pytest.approx(0.15 * np.sum(PARAMS.w**2))


@pytest.mark.claim("C198", "C199", "C200")
@pytest.mark.parametrize(("half", "shrink"), [(True, 1 - 0.1 * 0.3), (False, 1 - 2 * 0.1 * 0.3)])
def test_a_step_with_the_penalty_shrinks_the_weights_by(half, shrink, x64):
    """With α = 0.1 and λ = 0.3, λ/2 ‖W‖² shrinks weights by 1 - αλ, and λ Σ w² (l2 = 2λ) by 1 - 2αλ; biases stay."""
    plain = fnn.value_and_grad(LAYER, fnn.squared_error)(PARAMS, X, Y)[1]
    penalised = fnn.value_and_grad(LAYER, fnn.squared_error, l2=0.3 if half else 0.6)(PARAMS, X, Y)[1]
    assert same(PARAMS.w - 0.1 * penalised.w, shrink * PARAMS.w - 0.1 * plain.w)
    assert same(penalised.b, plain.b)


@pytest.mark.claim("C201")
def test_the_penalty_keeps_weights_small(x64):
    """At the solution of penalised least squares, fnn's gradient is zero, and the norm falls with λ."""
    x, y = X - X.mean(axis=0), Y - Y.mean()
    norms = []
    for l2 in (0.0, 0.1, 1.0, 10.0):
        w = np.linalg.solve(x.T @ x / 60 + l2 * np.eye(3), x.T @ y / 60)
        gradient = fnn.value_and_grad(LAYER, fnn.squared_error, l2=l2)(fnn.Dense(w, np.zeros(1)), x, y)[1]
        assert np.abs(gradient.w).max() < 1e-12
        norms.append(np.sum(w**2))
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.05 * norms[0]


@pytest.mark.slow
@pytest.mark.claim("C221")
def test_the_defaults_of_document_004_train():
    """With sigmoids, squared error and mini-batches of 10, the cost on two clouds falls over several epochs."""
    network = fnn.serial(fnn.mlp((2, 4, 1), fnn.sigmoid, fnn.init.normal(1.0)), fnn.sigmoid)
    y = (np.arange(60) % 2)[:, None].astype("float32")
    x = normal(3, (60, 2)) + 4 * y - 2
    options = {"epochs": 30, "batch_size": 10, "key": jax.random.key(0), "progress": False}
    result = fnn.fit(network, fnn.squared_error, fnn.sgd(3.0), (x, y), **options)
    assert int(result.state.step) == 30 * 6
    assert result.history["cost"][-1] < 0.2 * result.history["cost"][0]
