"""Reference gradients, and the one table of tolerances of the test suite."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from fnn import Layer, Loss

# largest difference allowed, relative to the largest entry of the whole gradient
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def normal(seed: int, shape, dtype="float32") -> np.ndarray:
    """Draw standard normal numbers with NumPy, which compiles nothing."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def spread_params(layer: Layer, seed: int, dtype="float32"):
    """Draw parameters with no entry at its initial value, since zeros hide mistakes."""

    def fill(path, leaf):
        noise = 0.5 * normal(seed + zlib.crc32(jax.tree_util.keystr(path).encode()), leaf.shape, dtype)
        return np.exp(noise) if getattr(path[-1], "name", "") in ("var", "gamma") else noise

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(layer.init, jax.random.key(0)))


def cotangent(layer: Layer, params, x, key=None, seed: int = 99) -> np.ndarray:
    """Draw a gradient with respect to the layer's output."""
    y = jax.eval_shape(lambda p, x: layer.forward(p, x, key)[0], params, x)
    return normal(seed, y.shape, y.dtype)


def by_hand(layer: Layer, params, x, dy, key=None):
    """Return (dparams, dx) from the layer's own backward."""
    return layer.backward(params, layer.forward(params, x, key)[1], dy)


def by_autodiff(layer: Layer, params, x, dy, key=None):
    """Return (dparams, dx) from jax.vjp of the layer's forward."""
    return jax.vjp(lambda p, x: layer.forward(p, x, key)[0], params, x)[1](dy)


def loss_by_hand(loss: Loss, prediction, target, dvalue):
    return loss.backward(loss.forward(prediction, target)[1], dvalue)


def loss_by_autodiff(loss: Loss, prediction, target, dvalue):
    return jax.vjp(lambda p: loss.forward(p, target)[0], prediction)[1](dvalue)[0]


def conditioning(gradient, *args) -> float:
    """Return how far a gradient moves if its inputs move by a rounding error.

    The largest of 3 draws of x (1 + 2uξ), ξ = ±1.
    """

    def shaken(seed):
        def shake(leaf):
            sign = np.random.default_rng(seed).choice([-1.0, 1.0], np.shape(leaf))
            return (leaf * (1 + jnp.finfo(leaf.dtype).eps * sign)).astype(leaf.dtype)

        return jax.tree.map(shake, args)

    base = gradient(*args)
    return max(largest(jax.tree.map(jnp.subtract, base, gradient(*shaken(seed)))) for seed in range(3))


def largest(tree) -> float:
    """Return the largest absolute entry of all leaves."""
    return max(
        (float(np.max(np.abs(np.asarray(leaf)))) for leaf in jax.tree.leaves(tree) if np.size(leaf)), default=0.0
    )


def assert_same_structure(got, expected):
    """Check for equal trees, shapes and dtypes."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype


def assert_close(got, expected, dtype, slack: float = 0.0, what: str = ""):
    """Check for equality within the table's tolerance, plus an absolute slack.

    The tolerance is relative to the largest entry of all leaves.
    """
    got, expected = jax.tree.map(np.asarray, (got, expected))
    assert_same_structure(got, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got)), f"{what}: not finite"
    bound = TOLERANCE[np.dtype(dtype).name] * largest(expected) + 16 * slack
    difference = largest(jax.tree.map(np.subtract, got, expected))
    assert difference <= bound, f"{what}: off by {difference:.3g}, allowed {bound:.3g}"
