"""Normalization: batch_norm over the examples, layer_norm over the features.

Both normalize x̂ = (x - μ) / s with s = √(σ² + ε), where μ and σ² are the mean and variance of x over a set of N
entries. They share the backward pass dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ ∘ x̂)) / s with means over the same set.
Both passes are computed in float32 at least: the squares of a few hundred overflow in float16.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import wide, widened, widest
from fnn.layers.combinators import calibrated
from fnn.layers.streams import per_position
from fnn.split_params import arrays
from fnn.types import Layer, Params, PRNGKey, Residuals


def _normalize(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array]:
    """x̂ = (x - μ) / s; returns x̂ and 1/s"""
    centred = x - jnp.mean(x, axes, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(centred * centred, axes, keepdims=True) + epsilon)
    return centred * inverse, inverse


def _normalize_backward(xhat: Array, inverse: Array, dxhat: Array, axes: tuple[int, ...]) -> Array:
    """dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ ∘ x̂)) / s"""
    mean = jnp.mean(dxhat, axes, keepdims=True)
    return (dxhat - mean - xhat * jnp.mean(dxhat * xhat, axes, keepdims=True)) * inverse


def _as_row(vector: Array, like: Array) -> Array:
    """Reshape (n,) to (1, …, 1, n), in the rank and dtype of `like`."""
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - 1) + vector.shape)


def _sum_rows(value: Array, like: Array) -> Array:
    """Sum over all axes but the last, in float32 at least; the result has the dtype of `like`."""
    return jnp.sum(value, tuple(range(value.ndim - 1)), dtype=wide(widest(value, like))).astype(like.dtype)


def _last_axis(function: str, x: Array, n: int) -> Array:
    x = checks.floating(function, "x", x)
    if x.ndim < 2 or x.shape[-1] != n:
        raise checks.fail(function, "x", f"of shape (batch, ..., {n})", x)
    return x


_MORE_THAN_ONE = "of more than one value per feature in training"
_OTHER_BATCH_SIZE = "Choose another batch_size: the last batch of an epoch has only the remaining examples."


class BatchNorm(NamedTuple):
    """The parameters of `batch_norm`: scale γ, shift β, population mean and variance."""

    gamma: Float[Array, " n"]
    beta: Float[Array, " n"]
    mean: Float[Array, " n"]
    var: Float[Array, " n"]


def batch_norm(n: int, epsilon: float = 1e-5) -> Layer:
    """Batch normalization (Ioffe and Szegedy 2015).

    y = γ ∘ x̂ + β, x̂ = (x - μ) / √(σ² + ε), for each feature (the last axis), over all other axes

    dγ = Σ dy ∘ x̂, dβ = Σ dy, dx̂ = dy ∘ γ, dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ ∘ x̂)) / √(σ² + ε)

    With a key (training), μ and σ² are the statistics of the batch; σ² divides by N, not N - 1. N is the number of
    examples times that of the positions of an image, and must be at least 2: with N = 1, y is β. The parameters `mean`
    and `var` are then not used, and their gradient is zero. Without a key (evaluation), μ and σ² are the parameters
    `mean` and `var`, and `backward` also returns their gradients. `fnn.calibrate` sets them from the training data, and
    `fit` calls it;
    until then they are 0 and 1.

    Args:
      n: number of features, the size of the last axis of x. For images this is the number of channels.
      epsilon: ε, added to the variance.

    Returns:
      A Layer with parameters `BatchNorm(gamma, beta, mean, var)`, each of shape (n,). x and y have shape (batch, …, n).

    Raises:
      ValueError: if an argument is invalid, x or a parameter has another shape, or N is 1 in training.

    >>> layer = batch_norm(2)
    >>> x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
    >>> layer.forward(layer.init(jax.random.key(0)), x, jax.random.key(1))[0].round(3)
    Array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """
    n = checks.positive_int("batch_norm", "n", n)
    checks.number("batch_norm", "epsilon", epsilon, minimum=0.0)
    shapes = dict.fromkeys(BatchNorm._fields, (n,))

    def init(key: PRNGKey) -> BatchNorm:
        return BatchNorm(*(jnp.full(n, value, jnp.float32) for value in (1, 0, 0, 1)))

    def forward(params: BatchNorm, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = γ ∘ x̂ + β"""
        checks.fields("batch_norm", params, BatchNorm, **shapes)
        gamma, beta, mean, var = params.gamma, params.beta, params.mean, params.var
        x = _last_axis("batch_norm", x, n)
        dtype = widest(x, gamma, beta)  # the statistics may be wider: `mixed_precision` does not narrow them
        z = x.astype(wide(widest(dtype, mean, var)))
        if key is not None and math.prod(x.shape[:-1]) == 1:
            raise checks.fail("batch_norm", "the batch", _MORE_THAN_ONE, x, advice=_OTHER_BATCH_SIZE)
        if key is None:
            inverse = jax.lax.rsqrt(_as_row(var, z) + epsilon)
            xhat, batch = (z - _as_row(mean, z)) * inverse, None
        else:
            xhat, inverse = _normalize(z, tuple(range(x.ndim - 1)), epsilon)
            batch = inverse[:0]  # no elements: it only records that the statistics are those of the batch
        y = _as_row(gamma, z) * xhat + _as_row(beta, z)
        return y.astype(dtype), (xhat.astype(dtype), inverse, batch, x[:0])

    def backward(params: BatchNorm, residuals: Residuals, dy: Array) -> tuple[BatchNorm, Array]:
        """dγ = Σ dy ∘ x̂, dβ = Σ dy, dx̂ = dy ∘ γ, and dx by `_normalize_backward`

        With stored statistics: dx = dx̂ / s, dmean = -Σ dx, dvar = -½ Σ dx̂ ∘ x̂ / s²
        """
        gamma, beta, mean, var = params.gamma, params.beta, params.mean, params.var
        xhat, inverse, batch, like = residuals
        xhat, dy = widened(xhat), widened(dy)
        dgamma, dbeta = _sum_rows(dy * xhat, gamma), _sum_rows(dy, beta)
        dxhat = dy * _as_row(gamma, dy)
        if batch is None:
            dx = dxhat * inverse
            dmean, dvar = -_sum_rows(dx, mean), -0.5 * _sum_rows(dx * xhat * inverse, var)
        else:
            dx = _normalize_backward(xhat, inverse, dxhat, tuple(range(dy.ndim - 1)))
            dmean, dvar = jnp.zeros_like(mean), jnp.zeros_like(var)
        return BatchNorm(dgamma, dbeta, dmean, dvar), dx.astype(like.dtype)

    def calibrate(params: BatchNorm, x: Array) -> tuple[BatchNorm, Array]:
        """mean = mean(x), var = mean((x - mean)²) over all of x"""
        params = checks.fields("batch_norm", params, BatchNorm, **shapes)
        z = _last_axis("batch_norm", x, n)
        z = z.astype(wide(widest(z, *params)))
        axes = tuple(range(z.ndim - 1))
        mean = jnp.mean(z, axes)
        var = jnp.mean(jnp.square(z - _as_row(mean, z)), axes)
        params = params._replace(mean=mean.astype(params.mean.dtype), var=var.astype(params.var.dtype))
        return params, forward(params, x)[0]

    return Layer(init, forward, backward, calibrate, name=f"batch_norm({n})")


class LayerNorm(NamedTuple):
    """The parameters of `layer_norm`: scale γ and shift β."""

    gamma: Float[Array, " n"]
    beta: Float[Array, " n"]


def layer_norm(n: int, epsilon: float = 1e-5) -> Layer:
    """Layer normalization (Ba, Kiros and Hinton 2016).

    y = γ ∘ x̂ + β, x̂ = (x - μ) / √(σ² + ε), with μ and σ² over the last axis

    dγ = Σ dy ∘ x̂, dβ = Σ dy, dx̂ = dy ∘ γ, dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ ∘ x̂)) / √(σ² + ε)

    Each example is normalized by itself, in training and in evaluation alike.

    Args:
      n: number of features, the size of the last axis of x.
      epsilon: ε, added to the variance.

    Returns:
      A Layer with parameters `LayerNorm(gamma, beta)`, each of shape (n,). x and y have shape (batch, …, n).

    Raises:
      ValueError: if an argument is invalid, or x or a parameter has another shape.

    >>> layer = layer_norm(3)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.array([[1.0, 2.0, 3.0]]))[0].round(3)
    Array([[-1.225,  0.   ,  1.225]], dtype=float32)
    """
    n = checks.positive_int("layer_norm", "n", n)
    checks.number("layer_norm", "epsilon", epsilon, minimum=0.0)

    def init(key: PRNGKey) -> LayerNorm:
        return LayerNorm(jnp.ones(n, jnp.float32), jnp.zeros(n, jnp.float32))

    def forward(params: LayerNorm, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = γ ∘ x̂ + β"""
        checks.fields("layer_norm", params, LayerNorm, gamma=(n,), beta=(n,))
        gamma, beta = params.gamma, params.beta
        x = _last_axis("layer_norm", x, n)
        dtype = widest(x, gamma, beta)
        z = x.astype(wide(dtype))
        xhat, inverse = _normalize(z, (-1,), epsilon)
        y = _as_row(gamma, z) * xhat + _as_row(beta, z)
        return y.astype(dtype), (xhat.astype(dtype), inverse, x[:0])

    def backward(params: LayerNorm, residuals: Residuals, dy: Array) -> tuple[LayerNorm, Array]:
        """dγ = Σ dy ∘ x̂, dβ = Σ dy, dx̂ = dy ∘ γ, and dx by `_normalize_backward`"""
        gamma, beta = params.gamma, params.beta
        xhat, inverse, like = residuals
        xhat, dy = widened(xhat), widened(dy)
        dx = _normalize_backward(xhat, inverse, dy * _as_row(gamma, dy), (-1,))
        return LayerNorm(_sum_rows(dy * xhat, gamma), _sum_rows(dy, beta)), dx.astype(like.dtype)

    return per_position(Layer(init, forward, backward, name=f"layer_norm({n})"), features=True)


def calibrate(network: Layer, params: Params, x: Array) -> Params:
    """Set the population statistics of every `batch_norm` in a network.

    The statistics are computed over all of x, layer after layer. The parameters of a network without `batch_norm` are
    returned unchanged. `fit` and `make_run` do this themselves.

    Args:
      network: the layer.
      params: its parameters.
      x: the training inputs (examples, …).

    Returns:
      The parameters with new statistics.

    >>> layer = batch_norm(1)
    >>> calibrate(layer, layer.init(jax.random.key(0)), jnp.array([[1.0], [3.0]])).mean
    Array([2.], dtype=float32)
    """
    checks.layer("calibrate", "network", network)
    return arrays(params if network.calibrate is None else calibrated(network, params, x)[0])
