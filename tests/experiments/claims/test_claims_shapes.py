"""Claims on networks: composition, counting of layers, and shapes."""

import jax
import numpy as np
import pytest

import fnn
from tests.support.columns import case, off, same, sigma
from tests.support.oracles import normal, spread_params

pytestmark = pytest.mark.usefixtures("x64")


def widths(network):
    """Inputs and outputs of each dense layer."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    return [layer.w.shape for layer in params if isinstance(layer, fnn.Dense)]


@pytest.mark.claim("C038", "C039", "C073")
def test_a_relu_neuron_returns_its_linear_part_or_zero():
    neuron = fnn.serial(fnn.dense(1, 1), fnn.relu)
    params = (fnn.Dense(np.array([[2.0]]), np.array([-3.0])), ())
    x = np.array([[2.5], [1.5], [1.0], [-4.0]])
    values = np.asarray(neuron.forward(params, x)[0])[:, 0]
    np.testing.assert_array_equal(values, [2.0, 0.0, 0.0, 0.0])
    assert values[0] != x[0, 0], "not x itself"
    assert values.min() == 0, "not strictly positive: 0 is attained, inside and at the kink"


@pytest.mark.claim("C040", "C046", "C051", "C052", "C098", "C067")
def test_a_network_is_its_layers_one_after_another():
    c = case()
    network = fnn.serial(fnn.dense(5, 4), fnn.sigmoid, fnn.dense(4, 3), fnn.tanh, fnn.dense(3, 2), fnn.sigmoid)
    params = [part for i in (1, 2, 3) for part in (fnn.Dense(c.w[i].T, c.b[i][:, 0]), ())]
    a = c.a[0].T
    for layer, p in zip(network.layers, params, strict=True):
        a, _ = layer.forward(p, a)
    assert same(a.T, c.a[3])
    assert same(network.forward(tuple(params), c.a[0].T)[0], a)


@pytest.mark.claim("C042", "C047", "C048", "C049", "C050", "C062")
def test_unit_by_unit_is_the_matrix_form():
    """The notes' network has three features, four hidden units and one output; x is a column."""
    c = case((3, 4, 1), ("sigmoid",), m=1)
    x = c.a[0]
    assert [c.w[1].shape, x.shape, c.b[1].shape, c.z[1].shape] == [(4, 3), (3, 1), (4, 1), (4, 1)]
    assert [c.w[2].shape, c.a[1].shape, c.b[2].shape, c.z[2].shape] == [(1, 4), (4, 1), (1, 1), (1, 1)]
    network = fnn.mlp((3, 4, 1), fnn.sigmoid)
    params = (fnn.Dense(c.w[1].T, c.b[1][:, 0]), (), fnn.Dense(c.w[2].T, c.b[2][:, 0]))
    units = []
    for j in range(4):
        w_j = c.w[1][j]  # the row of W as a vector; here column j of w
        np.testing.assert_array_equal(w_j, params[0].w[:, j])
        assert w_j.size == 3, "a weight for each input"
        units.append(sigma(w_j @ x[:, 0] + c.b[1][j, 0]))
    output = c.w[2][0] @ np.array(units) + c.b[2][0, 0]
    assert output == pytest.approx(float(network.forward(params, x.T)[0][0, 0]), rel=1e-12)
    assert off(c.w[1] @ x, c.z[1]) > 0.01, "and without its bias it is another number"


@pytest.mark.claim("C053")
def test_which_index_of_a_weight_counts_the_inputs():
    w, x = normal(0, (4, 4), "float64"), normal(1, (1, 4), "float64")  # square, so that both orders fit
    z, _ = fnn.dense(4, 4).forward(fnn.Dense(w, np.zeros(4)), x)
    assert same(z[0], np.einsum("ij,i->j", w, x[0])), "w_ij from input i to output j, in rows"
    assert same(z[0], np.einsum("ji,i->j", w.T, x[0])), "w_ji of W, in columns"
    assert off(np.einsum("ij,i->j", w.T, x[0]), z[0]) > 0.1


@pytest.mark.claim("C054", "C064", "C065")
def test_shapes_of_the_notes_and_ours():
    c, sizes, m = case(), (5, 4, 3, 2), 11
    for layer in (1, 2, 3):
        n, before = sizes[layer], sizes[layer - 1]
        assert c.w[layer].shape == c.dw[layer].shape == (n, before)
        assert c.b[layer].shape == c.db[layer].shape == (n, 1), "one column, however many examples"
        assert c.z[layer].shape == c.a[layer].shape == (n, m)
    assert widths(fnn.mlp(sizes)) == [(5, 4), (4, 3), (3, 2)]
    one = case(m=1)
    assert one.z[2].shape == (3, 1)
    assert one.db[2].shape == c.db[2].shape


@pytest.mark.claim("C056", "C186", "C208", "C210")
def test_all_examples_at_once_or_one_by_one():
    network = fnn.mlp((5, 4, 2), fnn.tanh)
    params, x = spread_params(network, 0, "float64"), normal(1, (11, 5), "float64")
    forward = lambda x: network.forward(params, x)[0]
    batched = forward(x)
    assert same(np.concatenate([forward(row[None]) for row in x]), batched)
    (w1, b1), _, (w2, b2) = params
    assert same((w2.T @ np.tanh(w1.T @ x.T + b1[:, None]) + b2[:, None]).T, batched), "the notes' columns"


@pytest.mark.slow
@pytest.mark.claim("C057")
def test_the_forward_pass_is_deterministic():
    network = fnn.serial(fnn.dense(5, 4), fnn.dropout(0.5), fnn.tanh, fnn.dense(4, 2))
    params, x = network.init(jax.random.key(0)), normal(1, (11, 5))
    first, second = (fnn.predict(network, params, x) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(network.forward(params, x)[0], first, rtol=1e-5, atol=1e-6)


@pytest.mark.claim("C058", "C059", "C060", "C066")
def test_layers_are_counted_without_the_input():
    """One hidden layer makes two layers. W1, W2 and W3 make three, of which two are hidden."""
    assert len(widths(fnn.mlp((2, 4, 1)))) == 2
    three = widths(fnn.mlp((4, 3, 2, 1)))
    assert len(three) == 3
    hidden = three[:-1]
    assert len(hidden) == 2 == len(three) - 1
    assert len(widths(fnn.serial(fnn.logistic_regression(4)))) == 1


@pytest.mark.claim("C060", "C063", "C245")
@pytest.mark.parametrize("n", [4, 12288])
def test_the_number_of_parameters_of_3_2_and_1_units(n):
    network = fnn.serial(fnn.mlp((n, 3, 2, 1), fnn.sigmoid), fnn.sigmoid)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    per_layer = [fnn.count_params(layer) for layer in shapes[0] if layer]
    assert per_layer == [3 * n + 3, 8, 3]
    assert fnn.count_params(shapes) == 3 * n + 14


@pytest.mark.claim("C069", "C070", "C071")
def test_without_activations_a_network_is_one_affine_map():
    network = fnn.mlp((5, 4, 3, 2), fnn.identity)
    params, x = spread_params(network, 0, "float64"), normal(1, (11, 5), "float64")
    (w1, b1), (w2, b2), (w3, b3) = params[::2]
    w, b = w1 @ w2 @ w3, (b1 @ w2 + b2) @ w3 + b3
    assert same(network.forward(params, x)[0], x @ w + b)
    assert off(fnn.mlp((5, 4, 3, 2), fnn.tanh).forward(params, x)[0], x @ w + b) > 0.05
    narrow = fnn.mlp((5, 1, 4), fnn.identity)
    y = np.asarray(narrow.forward(spread_params(narrow, 0, "float64"), x)[0])
    assert np.linalg.matrix_rank(y - np.mean(y, axis=0)) == 1, "and no wider than its narrowest layer"


@pytest.mark.claim("C072")
def test_an_output_that_cannot_be_negative_cannot_follow_negative_targets():
    """Non-negative outputs leave at least the mean square of the negative targets."""
    y = normal(0, (200, 1), "float64")
    z = 3 * normal(1, (200, 1), "float64")
    bound = np.mean(np.minimum(y, 0) ** 2) / 2
    for output in (fnn.relu, fnn.sigmoid):
        assert np.mean(fnn.squared_error.forward(output.forward((), z)[0], y)[0]) > bound
    best, _ = fnn.relu.forward((), y)
    assert np.mean(fnn.squared_error.forward(best, y)[0]) == pytest.approx(bound)
    assert np.mean(fnn.squared_error.forward(fnn.identity.forward((), y)[0], y)[0]) == 0


@pytest.mark.claim("C076")
@pytest.mark.parametrize("depth", [1, 3, 8])
def test_a_few_relu_layers_fold_exponentially_many_pieces(depth):
    """tent(x) = 2 relu(x) - 4 relu(x - ½), composed, has 2^depth pieces with 2 units per layer.

    One layer needs 2^depth - 1 units.
    """
    first = fnn.Dense(np.array([[1.0, 1.0]]), np.array([0.0, -0.5]))
    last = fnn.Dense(np.array([[2.0], [-4.0]]), np.zeros(1))
    network = fnn.serial(*[fnn.dense(1, 2), fnn.relu, fnn.dense(2, 1)] * depth)
    x = (np.arange(2 ** (depth + 2)) + 0.5) / 2 ** (depth + 2)
    y = np.asarray(network.forward((first, (), last) * depth, x[:, None])[0])[:, 0]
    slopes = np.round(np.diff(y) / np.diff(x), 6)
    directions = np.sign(slopes[slopes != 0])  # it is 0 across a kink
    assert abs(slopes[0]) == 2**depth
    assert np.sum(directions[1:] != directions[:-1]) + 1 == 2**depth
