"""Claims on activations: formulas, slopes, limits and means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.columns import same, sigma
from tests.support.oracles import normal

pytestmark = pytest.mark.usefixtures("x64")
Z = np.linspace(-30, 30, 601)[None]
SAMPLE = normal(0, (1, 200_000), "float64")


def value(layer, z):
    return np.asarray(layer.forward((), np.atleast_2d(np.asarray(z, float)))[0])


def slope(layer, z):
    z = np.atleast_2d(np.asarray(z, float))
    return np.asarray(layer.backward((), layer.forward((), z)[1], np.ones_like(z))[1])


@pytest.mark.claim("C079", "C080", "C100")
def test_the_sigmoid():
    assert same(value(fnn.sigmoid, Z), sigma(Z))
    np.testing.assert_allclose(value(fnn.sigmoid, Z)[0], [1 / (1 + np.exp(-z)) for z in Z[0]], rtol=1e-13)
    with pytest.warns(RuntimeWarning, match="overflow"):
        sigma(np.array([-1000.0]))
    np.testing.assert_array_equal(value(fnn.sigmoid, [-1000, 0, 1000]), [[0, 0.5, 1]])
    inside = value(fnn.sigmoid, np.linspace(-30, 30, 301))
    assert 0 < inside.min() < inside.max() < 1
    assert np.all(np.diff(inside) > 0)
    assert value(fnn.sigmoid, [-30]) < 1e-12 < 1 - 1e-12 < value(fnn.sigmoid, [30])


@pytest.mark.claim("C081", "C082", "C089", "C086", "C079", "C085")
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_slopes_and_how_they_vanish(name):
    layer = getattr(fnn, name)
    a, got, h = value(layer, Z), slope(layer, Z), 1e-6
    assert same(got, {"sigmoid": a * (1 - a), "tanh": 1 - a**2}[name])
    np.testing.assert_allclose(got, (value(layer, Z + h) - value(layer, Z - h)) / (2 * h), atol=1e-9)
    assert got.max() == slope(layer, 0) == {"sigmoid": 0.25, "tanh": 1}[name]
    five, ten = slope(layer, [5.0, 10.0])[0]
    assert (five, ten) == pytest.approx({"sigmoid": (6.6e-3, 4.5e-5), "tanh": (1.8e-4, 8.2e-9)}[name], rel=0.02)


@pytest.mark.claim("C085", "C087")
def test_tanh_is_the_sigmoid_shifted_and_scaled():
    z = np.linspace(-10, 10, 201)[None]
    tanh = value(fnn.tanh, z)
    assert same(tanh, (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)))
    assert same(tanh, 2 * value(fnn.sigmoid, 2 * z) - 1)
    assert -1 < tanh[0, 1] < tanh[0, -2] < 1
    for shift in np.linspace(-1, 1, 21):
        assert np.abs(value(fnn.sigmoid, z) + shift - tanh).max() > 0.45, "no shift alone comes close"


@pytest.mark.claim("C084", "C095")
def test_which_activations_are_centred_on_zero():
    means = {name: value(getattr(fnn, name), SAMPLE).mean() for name in ("sigmoid", "tanh", "relu")}
    assert means["sigmoid"] == pytest.approx(0.5, abs=0.005)
    assert means["tanh"] == pytest.approx(0, abs=0.005)
    assert means["relu"] == pytest.approx(1 / np.sqrt(2 * np.pi), abs=0.005)


@pytest.mark.claim("C090", "C092", "C097")
def test_relu_and_its_leaky_form():
    z = np.array([-2.0, -0.5, 0.0, 0.5, 3.0])
    np.testing.assert_array_equal(value(fnn.relu, z), [[0, 0, 0, 0.5, 3]])
    np.testing.assert_array_equal(slope(fnn.relu, z), [[0, 0, 0, 1, 1]])
    np.testing.assert_allclose(value(fnn.leaky_relu(), z)[0], np.maximum(0.01 * z, z), rtol=1e-15)
    np.testing.assert_array_equal(slope(fnn.leaky_relu(), z), [[0.01, 0.01, 0.01, 1, 1]])
    at_zero = jax.grad(lambda z: jnp.maximum(z, 0.0))(0.0), jax.grad(jax.nn.relu)(0.0)
    assert tuple(map(float, at_zero)) == (0.5, 0.0), "at 0 others choose otherwise"


@pytest.mark.claim("C094", "C097")
@pytest.mark.parametrize(("activation", "learns"), [(fnn.relu, False), (fnn.leaky_relu(), True)], ids=["relu", "leaky"])
def test_a_unit_off_for_all_examples_gets_no_gradient_unless_it_leaks(activation, learns):
    network = fnn.mlp((4, 6, 1), activation)
    x, y = normal(0, (30, 4), "float64"), normal(1, (30, 1), "float64")
    start = fnn.Dense(normal(2, (4, 6), "float64"), np.full(6, -20.0)), (), fnn.Dense(np.ones((6, 1)), np.zeros(1))
    gradient = fnn.value_and_grad(network, fnn.squared_error)(start, x, y)[1]
    assert bool(jnp.any(gradient[0].w != 0)) == learns
    assert bool(jnp.any(gradient[0].b != 0)) == learns


@pytest.mark.claim("C096")
def test_relu_is_the_default():
    assert [layer.name for layer in fnn.mlp((4, 3, 2)).layers][1] == "relu"


@pytest.mark.claim("C099")
def test_any_function_can_be_an_activation():
    sine = fnn.elementwise(jnp.sin, jnp.cos)
    z = normal(0, (3, 4), "float64")
    assert same(value(sine, z), np.sin(z))
    assert same(slope(sine, z), np.cos(z))
    assert np.abs(value(sine, 2 * z) - 2 * value(sine, z)).max() > 0.1, "not linear"


@pytest.mark.claim("C264")
@pytest.mark.parametrize("units", [3, 10, 40])
def test_a_polynomial_activation_adds_nothing_with_more_units(units):
    """With one input and g = z², outputs of any number of units are combinations of 1, x and x²."""
    x = np.linspace(0, 1, 200)[:, None]
    hidden = fnn.dense(1, units).forward(
        fnn.Dense(normal(0, (1, units), "float64"), normal(1, (units,), "float64")), x
    )[0]
    square, relu = (
        np.asarray(layer.forward((), hidden)[0])
        for layer in (fnn.elementwise(lambda z: z * z, lambda z: 2 * z), fnn.relu)
    )
    assert np.linalg.matrix_rank(square, tol=1e-9) == 3
    target = np.sin(4 * np.pi * x[:, 0])

    def misfit(features):
        features = np.concatenate([features, np.ones_like(x)], axis=1)
        fitted = features @ np.linalg.lstsq(features, target, rcond=None)[0]
        return np.sqrt(np.mean((fitted - target) ** 2))

    assert misfit(square) > 0.5
    if units == 40:
        assert misfit(relu) < 0.5 * misfit(square)
