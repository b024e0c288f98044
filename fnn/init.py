r"""Initialisers: (key, shape, dtype=float32) -> array, drop-in for those of `jax.nn.initializers`.

A weight w of shape (*window, n_in, n_out) has fan_in = prod(window)·n_in and fan_out = prod(window)·n_out: dense has
no window, a convolution's is its kernel. Standard deviations (all zero-mean; *_uniform draws from ±√3 times them):

    lecun    √(1 / fan_in)               keeps the variance of a linear layer (LeCun et al. 1998; the notes' "Xavier")
    xavier   √(2 / (fan_in + fan_out))   the compromise between forward and backward (Glorot and Bengio 2010)
    he       √(2 / fan_in)               keeps E[a²] through ReLU (He et al. 2015)

The notes print √(2/(n_in + n_out)) under He's name: that is Xavier Glorot's rule.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from fnn import checks
from fnn.types import PRNGKey

Initializer = Callable[..., Array]


def zeros(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """All zeros: for biases, and for a model without hidden layers."""
    del key
    return jnp.zeros(shape, dtype)


def normal(stddev: float | Float[Array, ""]) -> Initializer:
    """N(0, stddev²). `stddev` is the standard deviation and may be traced, so that a sweep can vary it.

    >>> w = normal(0.01)(jax.random.key(0), (100, 100))
    >>> bool(abs(w.std() - 0.01) < 0.001)
    True
    """
    checks.number("init.normal", "stddev", stddev, minimum=0.0)

    def init(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.normal(key, tuple(shape), dtype) * jnp.asarray(stddev, dtype)

    return init


def uniform(scale: float | Float[Array, ""]) -> Initializer:
    """U(-scale, scale); `scale` may be traced."""
    checks.number("init.uniform", "scale", scale, minimum=0.0)

    def init(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -1.0, 1.0) * jnp.asarray(scale, dtype)

    return init


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (*window, n_in, n_out).

    >>> fans((784, 30)), fans((5, 5, 20, 40))
    ((784, 30), (500, 1000))
    """
    if len(shape) < 2:
        raise checks.fail("init.fans", "shape", "(*window, n_in, n_out)", tuple(shape))
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def lecun_normal(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """N(0, 1 / fan_in)."""
    return normal(math.sqrt(1.0 / fans(shape)[0]))(key, shape, dtype)


def xavier_normal(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """N(0, 2 / (fan_in + fan_out))."""
    return normal(math.sqrt(2.0 / sum(fans(shape))))(key, shape, dtype)


def xavier_uniform(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """U(-s, s) with s = √(6 / (fan_in + fan_out)), of variance 2 / (fan_in + fan_out)."""
    return uniform(math.sqrt(6.0 / sum(fans(shape))))(key, shape, dtype)


def he_normal(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """N(0, 2 / fan_in)."""
    return normal(math.sqrt(2.0 / fans(shape)[0]))(key, shape, dtype)


def he_uniform(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """U(-s, s) with s = √(6 / fan_in), of variance 2 / fan_in."""
    return uniform(math.sqrt(6.0 / fans(shape)[0]))(key, shape, dtype)
