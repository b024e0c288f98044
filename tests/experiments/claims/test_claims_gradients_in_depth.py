"""Claims on vanishing and exploding gradients: one saturated neuron, and many layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.oracles import normal

WIDTH, DEPTH = 30, 8


@pytest.mark.claim("C215", "C216")
def test_how_fast_a_neuron_starts(x64):
    """How far a falls in the first step from 0.98 and from 0.82, with x = 1, y = 0 and learning rate 0.15."""
    neuron = fnn.serial(fnn.dense(1, 1), fnn.sigmoid)
    x, y = np.ones((1, 1)), np.zeros((1, 1))

    def fall(loss):
        gradient = fnn.value_and_grad(neuron, loss)

        def of(w, b):
            params = (fnn.Dense(w[None, None], b[None]), ())
            slope = gradient(params, x, y)[1][0]
            moved = (fnn.Dense(params[0].w - 0.15 * slope.w, params[0].b - 0.15 * slope.b), ())
            return (neuron.forward(params, x)[0] - neuron.forward(moved, x)[0])[0, 0]

        return np.asarray(jax.jit(jax.vmap(of))(jnp.array([2.0, 0.6]), jnp.array([2.0, 0.9])))

    (far, near), (far_ce, near_ce) = fall(fnn.squared_error), fall(fnn.binary_cross_entropy)
    assert (far, near) == pytest.approx((9.2e-5, 5.5e-3), rel=0.03)
    assert far < 0.05 * near, "squared error: the larger error is the slower one"
    assert far_ce == pytest.approx(6.0e-3, rel=0.15)
    assert far_ce > 50 * far
    assert near_ce > near


def gain(block):
    """‖dx‖/‖dy‖ of 8 such blocks for random dy: geometric mean over 6 draws."""
    layer = fnn.repeat(block, DEPTH)

    @jax.jit
    def backward(params, x, dy):
        _, residuals = layer.forward(params, x, jax.random.key(0))
        return jnp.linalg.norm(layer.backward(params, residuals, dy)[1]) / jnp.linalg.norm(dy)

    gains = []
    for seed in range(6):
        params = layer.init(jax.random.key(seed))
        gains.append(float(backward(params, normal(seed, (50, WIDTH)), normal(seed + 9, (50, WIDTH)))))
    return np.exp(np.mean(np.log(gains)))


def dense(w_init):
    return fnn.dense(WIDTH, WIDTH, w_init=w_init)


@pytest.mark.slow
@pytest.mark.claim("C222", "C223", "C225", "C093", "C173", "C174")
def test_sigmoid_layers_lose_the_gradient_and_what_keeps_it():
    """The gain of 8 layers. Plain sigmoid layers with √(1/n) have at most ¼ each."""
    plain = gain(fnn.serial(dense(fnn.init.lecun_normal), fnn.sigmoid))
    assert plain < 1e-4
    cures = {
        "ReLU, He": fnn.serial(dense(fnn.init.he_normal), fnn.relu),
        "batch normalisation": fnn.serial(dense(fnn.init.lecun_normal), fnn.batch_norm(WIDTH), fnn.sigmoid),
        "residual": fnn.residual(fnn.serial(dense(fnn.init.lecun_normal), fnn.sigmoid)),
    }
    for name, block in cures.items():
        assert gain(block) > 100 * plain, name
    assert 0.2 < gain(cures["ReLU, He"]) < 5
    assert 0.2 < gain(cures["residual"]) < 20


@pytest.mark.slow
@pytest.mark.claim("C224")
def test_scales_at_which_gradients_vanish_or_explode():
    def by(g, std):
        return gain(fnn.serial(dense(fnn.init.normal(std)), g))

    assert max(by(fnn.relu, 0.01), by(fnn.tanh, 0.01)) < 1e-6
    assert by(fnn.relu, 1.0) > 1e3
    assert by(fnn.tanh, 1.0) > 10
    assert by(fnn.sigmoid, 1.0) < 1, "sigmoid still vanishes"
    assert by(fnn.sigmoid, 10.0) > 1


@pytest.mark.slow
@pytest.mark.claim("C068", "C132")
def test_backward_needs_what_forward_left_and_goes_from_the_end(x64):
    network = fnn.mlp((4, 3, 2), fnn.tanh)
    params, x, dy = network.init(jax.random.key(0)), normal(0, (5, 4)), normal(1, (5, 2))
    _, residuals = network.forward(params, x)
    dparams, dx = network.backward(params, residuals, dy)
    expected, order = dy, []
    for i in (2, 1, 0):
        dp, expected = network.layers[i].backward(params[i], residuals[i], expected)
        order.append(i)
        for got, want in zip(jax.tree.leaves(dparams[i]), jax.tree.leaves(dp), strict=True):
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(dx, expected)
    reference = jax.vjp(lambda p, x: network.forward(p, x)[0], params, x)[1](dy)
    for got, want in zip(jax.tree.leaves((dparams, dx)), jax.tree.leaves(reference), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
