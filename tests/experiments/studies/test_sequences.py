"""The parts of the studies of sequences: their data, their measures, and what they count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.studies import adding_problem, digits_by_rows, gradients_through_time, weight_gradient_outside_scan


def test_the_norms_are_those_of_the_product_of_the_jacobians(key):
    """∂h_T/∂x_{T-k} = W Π_t U diag(1 - h_t²), multiplied out position by position."""
    n = gradients_through_time.N
    layer = fnn.rnn(n, n)
    params, x = layer.init(key), np.random.default_rng(0).standard_normal((1, 5, n)).astype(np.float32)
    measure = lambda params, x: (gradients_through_time.norms(layer, params, x), layer.forward(params, x)[0])
    found, h = jax.jit(measure)(params, x)
    w, u, _ = map(np.asarray, params)
    slopes = 1 - np.asarray(h)[0] ** 2
    expected, product = [], np.diag(slopes[-1])
    for slope in slopes[-2::-1]:
        expected.append(np.linalg.norm(w @ product))
        product = np.diag(slope) @ u @ product
    expected.append(np.linalg.norm(w @ product))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.claim("C037")
def test_the_state_of_a_recurrent_network_depends_on_all_positions_before(key):
    """The network is connected through time: each position reaches the last, and none reaches an earlier one."""
    layer = fnn.rnn(3, 4)
    params, x = layer.init(key), np.random.default_rng(0).standard_normal((1, 6, 3)).astype(np.float32)
    forward = jax.jit(lambda x: layer.forward(params, x)[0])
    y = np.asarray(forward(x))
    for t in range(6):
        other = x.copy()
        other[0, t] += 1
        changed = np.asarray(forward(other)) != y
        assert changed[0, t:].any(axis=-1).all()
        assert not changed[0, :t].any()


def test_spectral_radius(key):
    u = gradients_through_time.radius(1.5)(key, (20, 20), jnp.dtype(jnp.float32))
    assert np.abs(np.linalg.eigvals(np.asarray(u))).max() == pytest.approx(1.5, rel=1e-5)


def test_the_sums_are_those_of_two_marked_numbers_one_in_each_half(key):
    x, y = adding_problem.sequences(key, 11)
    numbers, marks = np.asarray(x)[:, :, 0], np.asarray(x)[:, :, 1]
    assert marks[:, :5].sum(axis=1).tolist() == [1.0] * adding_problem.BATCH
    assert marks[:, 5:].sum(axis=1).tolist() == [1.0] * adding_problem.BATCH
    np.testing.assert_allclose(np.asarray(y)[:, 0], [n[m > 0].sum() for n, m in zip(numbers, marks, strict=True)])
    means = np.array([[0.2] * 5 + [0.01] * 30, [0.2] * 35])
    assert adding_problem.first_below(means, 0.05) == [25.0, np.inf]


def test_shuffled_scans_have_the_same_rows():
    x = np.arange(5 * 8 * 8).reshape(5, 8, 8)
    found = digits_by_rows.shuffled(x)
    assert not np.array_equal(found, x)
    np.testing.assert_array_equal(np.sort(found[:, :, 0], axis=1), x[:, :, 0])
    np.testing.assert_array_equal(found[:, :, 7] - found[:, :, 0], 7)


def test_products_of_a_program_are_counted_in_loops_too():
    def program(x, w):
        step = lambda h, _: (jnp.tanh(h @ w), h[0, :2])
        h, _ = jax.lax.scan(step, x, None, length=7)
        return jax.jit(lambda h: h @ w @ w.T)(h)

    found = weight_gradient_outside_scan.count(jax.make_jaxpr(program)(jnp.ones((2, 3)), jnp.ones((3, 3))).jaxpr)
    assert found == {"products": 9 * 2 * 2 * 3 * 3, "products in loops": 7 * 2 * 2 * 3 * 3, "numbers carried": 7 * 6}


@pytest.mark.parametrize("name", weight_gradient_outside_scan.CASES)
def test_the_weight_gradient_is_a_third_of_the_products_in_the_loops_of_jax_grad(name):
    case = weight_gradient_outside_scan.CASES[name]._replace(batch=2, time=3)
    x, y = jnp.ones((2, 3, 64)), jnp.ones((2, 3, case.units))
    found = {}
    for way, layer in weight_gradient_outside_scan.ways(case).items():
        params = jax.eval_shape(layer.init, jax.random.key(0))
        trace = jax.make_jaxpr(lambda params, layer=layer: weight_gradient_outside_scan.gradient(layer, params, (x, y)))
        found[way] = weight_gradient_outside_scan.count(trace(params).jaxpr)
    hand, auto = found.values()
    assert hand["products"] == auto["products"]
    assert 3 * hand["products in loops"] == 2 * auto["products in loops"]
    assert hand["numbers carried"] < auto["numbers carried"]
