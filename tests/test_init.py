"""Initialisers: variance, fans, and agreement with those of the same name in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.init import fans


@pytest.mark.claim("C163", "C165")
@pytest.mark.parametrize("shape", [(300, 200), (5, 5, 20, 40), (3, 7, 30, 50)])
@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (fnn.init.lecun_normal, lambda n_in, n_out: 1 / n_in),
        (fnn.init.xavier_normal, lambda n_in, n_out: 2 / (n_in + n_out)),
        (fnn.init.xavier_uniform, lambda n_in, n_out: 2 / (n_in + n_out)),
        (fnn.init.he_normal, lambda n_in, n_out: 2 / n_in),
        (fnn.init.he_uniform, lambda n_in, n_out: 2 / n_in),
    ],
)
def test_variances(initializer, variance, shape, key):
    w = np.asarray(initializer(key, shape))
    expected = variance(*fans(shape))
    assert w.dtype == np.float32
    assert abs(w.var() / expected - 1) < 0.05
    assert abs(w.mean()) < 4 * np.sqrt(expected / w.size)
    if "uniform" in initializer.__name__:
        assert np.abs(w).max() <= np.sqrt(3 * expected) * (1 + 1e-6)


@pytest.mark.parametrize("name", ["lecun_normal", "xavier_uniform", "he_uniform"])
def test_same_fans_as_jax(name, key):
    reference = {"xavier_uniform": "glorot_uniform"}.get(name, name)
    shape = (3, 3, 64, 128)
    ours, theirs = getattr(fnn.init, name)(key, shape), getattr(jax.nn.initializers, reference)()(key, shape)
    np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.02)


def test_fans_of_dense_and_convolution():
    assert fans((784, 30)) == (784, 30)
    assert fans((5, 5, 20, 40)) == (5 * 5 * 20, 5 * 5 * 40)


def test_dtype_and_traced_scale(key, x64):
    assert fnn.init.he_normal(key, (3, 4), jnp.float64).dtype == jnp.float64
    stds = jax.vmap(lambda s: fnn.init.normal(s)(key, (50, 50)).std())(jnp.array([0.1, 1.0], jnp.float32))
    np.testing.assert_allclose(stds[1] / stds[0], 10, rtol=1e-5)
    assert not fnn.init.zeros(key, (3,)).any()


@pytest.mark.slow
@pytest.mark.claim("C166", "C169")
def test_he_keeps_the_scale_of_relu_layers_where_the_notes_formula_loses_it(key):
    """Width 256, depth 20: E[a²] is kept by √(2/n_in), and vanishes with √(2/(n_in + n_out))."""
    ratios = {}
    for name in ("he_normal", "xavier_normal"):
        network = fnn.repeat(fnn.serial(fnn.dense(256, 256, w_init=getattr(fnn.init, name)), fnn.relu), 20)
        runs = []
        for seed in range(6):
            x = jax.random.normal(jax.random.key(seed), (100, 256))
            y, _ = network.forward(network.init(jax.random.key(100 + seed)), x)
            runs.append(float(jnp.mean(y**2)))
        ratios[name] = np.exp(np.mean(np.log(runs)))
    assert 0.3 < ratios["he_normal"] < 3
    assert ratios["xavier_normal"] < 1e-4


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (2, 3, 4)])
def test_orthogonal_matrices_have_orthonormal_rows_or_columns(shape, key, x64):
    w = np.asarray(fnn.init.orthogonal(key, shape, "float64")).reshape(-1, shape[-1])
    small = w.T @ w if len(w) >= shape[-1] else w @ w.T
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-14)
    assert fnn.init.orthogonal(key, shape, "bfloat16").dtype == "bfloat16"


def test_orthogonal_matrices_are_drawn_uniformly(key):
    """Without the signs of R, the diagonal of Q would not be symmetric about 0."""
    w = np.asarray(jax.vmap(lambda k: fnn.init.orthogonal(k, (3, 3)))(jax.random.split(key, 2000)))
    assert np.abs(w.mean(0)).max() < 4 / np.sqrt(3 * 2000)
