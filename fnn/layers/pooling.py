"""Pooling of images x (batch, height, width, channels). Each backward is under its forward."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks
from fnn.layers.activations import parameterless
from fnn.layers.windows import Pair, fold, pad_widths, unfold
from fnn.types import Layer, Residuals


def _pool_sizes(function: str, size: int | Pair, stride: int | Pair | None) -> tuple[Pair, Pair]:
    window = checks.pair(function, "size", size)
    return window, window if stride is None else checks.pair(function, "stride", stride)


def _image(function: str, x: Array, window: Pair, strides: Pair) -> None:
    checks.shaped(function, "x", x, ("batch", "height", "width", "channels"))
    pad_widths(function, x.shape[1:3], window, strides, "VALID")


def _positions(window: int, axis: int, ndim: int) -> Array:
    """0 … window - 1 along an axis, to be compared with what `_largest` returns."""
    dtype = jnp.int8 if window <= jnp.iinfo(jnp.int8).max else jnp.int32
    return jax.lax.broadcasted_iota(dtype, [window if i == axis else 1 for i in range(ndim)], axis)


def _largest(views: Array, axis: int) -> tuple[Array, Array]:
    """y = views_k, and k, the position of the largest entry of each window: the first of equals; a NaN beats all."""
    window = views.shape[axis]
    positions = _positions(window, axis, views.ndim)
    parts = [jax.lax.slice_in_dim(views, p, p + 1, axis=axis) for p in range(window)]
    largest, position = parts[0], jnp.zeros(parts[0].shape, positions.dtype)
    for p, part in enumerate(parts[1:], start=1):
        stays = (largest >= part) | (largest != largest)
        largest = jnp.where(stays, largest, part)
        position = jnp.where(stays, position, positions.dtype.type(p))
    # summed out of its window, not passed on from the loop above: XLA would repeat the loop in all that reads y
    return jnp.sum(jnp.where(position == positions, views, 0), axis), position


def _largest_backward(position: Array, dy: Array, window: int, axis: int) -> Array:
    """dviews_p = dy at the position of the largest, 0 elsewhere"""
    return jnp.where(position == _positions(window, axis, position.ndim), jnp.expand_dims(dy, axis), 0)


def max_pool2d(size: int | Pair, stride: int | Pair | None = None) -> Layer:
    """The largest entry of each window: Y_ij = max_pq X_(i sh + p, j sw + q). The stride is the size unless given.

    Of equal entries the first, in reading order, counts as the largest and gets the gradient; a NaN beats them all.

    >>> max_pool2d(2).forward((), jnp.arange(16.0).reshape(1, 4, 4, 1))[0].ravel()
    Array([ 5.,  7., 13., 15.], dtype=float32)
    """
    window, strides = _pool_sizes("max_pool2d", size, stride)

    def forward(x: Array) -> tuple[Array, Residuals]:
        """R_rj = max_q X_(r, j sw + q), Y_ij = max_p R_(i sh + p, j)"""
        _image("max_pool2d", x, window, strides)
        rows, across = _largest(unfold(x, 2, window[1], strides[1]), 3)
        y, down = _largest(unfold(rows, 1, window[0], strides[0]), 2)
        return y, (across, down, x[:0])

    def backward(residuals: Residuals, dy: Array) -> Array:
        """dR_(i sh + p, j) += dY_ij, dX_(r, j sw + q) += dR_rj, at the p and q of the largest entries"""
        across, down, like = residuals
        drows = fold(_largest_backward(down, dy, window[0], 2), 1, like.shape[1], strides[0])
        return fold(_largest_backward(across, drows, window[1], 3), 2, like.shape[2], strides[1])

    return parameterless(f"max_pool2d({window[0]}x{window[1]})", forward, backward)


def _repeated(dy: Array, window: int, axis: int) -> Array:
    return jnp.repeat(jnp.expand_dims(dy, axis), window, axis)


def avg_pool2d(size: int | Pair, stride: int | Pair | None = None) -> Layer:
    """The mean of each window: Y_ij = 1/(kh kw) Σ_pq X_(i sh + p, j sw + q). The stride is the size unless given.

    >>> avg_pool2d(2).forward((), jnp.arange(16.0).reshape(1, 4, 4, 1))[0].ravel()
    Array([ 2.5,  4.5, 10.5, 12.5], dtype=float32)
    """
    window, strides = _pool_sizes("avg_pool2d", size, stride)
    share = 1 / (window[0] * window[1])

    def forward(x: Array) -> tuple[Array, Array]:
        """R_rj = Σ_q X_(r, j sw + q), Y_ij = 1/(kh kw) Σ_p R_(i sh + p, j)"""
        _image("avg_pool2d", x, window, strides)
        rows = jnp.sum(unfold(x, 2, window[1], strides[1]), 3)
        return jnp.sum(unfold(rows, 1, window[0], strides[0]), 2) * share, x[:0]

    def backward(like: Array, dy: Array) -> Array:
        """dR_(i sh + p, j) += dY_ij / (kh kw), dX_(r, j sw + q) += dR_rj"""
        drows = fold(_repeated(dy * share, window[0], 2), 1, like.shape[1], strides[0])
        return fold(_repeated(drows, window[1], 3), 2, like.shape[2], strides[1])

    return parameterless(f"avg_pool2d({window[0]}x{window[1]})", forward, backward)
