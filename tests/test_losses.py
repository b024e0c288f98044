"""Losses: gradients against jax.vjp, values against the textbook, extreme inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import fnn
from fnn.gradcheck import check_loss
from tests.support.devices import two_devices
from tests.support.oracles import assert_close, loss_by_autodiff, loss_by_hand, normal
from tests.support.slow import slow_except

rng = np.random.default_rng(0)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def probabilities(shape, dtype, seed=7):
    return (1 / (1 + np.exp(-normal(seed, shape, "float64")))).astype(dtype)


def other_probabilities(shape, dtype):
    return probabilities(shape, dtype, seed=8)


CASES = {  # loss, prediction(shape, dtype), target(shape, dtype)
    "squared_error": (fnn.squared_error, normal_ := (lambda s, d: normal(1, s, d)), lambda s, d: normal(2, s, d)),
    "huber": (fnn.huber(0.8), normal_, lambda s, d: normal(2, s, d)),
    "sigmoid_cross_entropy": (fnn.sigmoid_cross_entropy, normal_, lambda s, d: rng.integers(0, 2, s).astype(d)),
    "sigmoid_cross_entropy_soft": (fnn.sigmoid_cross_entropy, normal_, other_probabilities),
    "softmax_cross_entropy": (fnn.softmax_cross_entropy, normal_, lambda s, d: rng.integers(0, s[1], s[0])),
    "softmax_cross_entropy_soft": (fnn.softmax_cross_entropy, normal_, lambda s, d: softmax(normal(3, s, d))),
    "softmax_cross_entropy_any_sum": (fnn.softmax_cross_entropy, normal_, other_probabilities),
    "binary_cross_entropy": (fnn.binary_cross_entropy, probabilities, lambda s, d: rng.integers(0, 2, s).astype(d)),
    "binary_cross_entropy_soft": (fnn.binary_cross_entropy, probabilities, other_probabilities),
    "negative_log_likelihood": (
        fnn.negative_log_likelihood,
        lambda s, d: softmax(normal(1, s, d)),
        lambda s, d: rng.integers(0, s[1], s[0]),
    ),
    "negative_log_likelihood_soft": (fnn.negative_log_likelihood, probabilities, other_probabilities),
}
each_case = pytest.mark.parametrize("name", CASES)


@pytest.mark.accelerator
@each_case
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_backward_is_the_derivative_of_forward(name, dtype, x64):
    loss, make_prediction, make_target = CASES[name]
    hand, auto = jax.jit(loss_by_hand, static_argnums=0), jax.jit(loss_by_autodiff, static_argnums=0)
    for shape in ((7, 5), (1, 5), (7, 1), (1, 1)):
        prediction, target = make_prediction(shape, dtype), make_target(shape, dtype)
        values, _ = loss.forward(prediction, target)
        assert values.shape == shape[:1]
        assert values.dtype == dtype
        dvalue = normal(5, values.shape, values.dtype)
        assert_close(
            hand(loss, prediction, target, dvalue), auto(loss, prediction, target, dvalue), dtype, what=str(shape)
        )


@pytest.mark.parametrize("kind", ["labels", "soft"])
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "negative_log_likelihood"])
def test_the_value_of_a_sequence_is_the_mean_over_its_positions(name, kind, x64):
    loss, k = getattr(fnn, name), 5
    prediction = softmax(normal(1, (3 * 4, k), "float64")).reshape(3, 4, k)
    target = rng.integers(0, k, (3, 4)) if kind == "labels" else softmax(normal(3, (12, k), "float64")).reshape(3, 4, k)
    values, residuals = loss.forward(prediction, target)
    flat = loss.forward(prediction.reshape(12, k), target.reshape(12, *target.shape[2:]))[0]
    assert_close(values, flat.reshape(3, 4).mean(1), "float64")
    dvalue = normal(5, (3,), "float64")
    assert_close(loss.backward(residuals, dvalue), loss_by_autodiff(loss, prediction, target, dvalue), "float64")
    shares = fnn.accuracy(prediction, target)
    np.testing.assert_allclose(
        shares, fnn.accuracy(prediction.reshape(12, k), target.reshape(12, *target.shape[2:])).reshape(3, 4).mean(1)
    )
    loss.validate(prediction.shape, target)
    wrong = target + k if kind == "labels" else 2 * target
    with pytest.raises(ValueError, match="labels in 0..4" if kind == "labels" else "sum to 1"):
        loss.validate(prediction.shape, wrong)
    report = check_loss(loss._replace(backward=lambda r, d: 4 * loss.backward(r, d)), prediction, target, key=1)
    assert [leaf.status for leaf in report.leaves] == ["FAIL"], "a sum over the positions in place of the mean"


@pytest.mark.accelerator
@pytest.mark.parametrize("name", slow_except(CASES, "squared_error", "softmax_cross_entropy"))
def test_jit_vmap_and_two_devices_change_nothing(name, x64):
    loss, make_prediction, make_target = CASES[name]
    prediction, target = make_prediction((4, 3), "float64"), make_target((4, 3), "float64")
    dvalue = normal(5, (4,), "float64")
    expected = loss_by_hand(loss, prediction, target, dvalue)
    stacked = jnp.stack([prediction, prediction[::-1]])
    got = jax.vmap(lambda p: loss_by_hand(loss, p, target, dvalue))(stacked)
    assert_close(got[0], expected, "float64")
    assert_close(got[1], loss_by_hand(loss, prediction[::-1], target, dvalue), "float64")
    mesh = Mesh(np.array(two_devices()), ("data",), axis_types=(AxisType.Auto,))
    args = jax.device_put((prediction, target, dvalue), NamedSharding(mesh, PartitionSpec("data")))
    got = jax.jit(loss_by_hand, static_argnums=0)(loss, *args)
    assert len(got.devices()) == 2
    assert_close(got, expected, "float64")


@pytest.mark.slow
@settings(max_examples=10)
@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from(sorted(CASES)))
def test_any_shape(batch, k, name):
    loss, make_prediction, make_target = CASES[name]
    with jax.enable_x64(True):
        prediction, target = make_prediction((batch, k), "float64"), make_target((batch, k), "float64")
        args = loss, prediction, target, normal(5, (batch,), "float64")
        hand, auto = (jax.jit(gradient, static_argnums=0)(*args) for gradient in (loss_by_hand, loss_by_autodiff))
        # with one class a softmax loss is 0, its gradient rounding errors
        assert_close(hand, auto, "float64", slack=1e-17)


@pytest.mark.claim("C102", "C033")
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_on_logits_it_equals_the_textbook_form_on_probabilities(dtype, x64):
    z, labels = 3 * normal(1, (20, 4), dtype), rng.integers(0, 4, 20)
    binary = rng.integers(0, 2, (20, 4)).astype(dtype)
    a, p = 1 / (1 + np.exp(-z)), softmax(z)
    for loss, target, textbook in (
        (fnn.sigmoid_cross_entropy, binary, -(binary * np.log(a) + (1 - binary) * np.log(1 - a)).sum(1)),
        (fnn.softmax_cross_entropy, labels, -np.log(p[np.arange(20), labels])),
        (fnn.squared_error, binary, 0.5 * ((z - binary) ** 2).sum(1)),
    ):
        assert_close(loss.forward(z, target)[0], textbook.astype(dtype), dtype)
    for loss, prediction, target, other, logits in (
        (fnn.binary_cross_entropy, a, binary, fnn.sigmoid_cross_entropy, z),
        (fnn.negative_log_likelihood, p, labels, fnn.softmax_cross_entropy, z),
    ):
        assert_close(loss.forward(prediction, target)[0], other.forward(logits, target)[0], dtype)


@pytest.mark.claim("C034", "C137")
def test_the_gradient_of_the_matched_pairs_is_a_minus_y(x64):
    z, labels = normal(1, (6, 3), "float64"), rng.integers(0, 3, 6)
    y, ones = np.eye(3)[labels], np.ones(6)
    assert_close(loss_by_hand(fnn.sigmoid_cross_entropy, z, y, ones), 1 / (1 + np.exp(-z)) - y, "float64")
    assert_close(loss_by_hand(fnn.softmax_cross_entropy, z, labels, ones), softmax(z) - y, "float64")
    assert_close(loss_by_hand(fnn.squared_error, z, y, ones), z - y, "float64")


def test_labels_and_their_one_hot_rows_are_the_same(x64):
    z, labels = normal(1, (6, 3), "float64"), rng.integers(0, 3, 6)
    for loss, prediction in ((fnn.softmax_cross_entropy, z), (fnn.negative_log_likelihood, softmax(z))):
        np.testing.assert_array_equal(
            loss.forward(prediction, labels)[0], loss.forward(prediction, np.eye(3)[labels])[0]
        )


@pytest.mark.claim("C115")
@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_logits_of_ten_thousand(dtype, x64):
    z = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [0.0, 0.0]], dtype)
    y = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], dtype)
    ln2 = np.log(2)
    ones = np.ones(4, dtype)
    np.testing.assert_allclose(fnn.sigmoid_cross_entropy.forward(z, y)[0], [0, 2e4, 1e4, 2 * ln2], rtol=1e-6)
    np.testing.assert_allclose(fnn.softmax_cross_entropy.forward(z, y)[0], [0, 2e4, ln2, ln2], rtol=1e-6)
    sigmoid = loss_by_hand(fnn.sigmoid_cross_entropy, z, y, ones)
    np.testing.assert_allclose(sigmoid, [[0, 0], [-1, 1], [0, 1], [-0.5, 0.5]])
    softmax_ = loss_by_hand(fnn.softmax_cross_entropy, z, y, ones)
    np.testing.assert_allclose(softmax_, [[0, 0], [-1, 1], [-0.5, 0.5], [-0.5, 0.5]])
    for loss in (fnn.sigmoid_cross_entropy, fnn.softmax_cross_entropy):
        assert_close(loss_by_hand(loss, z, y, ones), loss_by_autodiff(loss, z, y, ones), dtype)


@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_probabilities_of_exactly_zero_and_one(dtype, x64):
    a = np.array([[0.0], [1.0], [0.0], [1.0]], dtype)
    y = np.array([[0.0], [1.0], [1.0], [0.0]], dtype)
    ones = np.ones(4, dtype)
    values, _ = fnn.binary_cross_entropy.forward(a, y)
    assert bool(jnp.all(jnp.isfinite(values)))
    np.testing.assert_allclose(values[:2], 0, atol=1e-12)
    assert float(jnp.min(values[2:])) > 30
    gradient = loss_by_hand(fnn.binary_cross_entropy, a, y, ones)
    assert bool(jnp.all(jnp.isfinite(gradient)))
    assert float(gradient[2, 0]) < -1e12, "a = 0 against y = 1 must push a up"
    assert float(gradient[3, 0]) > 1e12, "a = 1 against y = 0 must push a down"
    assert_close(gradient, loss_by_autodiff(fnn.binary_cross_entropy, a, y, ones), dtype)

    rows = np.array([[1.0, 0.0], [0.0, 1.0]], dtype)
    values, _ = fnn.negative_log_likelihood.forward(rows, np.zeros(2, np.int32))
    assert bool(jnp.all(jnp.isfinite(values)))
    assert float(values[0]) == 0
    gradient = loss_by_hand(fnn.negative_log_likelihood, rows, np.zeros(2, np.int32), ones[:2])
    assert bool(jnp.all(jnp.isfinite(gradient)))
    assert float(gradient[1, 0]) < -1e12


def test_small_probabilities_are_not_clipped():
    values, _ = fnn.binary_cross_entropy.forward(jnp.array([[1e-9]]), jnp.array([[1.0]]))
    np.testing.assert_allclose(values, 20.723266, rtol=1e-6)


def test_half_precision_predictions_are_summed_in_float32():
    z = jnp.full((2, 300), 1.0, jnp.bfloat16)
    for loss, y in (
        (fnn.softmax_cross_entropy, jnp.array([0, 1])),
        (fnn.squared_error, jnp.zeros((2, 300), jnp.bfloat16)),
        (fnn.sigmoid_cross_entropy, jnp.zeros((2, 300), jnp.bfloat16)),
    ):
        values, residuals = loss.forward(z, y)
        assert values.dtype == jnp.float32
        assert loss.backward(residuals, jnp.ones(2)).dtype == jnp.bfloat16


def test_a_label_out_of_range_is_not_a_number_never_a_wrong_one():
    for labels in ([0, 3], [0, -1]):
        for dtype in (jnp.int32, jnp.int8):
            values, _ = fnn.softmax_cross_entropy.forward(jnp.zeros((2, 3)), jnp.array(labels, dtype))
            assert np.isfinite(values[0])
            assert np.isnan(values[1])


def test_a_class_ruled_out_by_minus_infinity():
    z = jnp.array([[0.0, 1.0, -jnp.inf]])
    values, residuals = fnn.softmax_cross_entropy.forward(z, jnp.array([1]))
    np.testing.assert_allclose(values, np.log1p(np.exp(-1)), rtol=1e-6)
    dz = fnn.softmax_cross_entropy.backward(residuals, jnp.ones(1))
    assert bool(jnp.all(jnp.isfinite(dz)))
    assert float(dz[0, 2]) == 0


def test_metrics():
    z = jnp.array([[2.0, -1.0], [0.5, 1.0], [-1.0, -2.0]])
    np.testing.assert_array_equal(fnn.accuracy(z, jnp.array([0, 0, 0])), [1, 0, 1])
    np.testing.assert_array_equal(fnn.accuracy(z, jnp.array([[0.9, 0.1], [0.1, 0.9], [0.0, 1.0]])), [1, 1, 0])
    right = fnn.binary_accuracy(0.0)(z, jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_array_equal(right, [1, 0.5, 0])
