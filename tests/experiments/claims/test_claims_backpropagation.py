"""Claims on backpropagation: printed and corrected formulas against fnn's gradients."""

import jax
import numpy as np
import pytest

import fnn
from tests.support.columns import case, off, same, sigma
from tests.support.oracles import by_hand, normal, spread_params

pytestmark = pytest.mark.usefixtures("x64")
each_label = pytest.mark.parametrize("y", [0.0, 1.0])


def one_example(y):
    """The notes' network: widths 4-3-2-1, sigmoid throughout, one example."""
    return case((4, 3, 2, 1), ("sigmoid", "sigmoid"), m=1, y=y)


@pytest.mark.claim("C131", "C132", "C137", "C138", "C143")
def test_the_recursion_from_the_last_layer_to_the_first():
    c, m = case(), 11
    dz = c.a[3] - c.y
    for layer in (3, 2, 1):
        assert same(dz @ c.a[layer - 1].T / m, c.dw[layer])
        assert same(dz.sum(axis=1, keepdims=True) / m, c.db[layer])
        if layer > 1:
            dz = c.w[layer].T @ dz * c.slope[layer - 1](c.z[layer - 1])


@pytest.mark.claim("C133")
def test_one_over_m_counts_once():
    c, m = case(), 11
    per_example = c.a[3] - c.y
    of_the_cost = per_example / m  # dJ/dZ
    assert same(per_example @ c.a[2].T / m, c.dw[3])
    assert same(of_the_cost @ c.a[2].T, c.dw[3])
    assert same(m * (of_the_cost @ c.a[2].T / m), c.dw[3])
    assert same(m * (of_the_cost.sum(1, keepdims=True) / m), c.db[3])


@pytest.mark.claim("C134")
def test_biases_sum_over_the_examples():
    c = case()
    dz = c.a[3] - c.y
    assert np.sum(dz, axis=1, keepdims=True).shape == c.b[3].shape == (2, 1)
    assert np.sum(dz, axis=1).shape == (2,)
    layer = fnn.dense(3, 2)
    params = spread_params(layer, 0, "float64")
    assert same(by_hand(layer, params, c.a[2].T, dz.T)[0].b, dz.sum(axis=1))


@pytest.mark.claim("C135")
def test_the_slope_multiplies_element_by_element():
    c = case()
    da, slope = c.w[3].T @ (c.a[3] - c.y), c.slope[2](c.z[2])
    assert same((da * slope) @ c.a[1].T / 11, c.dw[2])
    with pytest.raises(ValueError, match="mismatch"):
        _ = da @ slope


@pytest.mark.claim("C136")
def test_the_weight_stands_before_dz_in_columns_and_after_it_in_rows():
    c = case()
    dz = c.a[3] - c.y
    with pytest.raises(ValueError, match="mismatch"):
        _ = dz @ c.w[3].T
    assert same((c.w[3].T @ dz * c.slope[2](c.z[2])) @ c.a[1].T / 11, c.dw[2])
    params = fnn.Dense(c.w[3].T, c.b[3][:, 0])
    assert same(by_hand(fnn.dense(3, 2), params, c.a[2].T, dz.T)[1], dz.T @ params.w.T)


@pytest.mark.claim("C139")
def test_the_weight_and_not_its_gradient_carries_dz_back():
    c = case()
    dz, slope = c.a[3] - c.y, c.slope[2](c.z[2])
    assert same((c.w[3].T @ dz * slope) @ c.a[1].T / 11, c.dw[2])
    assert off((c.dw[3].T @ dz * slope) @ c.a[1].T / 11, c.dw[2]) > 0.5


@pytest.mark.claim("C140")
def test_the_slope_is_that_of_the_layers_own_activation():
    c = case()
    da = c.w[3].T @ (c.a[3] - c.y)
    assert same((da * c.slope[2](c.z[2])) @ c.a[1].T / 11, c.dw[2])
    assert off((da * c.slope[3](c.z[2])) @ c.a[1].T / 11, c.dw[2]) > 0.5


@pytest.mark.claim("C141")
def test_the_first_layer_gets_its_error_through_the_second():
    c = case()
    dz2 = c.w[3].T @ (c.a[3] - c.y) * c.slope[2](c.z[2])
    assert same((c.w[2].T @ dz2 * c.slope[1](c.z[1])) @ c.a[0].T / 11, c.dw[1])
    with pytest.raises(ValueError, match="broadcast"):
        _ = c.dw[3].T @ (c.a[3] - c.y) * c.slope[1](c.z[1])
    with pytest.raises(ValueError, match="mismatch"):
        _ = c.dw[3].T @ dz2


@pytest.mark.claim("C142")
def test_the_first_weight_meets_the_examples():
    c = case()
    dz1 = c.w[2].T @ (c.w[3].T @ (c.a[3] - c.y) * c.slope[2](c.z[2])) * c.slope[1](c.z[1])
    assert same(dz1 @ c.a[0].T / 11, c.dw[1])
    assert (dz1 @ c.a[1].T / 11).shape == (4, 4) != c.dw[1].shape


@pytest.mark.claim("C121", "C122", "C126")
@each_label
def test_the_lines_of_the_last_weights_derivation(y):
    c = one_example(y)
    a2, a3 = c.a[2], c.a[3]
    g = a3 * (1 - a3)
    lines = [
        -(y / a3 * g @ a2.T + (1 - y) / (1 - a3) * (-g) @ a2.T),
        -(y * (1 - a3) @ a2.T - (1 - y) * a3 @ a2.T),
        -((1 - y) / (1 - a3) * (-1) * g @ a2.T) - y / a3 * g @ a2.T,
        (1 - y) * a3 @ a2.T - y * (1 - a3) @ a2.T,
        (a3 - y) @ a2.T,
    ]
    assert all(same(line, c.dw[3]) for line in lines)
    without_brackets = -(y / a3 * g @ a2.T + (1 - y) / (1 - a3) - g @ a2.T)
    assert off(without_brackets, c.dw[3]) > 0.01


@pytest.mark.claim("C123", "C127")
@each_label
def test_the_last_weights_gradient_needs_its_transpose(y):
    c = one_example(y)
    assert same((c.a[3] - y) @ c.a[2].T, c.dw[3])
    for printed in (-c.a[2] @ (y - c.a[3]), c.a[2] @ (c.a[3] - y)):
        assert printed.shape == (2, 1) != c.dw[3].shape


@pytest.mark.claim("C124", "C130")
@each_label
def test_the_hidden_weights_gradient(y):
    c = one_example(y)
    slope = c.a[2] * (1 - c.a[2])
    assert same((c.a[3] - y) * (c.w[3].T * slope) @ c.a[1].T, c.dw[2])
    assert same((c.w[3].T * slope) @ (c.a[3] - y) @ c.a[1].T, c.dw[2])


@pytest.mark.claim("C125")
@each_label
def test_the_hidden_weights_gradient_with_its_element_wise_product_lost(y):
    c = one_example(y)
    a2, error = c.a[2], c.a[3] - y
    assert same((c.w[3].T @ error * a2 * (1 - a2)) @ c.a[1].T, c.dw[2])
    with pytest.raises(ValueError, match="mismatch"):
        _ = (c.w[3].T * a2) @ error @ (1 - a2) @ c.a[1].T


@pytest.mark.claim("C129")
def test_the_order_of_equation_8_does_not_fit():
    c = one_example(1.0)
    factors = c.a[3] - 1, c.w[3], c.a[2] * (1 - c.a[2]), c.a[1]
    assert [f.shape for f in factors] == [(1, 1), (1, 2), (2, 1), (3, 1)]
    with pytest.raises(ValueError, match="mismatch"):
        _ = factors[0] @ factors[1] @ factors[2] @ factors[3]
    assert same(factors[1].T * factors[2] @ factors[0] @ factors[3].T, c.dw[2])


@pytest.mark.claim("C119", "C259")
@each_label
def test_the_chain_of_equation_7_link_by_link(y):
    """Equation (4) leads from a3 to z3, (3) from z3 to a2, and a2 = g(z2) to z2. (3) and (4) share z3, not a2."""
    c = one_example(y)
    a2, a3 = c.a[2], c.a[3]
    loss = -y / a3 + (1 - y) / (1 - a3)
    equation_4, equation_3 = a3 * (1 - a3), c.w[3]
    assert same(sigma(equation_3 @ a2 + c.b[3]), a3)
    assert equation_4.shape == c.z[3].shape == (1, 1) != a2.shape
    assert same((loss @ equation_4).T @ a2.T, c.dw[3])
    assert same((loss @ equation_4 @ equation_3 @ np.diag((a2 * (1 - a2))[:, 0])).T @ c.a[1].T, c.dw[2])
    with pytest.raises(ValueError, match="mismatch"):  # from (4) directly to a2
        _ = loss @ equation_4 @ np.diag((a2 * (1 - a2))[:, 0])


@pytest.mark.claim("C147")
def test_the_errors_by_sums_over_the_next_layers_units():
    c = case(hidden=("sigmoid", "sigmoid"), m=1)
    delta = {3: c.a[3][:, 0] - c.y[:, 0]}
    for layer in (2, 1):
        units, above = range(c.w[layer].shape[0]), range(c.w[layer + 1].shape[0])
        slope = c.a[layer][:, 0] * (1 - c.a[layer][:, 0])
        delta[layer] = np.array(
            [sum(delta[layer + 1][k] * c.w[layer + 1][k, j] for k in above) * slope[j] for j in units]
        )
    for layer, d in delta.items():
        assert same(d[:, None], c.db[layer])


@pytest.mark.claim("C148", "C262", "C111")
def test_the_slope_cancels_out_of_the_gradient_of_cross_entropy():
    x, w, b, y = normal(0, (9, 3), "float64"), normal(1, (3,), "float64"), 0.3, (np.arange(9) % 2).astype(float)
    z = x @ w + b
    s = sigma(z)
    slope = s * (1 - s)
    library = jax.jit(fnn.value_and_grad(fnn.dense(3, 1), fnn.sigmoid_cross_entropy))
    gradient = library(fnn.Dense(w[:, None], np.array([b])), x, y[:, None])[1]
    first = np.mean(slope[:, None] * x / (s * (1 - s))[:, None] * (s - y)[:, None], axis=0)
    second = np.mean(x * (s - y)[:, None], axis=0)
    assert same(first, gradient.w[:, 0])
    assert same(second, gradient.w[:, 0])
    assert same(np.mean(s - y), gradient.b[0])
    as_a_fraction = np.mean(slope[:, None] * x / (s * (1 - s))[:, None] * ((s - y) / (s - y))[:, None], axis=0)
    assert off(as_a_fraction, gradient.w[:, 0]) > 0.3
    assert off(-second, gradient.w[:, 0]) > 1, "of the cost printed without its minus"


@pytest.mark.claim("C137")
@pytest.mark.parametrize(
    ("output", "loss", "matched"),
    [
        (fnn.sigmoid, fnn.binary_cross_entropy, True),
        (fnn.softmax, fnn.negative_log_likelihood, True),
        (fnn.identity, fnn.squared_error, True),
        (fnn.sigmoid, fnn.squared_error, False),
    ],
    ids=["sigmoid, cross-entropy", "softmax, log-likelihood", "identity, squared error", "sigmoid, squared error"],
)
def test_which_outputs_and_losses_give_a_minus_y(output, loss, matched):
    z, y = normal(0, (6, 3), "float64"), np.eye(3)[np.arange(6) % 3]
    a, kept = output.forward((), z)
    _, residuals = loss.forward(a, y)
    dz = output.backward((), kept, loss.backward(residuals, np.ones(6)))[1]
    assert same(dz, a - y) == matched
    if not matched:
        assert same(dz, (a - y) * a * (1 - a))
        assert off(a - y, dz) > 0.5


@pytest.mark.claim("C117")
def test_a_short_step_lowers_the_cost_a_long_one_need_not():
    network = fnn.mlp([4, 5, 2], fnn.tanh)
    params, x, y = spread_params(network, 0, "float64"), normal(1, (20, 4), "float64"), normal(2, (20, 2), "float64")
    cost = jax.jit(fnn.value_and_grad(network, fnn.squared_error))
    start, gradient = cost(params, x, y)
    norm = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient))

    def after(alpha):
        return float(cost(jax.tree.map(lambda p, g: p - alpha * g, params, gradient), x, y)[0])

    assert (float(start) - after(1e-4)) / (1e-4 * norm) == pytest.approx(1, abs=1e-3)
    assert after(100.0) > float(start)
