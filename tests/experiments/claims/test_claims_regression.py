"""Claims on logistic regression: formulas, likelihood, convexity, training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fnn
from experiments.data.bundled import load_breast_cancer
from tests.support.columns import same, sigma
from tests.support.oracles import normal

pytestmark = pytest.mark.usefixtures("x64")
X, Y = normal(0, (17, 5), "float64"), (normal(1, (17, 1), "float64") > 0).astype(float)
PARAMS = fnn.Dense(normal(2, (5, 1), "float64"), np.array([0.3]))
NETWORK, LOSS = fnn.logistic_regression(5), fnn.sigmoid_cross_entropy


@functools.cache
def gradient():
    return jax.jit(fnn.value_and_grad(NETWORK, LOSS))(PARAMS, X, Y)


@pytest.mark.claim("C001")
def test_an_image_becomes_a_row():
    images = normal(0, (3, 64, 64, 3))
    rows, _ = fnn.flatten.forward((), images)
    assert rows.shape == (3, 12288) == (3, 64 * 64 * 3)
    np.testing.assert_array_equal(rows.reshape(images.shape), images)
    assert rows[1, 3] == images[1, 0, 1, 0], "red, green and blue of a pixel, then the next pixel"


@pytest.mark.claim("C002", "C265")
def test_the_label_is_on_which_side_of_one_half_the_probability_is():
    z = np.concatenate([np.linspace(-8, 8, 1001), [-1000.0, -1e-9, 0.0, 1e-9, 1000.0]])[:, None]
    a, _ = fnn.sigmoid.forward((), z)
    np.testing.assert_array_equal(a > 0.5, z > 0)
    for target in (np.zeros_like(z), np.ones_like(z)):
        by_logit, by_probability = LOSS.metrics[0][1], fnn.binary_cross_entropy.metrics[0][1]
        np.testing.assert_array_equal(by_logit(z, target), by_probability(a, target))
        np.testing.assert_array_equal(by_logit(z, target), ((z > 0) == (target > 0.5))[:, 0])


@pytest.mark.claim("C003", "C004", "C006")
def test_an_example_a_row_is_an_example_a_column_transposed():
    z, _ = NETWORK.forward(PARAMS, X)
    columns = PARAMS.w.T @ X.T + PARAMS.b[:, None]
    assert columns.shape == (1, 17)
    assert same(z, columns.T)
    with_ones = np.concatenate([X, np.ones((17, 1))], axis=1) @ np.concatenate([PARAMS.w, PARAMS.b[None]])
    assert same(z, with_ones)
    a, _ = fnn.sigmoid.forward((), z)
    assert same(a, 1 / (1 + np.exp(-with_ones)))
    assert 0 < a.min() < a.max() < 1


@pytest.mark.claim("C005")
def test_a_line_through_labels_leaves_zero_and_one():
    x, y = load_breast_cancer()
    x = np.concatenate([fnn.data.standardize(x).astype("float64"), np.ones((len(x), 1))], axis=1)
    w = np.linalg.lstsq(x, y.astype("float64"), rcond=None)[0]
    line, probability = x @ w, fnn.sigmoid.forward((), x @ w)[0]
    assert np.mean((line < 0) | (line > 1)) > 0.2
    assert not np.any((probability < 0) | (probability > 1))


@pytest.mark.slow
@pytest.mark.claim("C008", "C013", "C022")
def test_training_ends_at_the_same_probabilities_from_zero_and_from_random_weights():
    features, labels = load_breast_cancer()
    x = fnn.data.standardize(features.astype("float64"))
    y = labels[:, None].astype("float64")
    starts = fnn.Dense(np.stack([np.zeros((30, 1)), normal(0, (30, 1), "float64")]), np.zeros((2, 1)))
    run = fnn.make_run(
        fnn.logistic_regression(30),
        LOSS,
        lambda start: fnn.heavy_ball(0.3),
        (x, y),
        epochs=600,
        batch_size=len(x),
        l2=0.01,
        init=lambda start: start,
    )
    results = jax.vmap(run, in_axes=(0, None))(starts, jax.random.key(0))
    zero, random = results.params.w
    assert np.abs(zero - random).max() < 1e-5
    cost, accuracy = results.history["cost"][0], results.history["accuracy"][0]
    assert cost[0] == pytest.approx(np.log(2))
    assert cost[-1] < 0.2
    assert accuracy[-1] > 0.97
    a = sigma(np.asarray(x) @ np.asarray(zero) + np.asarray(results.params.b[0]))
    assert np.mean((a > 0.5) == (y > 0.5)) == pytest.approx(float(accuracy[-1]), abs=0.01)


@pytest.mark.claim("C009", "C010", "C114")
def test_the_least_cost_is_the_greatest_likelihood():
    cost, dj = gradient()
    a = sigma(X @ PARAMS.w + PARAMS.b)
    likelihood = np.prod(a**Y * (1 - a) ** (1 - Y))
    assert np.log(likelihood) == pytest.approx(-17 * float(cost), rel=1e-12)
    assert np.log(likelihood) == pytest.approx(-float(LOSS.forward(X @ PARAMS.w + PARAMS.b, Y)[0].sum()), rel=1e-12)
    ascent = X.T @ (Y - a)  # gradient of ln p; ascent with α/m equals descent of J with α
    assert same(PARAMS.w + 0.1 / 17 * ascent, PARAMS.w - 0.1 * dj.w)


def least_eigenvalues(network, loss, x, y, points=60):
    """The Hessian of the cost, as derivative of fnn's gradient, at random parameters."""
    like = network.init(jax.random.key(0))
    flat, build = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), like))

    def slope(theta):
        return ravel_pytree(fnn.value_and_grad(network, loss)(build(theta), x, y)[1])[0]

    thetas = 2 * normal(3, (points, flat.size), "float64")
    hessians = jax.jit(jax.vmap(jax.jacfwd(slope)))(thetas)
    return np.linalg.eigvalsh(hessians).min(axis=1)


@pytest.mark.slow
@pytest.mark.claim("C011")
def test_the_cost_of_logistic_regression_is_convex_that_of_a_network_is_not():
    assert least_eigenvalues(NETWORK, LOSS, X, Y).min() > -1e-12
    assert least_eigenvalues(fnn.mlp([2, 4, 1], fnn.tanh), LOSS, X[:, :2], Y).min() < -1e-3


@pytest.mark.slow
@pytest.mark.claim("C012")
def test_squared_error_after_a_sigmoid_has_two_minima():
    network = fnn.serial(fnn.dense(5, 1), fnn.sigmoid)
    assert np.mean(least_eigenvalues(network, fnn.squared_error, X, Y) < -1e-6) > 0.9
    x = np.array([[0.173], [-0.906], [-0.108], [0.959], [0.668], [-9.462]])
    y = np.array([[0.0], [1], [0], [0], [0], [0]])

    def cost_on(layers, loss):
        cost = fnn.value_and_grad(layers, loss)
        dense = lambda w: fnn.Dense(w[None, None], np.zeros(1))
        return jax.vmap(lambda w: cost((dense(w), ()) if loss is fnn.squared_error else dense(w), x, y)[0])

    w = np.linspace(-8, 8, 1601)

    def minima(cost):
        return [round(float(w[i]), 1) for i in range(1, 1600) if cost[i] < min(cost[i - 1], cost[i + 1])]

    squared = np.asarray(cost_on(fnn.serial(fnn.dense(1, 1), fnn.sigmoid), fnn.squared_error)(w))
    assert minima(squared) == [-4.1, 0.1]
    assert squared[np.abs(w + 4.12).argmin()] > squared[np.abs(w - 0.14).argmin()] + 0.005
    assert minima(np.asarray(cost_on(fnn.dense(1, 1), LOSS)(w))) == [0.2]


@pytest.mark.claim("C014")
def test_a_step_by_hand():
    """For x = 2, y = 1 and w = b = 0: a = ½, dw = -1, db = -½."""
    step = fnn.make_step(fnn.logistic_regression(1), LOSS, fnn.sgd(0.5))
    state = fnn.init_state(fnn.logistic_regression(1), fnn.sgd(0.5), jax.random.key(0))
    state, _ = step(state, (np.full((1, 1), 2, "float32"), np.ones((1, 1), "float32")))
    assert (float(state.params.w[0, 0]), float(state.params.b[0])) == (0.5, 0.25)


@pytest.mark.claim("C015", "C016")
def test_the_gradient_is_the_mean_over_the_examples_graphs():
    each = []
    for x, y in zip(X, Y[:, 0], strict=True):
        a = sigma(float(x @ PARAMS.w[:, 0] + PARAMS.b[0]))
        dz = (-y / a + (1 - y) / (1 - a)) * a * (1 - a)
        assert dz == pytest.approx(a - y, rel=1e-12)
        each.append([*(x * dz), dz])
    assert same(np.mean(each, axis=0), np.concatenate([gradient()[1].w[:, 0], gradient()[1].b]))


@pytest.mark.claim("C017", "C018")
def test_one_vectorised_iteration_and_the_mean_in_db():
    _, dj = gradient()
    w, b, x, y, m = PARAMS.w, PARAMS.b[0], X.T, Y.T, 17  # as columns
    dz = sigma(w.T @ x + b) - y
    assert (x @ dz.T).shape == (5, 1)
    assert same(x @ dz.T / m, dj.w)
    assert same(np.sum(dz) / m, dj.b[0])
    assert same(np.sum(dz), m * dj.b[0]), "without /m it is m times too large"


@pytest.mark.claim("C019")
def test_a_dot_product_of_columns_needs_a_transpose():
    w, x = PARAMS.w, X[0][:, None]
    with pytest.raises(ValueError, match="aligned"):
        np.dot(w, x)
    z, _ = NETWORK.forward(PARAMS, x.T)
    assert same(np.dot(w.T, x) + PARAMS.b[0], z)
    assert np.dot(w[:, 0], x[:, 0]) + PARAMS.b[0] == pytest.approx(float(z[0, 0]))
    with pytest.raises(ValueError, match="dense: x must be of shape"):
        NETWORK.forward(PARAMS, x[:, 0])


@pytest.mark.claim("C020")
def test_a_bias_is_added_to_each_example():
    layer = fnn.dense(3, 4)
    w, b, x = normal(0, (3, 4), "float64"), normal(1, (4,), "float64"), normal(2, (4, 3), "float64")
    z, _ = layer.forward(fnn.Dense(w, b), x)  # as many examples as outputs, so that the wrong axis would fit too
    assert same(z, np.stack([row @ w + b for row in x]))


@pytest.mark.claim("C021")
def test_a_model_is_an_architecture_and_its_parameters():
    network = fnn.serial(fnn.dense(5, 1), fnn.sigmoid)
    one, again, other = (network.init(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(network.forward(one, X)[0], network.forward(again, X)[0])
    assert not np.array_equal(network.forward(one, X)[0], network.forward(other, X)[0])
    z, _ = fnn.dense(5, 1).forward(one[0], X)
    np.testing.assert_array_equal(network.forward(one, X)[0], fnn.sigmoid.forward((), z)[0])
