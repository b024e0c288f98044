"""Pooling layers for images x (batch, height, width, channels).

A window of kh x kw slides over the image in strides of sh x sw. Output (i, j) depends on the pixels (i sh + p,
j sw + q) with 0 <= p < kh and 0 <= q < kw. Rows and columns are pooled one after the other.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks
from fnn.dtypes import wide, widened
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
    """Return 0 … window - 1 along an axis."""
    dtype = jnp.int8 if window <= jnp.iinfo(jnp.int8).max else jnp.int32
    return jax.lax.broadcasted_iota(dtype, [window if i == axis else 1 for i in range(ndim)], axis)


def _max(windows: Array, axis: int) -> tuple[Array, Array]:
    """y = windows_k, k = argmax_p windows_p along the axis; returns y and k

    k is the first of equal entries. A NaN counts as larger than any number.
    """
    window = windows.shape[axis]
    positions = _positions(window, axis, windows.ndim)
    parts = [jax.lax.slice_in_dim(windows, p, p + 1, axis=axis) for p in range(window)]
    largest, position = parts[0], jnp.zeros(parts[0].shape, positions.dtype)
    for p, part in enumerate(parts[1:], start=1):
        keep = (largest >= part) | (largest != largest)
        largest = jnp.where(keep, largest, part)
        position = jnp.where(keep, position, positions.dtype.type(p))
    # y is a sum over the window, not `largest`: XLA would repeat the loop above in every use of y (jax 0.10, CPU)
    return jnp.sum(jnp.where(position == positions, windows, 0), axis), position


def _max_backward(position: Array, dy: Array, window: int, axis: int) -> Array:
    """dwindows_k = dy, dwindows_p = 0 for p ≠ k"""
    return jnp.where(position == _positions(window, axis, position.ndim), jnp.expand_dims(dy, axis), 0)


def max_pool2d(size: int | Pair, stride: int | Pair | None = None) -> Layer:
    """Max pooling: the largest entry of each window (Zhou and Chellappa 1988).

    Y_ij = max_pq X_(i sh + p, j sw + q)

    The gradient dY_ij goes to the largest entry of its window, to the first one in reading order if several are equal.
    If a window has a NaN, its output is NaN.

    Args:
      size: kh and kw of the window, as a pair or as one number for both.
      stride: sh and sw, likewise. Default: `size`, so that windows do not overlap.

    Returns:
      A Layer without parameters, from x (batch, height, width, channels) to y (batch, height_out, width_out, channels)
      with height_out = (height - kh) // sh + 1, and likewise for the width.

    Raises:
      ValueError: if an argument is invalid, or the image is smaller than the window.

    >>> max_pool2d(2).forward((), jnp.arange(16.0).reshape(1, 4, 4, 1))[0].ravel()
    Array([ 5.,  7., 13., 15.], dtype=float32)
    """
    window, strides = _pool_sizes("max_pool2d", size, stride)

    def forward(x: Array) -> tuple[Array, Residuals]:
        """R_rj = max_q X_(r, j sw + q), Y_ij = max_p R_(i sh + p, j)"""
        _image("max_pool2d", x, window, strides)
        rows, across = _max(unfold(x, 2, window[1], strides[1]), 3)
        y, down = _max(unfold(rows, 1, window[0], strides[0]), 2)
        return y, (across, down, x[:0])

    def backward(residuals: Residuals, dy: Array) -> Array:
        """dR_(i sh + p, j) += dY_ij, dX_(r, j sw + q) += dR_rj, for the p and q of the largest entries"""
        across, down, like = residuals
        drows = fold(_max_backward(down, widened(dy), window[0], 2), 1, like.shape[1], strides[0])
        return fold(_max_backward(across, drows, window[1], 3), 2, like.shape[2], strides[1]).astype(dy.dtype)

    return parameterless(f"max_pool2d({window[0]}x{window[1]})", forward, backward)


def _repeat(dy: Array, window: int, axis: int) -> Array:
    return jnp.repeat(jnp.expand_dims(dy, axis), window, axis)


def avg_pool2d(size: int | Pair, stride: int | Pair | None = None) -> Layer:
    """Average pooling: the mean of each window (LeCun et al. 1998).

    Y_ij = 1/(kh kw) Σ_pq X_(i sh + p, j sw + q), dX_(i sh + p, j sw + q) += dY_ij / (kh kw)

    Sums are computed in float32 at least.

    Args:
      size: kh and kw of the window, as a pair or as one number for both.
      stride: sh and sw, likewise. Default: `size`, so that windows do not overlap.

    Returns:
      A Layer without parameters, from x (batch, height, width, channels) to y (batch, height_out, width_out, channels)
      with height_out = (height - kh) // sh + 1, and likewise for the width.

    Raises:
      ValueError: if an argument is invalid, or the image is smaller than the window.

    >>> avg_pool2d(2).forward((), jnp.arange(16.0).reshape(1, 4, 4, 1))[0].ravel()
    Array([ 2.5,  4.5, 10.5, 12.5], dtype=float32)
    """
    window, strides = _pool_sizes("avg_pool2d", size, stride)
    share = 1 / (window[0] * window[1])

    def forward(x: Array) -> tuple[Array, Array]:
        """R_rj = Σ_q X_(r, j sw + q), Y_ij = 1/(kh kw) Σ_p R_(i sh + p, j)"""
        _image("avg_pool2d", x, window, strides)
        rows = jnp.sum(unfold(x, 2, window[1], strides[1]), 3, dtype=wide(x))
        return (jnp.sum(unfold(rows, 1, window[0], strides[0]), 2) * share).astype(x.dtype), x[:0]

    def backward(like: Array, dy: Array) -> Array:
        """dR_(i sh + p, j) += dY_ij / (kh kw), dX_(r, j sw + q) += dR_rj"""
        drows = fold(_repeat(widened(dy) * share, window[0], 2), 1, like.shape[1], strides[0])
        return fold(_repeat(drows, window[1], 3), 2, like.shape[2], strides[1]).astype(dy.dtype)

    return parameterless(f"avg_pool2d({window[0]}x{window[1]})", forward, backward)
