"""Claims on outputs for several classes: independent labels, softmax, and their losses."""

import jax
import numpy as np
import pytest

import fnn
from tests.support.columns import same, sigma
from tests.support.oracles import loss_by_hand, normal

pytestmark = pytest.mark.usefixtures("x64")
Z = normal(0, (9, 4), "float64")
LABELS = np.arange(9) % 4
Y = np.eye(4)[LABELS]


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


@pytest.mark.claim("C023")
def test_neurons_for_independent_labels_learn_as_if_alone():
    x, y = normal(1, (20, 5), "float64"), (normal(2, (20, 3), "float64") > 0).astype(float)
    start = normal(3, (5, 3), "float64")

    def trained(w, y):
        gradient = jax.jit(fnn.value_and_grad(fnn.dense(5, w.shape[1]), fnn.sigmoid_cross_entropy))
        for _ in range(5):
            w = w - 0.5 * np.asarray(gradient(fnn.Dense(w, np.zeros(w.shape[1])), x, y)[1].w)
        return w

    alone = [trained(start[:, k : k + 1], y[:, k : k + 1]) for k in range(2)]
    assert same(trained(start, y)[:, :2], np.concatenate(alone, axis=1))
    moved = Z + np.eye(4)[0]
    assert np.abs(fnn.softmax.forward((), moved)[0] - fnn.softmax.forward((), Z)[0])[:, 1:].min() > 1e-3, "softmax does"


@pytest.mark.slow
@pytest.mark.claim("C025")
def test_the_loss_of_several_labels_sums_over_the_outputs_of_one_example():
    y = (Z > 0.2).astype(float)
    a = sigma(Z)
    terms = -(y * np.log(a) + (1 - y) * np.log(1 - a))
    values, _ = fnn.sigmoid_cross_entropy.forward(Z, y)
    assert same(values, terms.sum(axis=1))
    assert same(loss_by_hand(fnn.sigmoid_cross_entropy, Z, y, np.ones(9)), a - y)
    over_the_examples = terms.sum(axis=0)
    assert over_the_examples.shape == (4,) != values.shape, "a number per output, none per example"
    doubled, _ = fnn.sigmoid_cross_entropy.forward(np.tile(Z, (2, 1)), np.tile(y, (2, 1)))
    assert same(doubled[:9], values), "and each example's loss does not depend on how many there are"


@pytest.mark.claim("C027", "C032")
def test_softmax_is_a_distribution_and_its_derivative():
    s, residuals = fnn.softmax.forward((), Z)
    assert same(s, softmax(Z))
    np.testing.assert_allclose(s.sum(axis=1), 1, rtol=1e-14)
    assert same(fnn.softmax.forward((), Z + 7)[0], s, 1e-14)
    rows = [fnn.softmax.backward((), residuals, np.tile(np.eye(4)[k], (9, 1)))[1] for k in range(4)]
    for i in range(9):
        jacobian = np.stack([row[i] for row in rows])
        assert same(jacobian, np.diag(s[i]) - np.outer(s[i], s[i]))
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(softmax(np.array([1000.0, 0.0]))).any()
    np.testing.assert_array_equal(fnn.softmax.forward((), np.array([[1000.0, 0.0]]))[0], [[1, 0]])


@pytest.mark.claim("C028", "C029")
def test_the_largest_output_answers_but_training_needs_the_probabilities():
    answer = lambda z: np.eye(4)[np.argmax(z, axis=1)]
    np.testing.assert_array_equal(fnn.accuracy(Z, LABELS), answer(Z)[np.arange(9), LABELS])
    step = 1e-6 * normal(5, Z.shape, "float64")
    np.testing.assert_array_equal(answer(Z + step), answer(Z))  # constant around a point: its derivative is 0
    assert same(loss_by_hand(fnn.softmax_cross_entropy, Z, LABELS, np.ones(9)), softmax(Z) - Y)


@pytest.mark.claim("C030")
def test_dividing_by_the_sum_takes_positive_activations():
    a = np.array([1, -0.9, 0.2])
    np.testing.assert_allclose(a / a.sum(), [3.33, -3, 0.67], atol=0.01)
    positive = sigma(Z) / sigma(Z).sum(axis=1, keepdims=True)
    assert positive.min() > 0
    np.testing.assert_allclose(positive.sum(axis=1), 1, rtol=1e-14)
    shares, _ = fnn.softmax.forward((), a[None])
    assert 0 < shares.min() < shares.max() < 1


@pytest.mark.slow
@pytest.mark.claim("C031")
def test_softmax_of_activations_cannot_be_sure():
    """For ten activations in [0, 1], shares are at most e/(e + 9) and losses at least ln(1 + 9/e); not so for z."""
    z = 30 * np.eye(10)
    best = np.eye(10)  # the most extreme activations of a sigmoid
    of_a, _ = fnn.softmax.forward((), best)
    assert of_a.max() == pytest.approx(np.e / (np.e + 9)) == pytest.approx(0.2320, abs=1e-4)
    labels = np.arange(10)
    loss_of_a, _ = fnn.softmax_cross_entropy.forward(best, labels)
    assert loss_of_a == pytest.approx(np.log(1 + 9 / np.e)) == pytest.approx(1.4612, abs=1e-4)
    random = sigma(5 * normal(4, (2000, 10), "float64"))
    assert softmax(random).max() < of_a.max()
    of_z, _ = fnn.softmax.forward((), z)
    assert of_z.max() > 0.9999
    assert fnn.softmax_cross_entropy.forward(z, labels)[0].max() < 1e-9


@pytest.mark.claim("C033")
def test_the_loss_is_that_of_the_true_class():
    values, _ = fnn.softmax_cross_entropy.forward(Z, LABELS)
    s = softmax(Z)
    assert same(values, -np.log(s[np.arange(9), LABELS]))
    dz = loss_by_hand(fnn.softmax_cross_entropy, Z, LABELS, np.ones(9))
    assert same(dz, s - Y)
    every_class = 4 * s - 1  # gradient of -Σ_k ln a_k
    assert np.abs(every_class - dz).max() > 0.1


@pytest.mark.slow
@pytest.mark.claim("C035", "C036")
def test_softmax_of_two_classes_is_the_sigmoid_of_one_output():
    z = Z[:, :1]
    pair = np.concatenate([z, np.zeros_like(z)], axis=1)
    assert same(fnn.softmax.forward((), pair)[0][:, :1], fnn.sigmoid.forward((), z)[0])
    y = (LABELS % 2)[:, None].astype(float)
    one, _ = fnn.sigmoid_cross_entropy.forward(z, y)
    two, _ = fnn.softmax_cross_entropy.forward(pair, 1 - LABELS % 2)
    assert same(one, two)
    assert fnn.logistic_regression(5).init(jax.random.key(0)).w.shape == (5, 1)
    assert fnn.softmax_regression(5, 3).init(jax.random.key(0)).w.shape == (5, 3)
