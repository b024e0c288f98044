"""Claims on losses and costs: values, limits, means, and misprints with their corrections."""

import jax
import numpy as np
import pytest
from scipy import special

import fnn
from fnn.backprop import weighted_mean
from tests.support.columns import same, sigma
from tests.support.oracles import loss_by_hand, normal

pytestmark = pytest.mark.usefixtures("x64")
A = np.array([[0.3], [0.9], [0.02], [0.5], [0.75]])
Y = np.array([[1.0], [1.0], [0.0], [0.0], [1.0]])
M = 5


def bce(a, y):
    return np.asarray(fnn.binary_cross_entropy.forward(np.asarray(a, float), np.asarray(y, float))[0])


def cost(values):
    return float(weighted_mean(values, None))


@pytest.mark.claim("C102", "C103", "C104")
def test_binary_cross_entropy_by_label():
    assert same(bce(A, Y), -(Y * np.log(A) + (1 - Y) * np.log(1 - A))[:, 0])
    assert same(bce(A, np.ones_like(A)), -np.log(A[:, 0]))
    assert same(bce(A, np.zeros_like(A)), -np.log(1 - A[:, 0]))
    assert bce([[0.5]], [[1]])[0] == pytest.approx(0.6931471805599453), "ln, not log10 or log2"
    z = np.log(A / (1 - A))
    assert same(fnn.sigmoid_cross_entropy.forward(z, Y)[0], np.logaddexp(0, z)[:, 0] - (Y * z)[:, 0])


@pytest.mark.claim("C104", "C105", "C113")
def test_the_loss_falls_as_the_prediction_nears_the_label():
    a = np.linspace(0.001, 0.999, 99)[:, None]
    assert np.all(np.diff(bce(a, np.ones_like(a))) < 0)
    assert np.all(np.diff(bce(a, np.zeros_like(a))) > 0)
    assert bce([[1 - 1e-9]], [[1]])[0] == pytest.approx(1e-9, rel=1e-6)
    assert bce([[1e-9]], [[0]])[0] == pytest.approx(1e-9, rel=1e-6)
    assert bce([[1e-9]], [[1]])[0] > 20
    np.testing.assert_array_equal(bce([[1], [0]], [[1], [0]]), 0)
    towards = loss_by_hand(fnn.binary_cross_entropy, A, Y, np.ones(M))
    np.testing.assert_array_equal(np.sign(towards), np.where(Y == 1, -1, 1))


@pytest.mark.claim("C107", "C108")
def test_the_cost_is_the_mean_and_sums_over_the_examples_once():
    values = bce(A, Y)
    assert cost(values) == pytest.approx(values.sum() / M)
    summed_loss = np.full(M, values.sum())  # a loss that itself sums over the examples
    assert cost(summed_loss) == pytest.approx(M * cost(values))
    twice = bce(np.tile(A, (2, 1)), np.tile(Y, (2, 1)))
    assert cost(twice) == pytest.approx(cost(values)), "the same examples twice cost the same"
    network = fnn.serial(fnn.dense(1, 1), fnn.sigmoid)
    params = (fnn.Dense(np.ones((1, 1)), np.zeros(1)), ())
    whole, _ = fnn.value_and_grad(network, fnn.binary_cross_entropy)(params, np.log(A / (1 - A)), Y)
    assert float(whole) == pytest.approx(cost(values), rel=1e-12)


@pytest.mark.claim("C109")
@pytest.mark.parametrize("loss", [fnn.squared_error, fnn.sigmoid_cross_entropy], ids=["squared", "cross-entropy"])
def test_any_mean_over_examples_can_be_computed_in_parts(loss):
    network = fnn.dense(3, 1)
    params, x = fnn.Dense(normal(0, (3, 1), "float64"), np.zeros(1)), normal(1, (7, 3), "float64")
    y = (np.arange(7) % 2)[:, None].astype(float)
    gradient = fnn.value_and_grad(network, loss)
    whole = gradient(params, x, y)
    parts = [(len(part) / 7, gradient(params, x[part], y[part])) for part in (np.arange(2), np.arange(2, 7))]
    together = jax.tree.map(lambda a, b: parts[0][0] * a + parts[1][0] * b, parts[0][1], parts[1][1])
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(whole), strict=True):
        assert same(a, b)


@pytest.mark.claim("C110")
def test_the_half_of_the_quadratic_cost_goes_in_its_gradient():
    a, y = normal(0, (6, 3), "float64"), normal(1, (6, 3), "float64")
    values, _ = fnn.squared_error.forward(a, y)
    assert same(values, 0.5 * ((y - a) ** 2).sum(axis=1))
    assert cost(values) == pytest.approx(np.sum((y - a) ** 2) / (2 * 6))
    assert same(loss_by_hand(fnn.squared_error, a, y, np.ones(6)), a - y)


@pytest.mark.claim("C111")
def test_cross_entropy_without_its_minus_is_negative_and_descent_on_it_raises_the_cost():
    x, w = normal(0, (30, 2), "float64"), np.array([[0.5], [-1.0]])
    y = (x[:, :1] - x[:, 1:] > 0).astype(float)

    def costs(w):
        a = sigma(x @ w)
        printed = np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))
        return printed, cost(fnn.sigmoid_cross_entropy.forward(x @ w, y)[0])

    printed, true = costs(w)
    assert printed == pytest.approx(-true)
    assert printed < 0 <= true
    downhill = np.asarray(
        fnn.value_and_grad(fnn.dense(2, 1), fnn.sigmoid_cross_entropy)(fnn.Dense(w, np.zeros(1)), x, y)[1].w
    )
    assert costs(w - 0.5 * downhill)[1] < true < costs(w + 0.5 * downhill)[1]
    assert costs(w + 0.5 * downhill)[0] < printed, "what descends as printed"


@pytest.mark.claim("C112")
def test_it_is_the_cross_entropy_of_bernoulli_distributions():
    y, a = 0.3, 0.8
    entropy = special.entr(y) + special.entr(1 - y)
    divergence = special.rel_entr(y, a) + special.rel_entr(1 - y, 1 - a)
    assert bce([[a]], [[y]])[0] == pytest.approx(entropy + divergence) == pytest.approx(1.19355, abs=1e-5)
    several = bce([[0.3, 0.6]], [[1, 0]])[0]
    assert several == pytest.approx(bce([[0.3]], [[1]])[0] + bce([[0.6]], [[0]])[0])
    assert several != pytest.approx(-np.log(0.3)), "that would be the categorical one"


@pytest.mark.claim("C115")
def test_the_code_of_the_cost_fails_at_saturation_and_the_loss_on_logits_does_not():
    def printed(a, y):
        return -np.sum(np.log(a) * y + (1 - y) * np.log(1 - a)) / len(y)

    assert printed(A, Y) == pytest.approx(cost(bce(A, Y)))
    z, y = np.array([[1000.0], [-1000.0]]), np.array([[1.0], [0.0]])
    with np.errstate(all="ignore"):
        saturated = sigma(z)
        assert np.isnan(printed(saturated, y))
    values, _ = fnn.sigmoid_cross_entropy.forward(z, y)
    np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(fnn.sigmoid_cross_entropy.forward(z, 1 - y)[0], 1000)
    assert same(
        loss_by_hand(fnn.sigmoid_cross_entropy, np.array([[40.0]]), np.zeros((1, 1)), np.ones(1)), np.ones((1, 1))
    )


@pytest.mark.slow
@pytest.mark.claim("C217", "C218", "C219")
def test_gradients_of_both_costs_through_a_sigmoid():
    z = np.linspace(-8, 8, 33)[:, None]
    y = np.zeros_like(z)
    a, residuals = fnn.sigmoid.forward((), z)
    a = np.asarray(a)
    quadratic, entropy = (
        np.asarray(fnn.sigmoid.backward((), residuals, loss_by_hand(loss, a, y, np.ones(33)))[1])
        for loss in (fnn.squared_error, fnn.binary_cross_entropy)
    )
    assert same(quadratic, (a - y) * a * (1 - a))
    assert a[quadratic.argmax(), 0] == pytest.approx(2 / 3, abs=0.06)
    assert quadratic[-1] < 1e-3 < quadratic.max()
    assert same(entropy, a - y)
    assert np.all(np.diff(entropy[:, 0]) > 0), "the larger the error, the larger the gradient"
    np.testing.assert_allclose(entropy / quadratic, 1 / (a * (1 - a)), rtol=1e-10)
    assert (entropy / quadratic)[z == 4][0] == pytest.approx(56.6, rel=1e-3)
    steps = np.linspace(1e-4, 0.7, 20001)  # integrate (a - y) / (a (1 - a)) over a for y = 0
    integral = np.trapezoid(steps / (steps * (1 - steps)), steps)
    assert integral == pytest.approx(bce([[0.7]], [[0]])[0] - bce([[1e-4]], [[0]])[0], rel=1e-6)
