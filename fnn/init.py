r"""Initialisers of weights and biases.

An initialiser is a function (key, shape, dtype=float32) -> array, as in `jax.nn.initializers`.

A weight of shape (*window, n_in, n_out) has fan_in = prod(window)·n_in and fan_out = prod(window)·n_out. The window of
a convolution is its kernel; a dense layer has none. The mean is 0, and the standard deviation is

    lecun    √(1 / fan_in)               keeps the variance through a linear layer (LeCun et al. 1998)
    xavier   √(2 / (fan_in + fan_out))   a compromise between forward and backward pass (Glorot and Bengio 2010)
    he       √(2 / fan_in)               keeps the mean square through a ReLU layer (He et al. 2015)

Course notes sometimes call √(1 / fan_in) "Xavier", and √(2 / (fan_in + fan_out)) "He"; the names here are those of
the papers. The *_uniform variants draw from U(-s, s) with s = √3 times the standard deviation. `orthogonal` draws a
matrix that keeps lengths, for the recurrent weights of `fnn.rnn`, `fnn.gru` and `fnn.lstm`.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from fnn import checks
from fnn.dtypes import wide
from fnn.types import PRNGKey

Initializer = Callable[..., Array]
"""(key, shape, dtype=float32) -> array"""


def zeros(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """All zeros, for biases and for models without hidden layers.

    Args:
      key: not used.
      shape: the shape of the array.
      dtype: its dtype.

    >>> zeros(jax.random.key(0), (2,))
    Array([0., 0.], dtype=float32)
    """
    del key
    return jnp.zeros(shape, dtype)


def normal(stddev: float | Float[Array, ""]) -> Initializer:
    """Return an initialiser that draws from N(0, stddev²).

    Args:
      stddev: the standard deviation. It may be traced, so that a sweep can vary it.

    Returns:
      An initialiser (key, shape, dtype=float32) -> array.

    Raises:
      ValueError: if `stddev` is negative or not finite.

    >>> w = normal(0.01)(jax.random.key(0), (100, 100))
    >>> bool(abs(w.std() - 0.01) < 0.001)
    True
    """
    checks.number("init.normal", "stddev", stddev, minimum=0.0)

    def init(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.normal(key, tuple(shape), dtype) * jnp.asarray(stddev, dtype)

    return init


def uniform(scale: float | Float[Array, ""]) -> Initializer:
    """Return an initialiser that draws from U(-scale, scale).

    Args:
      scale: the bound. It may be traced, so that a sweep can vary it.

    Returns:
      An initialiser (key, shape, dtype=float32) -> array.

    Raises:
      ValueError: if `scale` is negative or not finite.

    >>> w = uniform(0.1)(jax.random.key(0), (100, 100))
    >>> bool(abs(w).max() <= 0.1)
    True
    """
    checks.number("init.uniform", "scale", scale, minimum=0.0)

    def init(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -1.0, 1.0) * jnp.asarray(scale, dtype)

    return init


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of shape (*window, n_in, n_out).

    Args:
      shape: the shape of the weight, of at least two axes.

    Raises:
      ValueError: if the shape has fewer than two axes.

    >>> fans((784, 30)), fans((5, 5, 20, 40))
    ((784, 30), (500, 1000))
    """
    if len(shape) < 2:
        raise checks.fail("init.fans", "shape", "(*window, n_in, n_out)", tuple(shape))
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def lecun_normal(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Draw from N(0, 1 / fan_in) (LeCun et al. 1998).

    Args:
      key: PRNG key.
      shape: the shape (*window, n_in, n_out) of the weight.
      dtype: its dtype.

    Raises:
      ValueError: if the shape has fewer than two axes.

    >>> w = lecun_normal(jax.random.key(0), (100, 400))
    >>> w.shape, round(float(w.std()), 2)
    ((100, 400), 0.1)
    """
    return normal(math.sqrt(1.0 / fans(shape)[0]))(key, shape, dtype)


def xavier_normal(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Draw from N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    Args:
      key: PRNG key.
      shape: the shape (*window, n_in, n_out) of the weight.
      dtype: its dtype.

    Raises:
      ValueError: if the shape has fewer than two axes.

    >>> w = xavier_normal(jax.random.key(0), (100, 400))
    >>> w.shape, round(float(w.std()), 2)
    ((100, 400), 0.06)
    """
    return normal(math.sqrt(2.0 / sum(fans(shape))))(key, shape, dtype)


def xavier_uniform(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Draw from U(-s, s), s = √(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    Args:
      key: PRNG key.
      shape: the shape (*window, n_in, n_out) of the weight.
      dtype: its dtype.

    Raises:
      ValueError: if the shape has fewer than two axes.

    >>> w = xavier_uniform(jax.random.key(0), (100, 400))
    >>> w.shape, round(float(w.std()), 2)
    ((100, 400), 0.06)
    """
    return uniform(math.sqrt(6.0 / sum(fans(shape))))(key, shape, dtype)


def he_normal(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Draw from N(0, 2 / fan_in) (He et al. 2015).

    Args:
      key: PRNG key.
      shape: the shape (*window, n_in, n_out) of the weight.
      dtype: its dtype.

    Raises:
      ValueError: if the shape has fewer than two axes.

    >>> w = he_normal(jax.random.key(0), (100, 400))
    >>> w.shape, round(float(w.std()), 2)
    ((100, 400), 0.14)
    """
    return normal(math.sqrt(2.0 / fans(shape)[0]))(key, shape, dtype)


def he_uniform(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Draw from U(-s, s), s = √(6 / fan_in) (He et al. 2015).

    Args:
      key: PRNG key.
      shape: the shape (*window, n_in, n_out) of the weight.
      dtype: its dtype.

    Raises:
      ValueError: if the shape has fewer than two axes.

    >>> w = he_uniform(jax.random.key(0), (100, 400))
    >>> w.shape, round(float(w.std()), 2)
    ((100, 400), 0.14)
    """
    return uniform(math.sqrt(6.0 / fans(shape)[0]))(key, shape, dtype)


def orthogonal(key: PRNGKey, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Draw an orthogonal matrix uniformly (Saxe, McClelland and Ganguli 2014).

    A square W has W Wᵀ = 1: it keeps the length of a vector, forward and backward, over any number of steps. Otherwise
    the rows or the columns are orthonormal, whichever are fewer. W is the Q of A = Q R for a normal A, with the signs
    of the diagonal of R (Mezzadri 2007). It is computed in float32 at least.

    Args:
      key: PRNG key.
      shape: the shape (*window, n_in, n_out) of the weight, which is taken as a matrix of n_out columns.
      dtype: its dtype.

    Raises:
      ValueError: if the shape has fewer than two axes.

    >>> w = orthogonal(jax.random.key(0), (3, 3))
    >>> bool(jnp.abs(w @ w.T - jnp.eye(3)).max() < 1e-6)
    True
    """
    fans(shape)  # checks the number of axes
    rows, columns = math.prod(shape[:-1]), shape[-1]
    a = jax.random.normal(key, (max(rows, columns), min(rows, columns)), wide(dtype))
    q, r = jnp.linalg.qr(a)
    q = q * jnp.where(jnp.diagonal(r) < 0, -1, 1).astype(q.dtype)[None, :]
    return (q if rows >= columns else q.T).reshape(shape).astype(dtype)
