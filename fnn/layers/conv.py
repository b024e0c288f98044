"""Convolution and pooling of images x (batch, height, width, channels).

A window of kh x kw slides in strides of sh x sw; output position (i, j) sees x at (i sh + p, j sw + q), 0 <= p < kh,
0 <= q < kw. "Convolution" is the field's word for what is a cross-correlation: the kernel is not flipped.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.dtypes import widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.layers.activations import parameterless
from fnn.layers.correlation import correlate, correlate_backward
from fnn.layers.windows import Pair, fold, pad_widths, unfold
from fnn.types import Layer, PRNGKey, Residuals


class Conv2d(NamedTuple):
    w: Float[Array, "kh kw c_in c_out"]
    b: Float[Array, " c_out"]


def conv2d(
    c_in: int,
    c_out: int,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: str = "VALID",
    w_init: Initializer = lecun_normal,
    b_init: Initializer = zeros,
) -> Layer:
    """c_out filters slide over the image: Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq + b.

    "VALID": windows inside the image only, output (height - kh) // sh + 1. "SAME": zeros around it, ceil(height / sh).

    >>> layer = conv2d(3, 8, 5)
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.zeros((2, 28, 28, 3)))[0].shape
    (2, 24, 24, 8)
    """
    c_in, c_out = checks.positive_int("conv2d", "c_in", c_in), checks.positive_int("conv2d", "c_out", c_out)
    kernel, strides = checks.pair("conv2d", "kernel_size", kernel_size), checks.pair("conv2d", "stride", stride)
    if padding not in ("VALID", "SAME"):
        raise checks.fail("conv2d", "padding", '"VALID" or "SAME"', padding)

    def init(key: PRNGKey) -> Conv2d:
        w_key, b_key = jax.random.split(key)
        return Conv2d(w_init(w_key, (*kernel, c_in, c_out)), b_init(b_key, (c_out,)))

    def forward(params: Conv2d, x: Array, key: PRNGKey | None = None) -> tuple[Array, Array]:
        """Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq + b"""
        w, b = checks.fields("conv2d", params, Conv2d, w=(*kernel, c_in, c_out), b=(c_out,))
        x = checks.shaped("conv2d", "x", x, ("batch", "height", "width", c_in))
        pads = pad_widths("conv2d", x.shape[1:3], kernel, strides, padding)
        dtype = widest(x, w, b)
        z = correlate(x.astype(dtype), w.astype(dtype), strides, pads)
        return z + b.astype(dtype)[None, None, None, :], x

    def backward(params: Conv2d, x: Array, dz: Array) -> tuple[Conv2d, Array]:
        """dW_pq = Σ_ij X_(i sh + p, j sw + q)ᵀ dZ_ij, db = Σ_ij dZ_ij, dX_(i sh + p, j sw + q) += dZ_ij W_pqᵀ"""
        w, b = params
        pads = pad_widths("conv2d", x.shape[1:3], kernel, strides, padding)
        dw, dx = correlate_backward(x, w, dz, strides, pads)
        db = jnp.sum(dz, axis=(0, 1, 2), dtype=widest(dz, b)).astype(b.dtype)
        return Conv2d(dw, db), dx

    return Layer(init, forward, backward, name=f"conv2d({c_in}, {c_out}, {kernel[0]}x{kernel[1]})")


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
