"""Convolution and pooling of images x (batch, height, width, channels).

A window of kh x kw slides in strides of sh x sw; output position (i, j) sees x at (i sh + p, j sw + q), 0 <= p < kh,
0 <= q < kw. "Convolution" is the field's word for what is a cross-correlation: the kernel is not flipped.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fnn import checks
from fnn.activations import parameterless
from fnn.dtypes import contract, widest
from fnn.init import Initializer, lecun_normal, zeros
from fnn.types import Layer, PRNGKey, Residuals
from fnn.windows import Pads, Pair, add_slices, crop, pad, pad_widths, slices


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


def columns(x: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
    """What the window sees from each position, as a row: (b, h, v, c) -> (b, i, j, kh kw c)."""
    across = jnp.concatenate(slices(pad(x, pads), 2, window[1], strides[1]), axis=-1)
    return jnp.concatenate(slices(across, 1, window[0], strides[0]), axis=-1)


def columns_backward(dcolumns: Array, size: Pair, window: Pair, strides: Pair, pads: Pads) -> Array:
    """The adjoint of `columns`, for images of this size."""
    h, v = (n + sum(p) for n, p in zip(size, pads, strict=True))
    dacross = add_slices(jnp.split(dcolumns, window[0], axis=-1), 1, h, strides[0])
    return crop(add_slices(jnp.split(dacross, window[1], axis=-1), 2, v, strides[1]), pads)


def correlate(x: Array, w: Array, strides: Pair, pads: Pads) -> Array:
    """Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq, in the way of the platform that the program is lowered for."""

    def product(x: Array, w: Array) -> Array:
        return columns(x, _window(w), strides, pads) @ _matrix(w)

    def library(x: Array, w: Array) -> Array:
        return jax.lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return jax.lax.platform_dependent(x, w, cpu=product, default=library)


def correlate_backward(x: Array, w: Array, dz: Array, strides: Pair, pads: Pads) -> tuple[Array, Array]:
    """dW_pq = Σ_ij X_(i sh + p, j sw + q)ᵀ dZ_ij, dX_(i sh + p, j sw + q) += dZ_ij W_pqᵀ"""

    def product(x: Array, w: Array, dz: Array) -> tuple[Array, Array]:
        dw = contract("bijk,bijo->ko", columns(x, _window(w), strides, pads), dz, like=_matrix(w))
        dcolumns = dz @ _matrix(w).astype(dz.dtype).T
        dx = columns_backward(dcolumns, (x.shape[1], x.shape[2]), _window(w), strides, pads)
        return dw.reshape(w.shape), dx.astype(x.dtype)

    def library(x: Array, w: Array, dz: Array) -> tuple[Array, Array]:
        # dW correlates X with dZ spread out by the stride; dX correlates that dZ, padded, with the flipped kernel.
        (top, bottom), (left, right) = pads
        spread = [(n - 1) * s + 1 for n, s in zip(dz.shape[1:3], strides, strict=True)]
        rest = [n + sum(p) - k - m + 1 for n, p, k, m in zip(x.shape[1:3], pads, w.shape[:2], spread, strict=True)]
        far = (w.shape[0] - 1, w.shape[1] - 1)
        dtype = widest(dz, x)
        dw = jax.lax.conv_general_dilated(
            x.astype(dtype),
            dz.astype(dtype),
            (1, 1),
            ((top, bottom - rest[0]), (left, right - rest[1])),
            rhs_dilation=strides,
            dimension_numbers=("CHWN", "IHWO", "HWNC"),
            preferred_element_type=widest(dtype, w),
        )
        dx = jax.lax.conv_general_dilated(
            dz,
            jnp.flip(w, (0, 1)).astype(dz.dtype),
            (1, 1),
            ((far[0] - top, far[0] - bottom + rest[0]), (far[1] - left, far[1] - right + rest[1])),
            lhs_dilation=strides,
            dimension_numbers=("NHWC", "HWOI", "NHWC"),
        )
        return dw.astype(w.dtype), dx.astype(x.dtype)

    return jax.lax.platform_dependent(x, w, dz, cpu=product, default=library)


def _window(w: Array) -> Pair:
    return w.shape[0], w.shape[1]


def _matrix(w: Array) -> Array:
    return w.reshape(-1, w.shape[-1])


def _pool_sizes(function: str, size: int | Pair, stride: int | Pair | None) -> tuple[Pair, Pair]:
    window = checks.pair(function, "size", size)
    return window, window if stride is None else checks.pair(function, "stride", stride)


def _image(function: str, x: Array, window: Pair, strides: Pair) -> None:
    checks.shaped(function, "x", x, ("batch", "height", "width", "channels"))
    pad_widths(function, x.shape[1:3], window, strides, "VALID")


def _largest(parts: list[Array]) -> tuple[Array, list[Array]]:
    """m_k = max(m_{k-1}, part_k), and where m_{k-1} stays: the first of equals does; a NaN beats them all."""
    largest, stays = parts[0], []
    for part in parts[1:]:
        stays.append((largest >= part) | (largest != largest))
        largest = jnp.where(stays[-1], largest, part)
    return largest, stays


def _largest_backward(stays: list[Array], dy: Array) -> list[Array]:
    """dm_{k-1} = dm_k where m_{k-1} stayed, dpart_k = dm_k where it did not"""
    dparts = []
    for stay in reversed(stays):
        dparts.append(jnp.where(stay, 0, dy))
        dy = jnp.where(stay, dy, 0)
    return [dy, *reversed(dparts)]


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
        rows, across = _largest(slices(x, 2, window[1], strides[1]))
        y, down = _largest(slices(rows, 1, window[0], strides[0]))
        return y, (across, down, x[:0])

    def backward(residuals: Residuals, dy: Array) -> Array:
        """dR_(i sh + p, j) += dY_ij, dX_(r, j sw + q) += dR_rj, at the p and q of the largest entries"""
        across, down, like = residuals
        drows = add_slices(_largest_backward(down, dy), 1, like.shape[1], strides[0])
        return add_slices(_largest_backward(across, drows), 2, like.shape[2], strides[1])

    return parameterless(f"max_pool2d({window[0]}x{window[1]})", forward, backward)


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
        rows = functools.reduce(jnp.add, slices(x, 2, window[1], strides[1]))
        return functools.reduce(jnp.add, slices(rows, 1, window[0], strides[0])) * share, x[:0]

    def backward(like: Array, dy: Array) -> Array:
        """dR_(i sh + p, j) += dY_ij / (kh kw), dX_(r, j sw + q) += dR_rj"""
        drows = add_slices([dy * share] * window[0], 1, like.shape[1], strides[0])
        return add_slices([drows] * window[1], 2, like.shape[2], strides[1])

    return parameterless(f"avg_pool2d({window[0]}x{window[1]})", forward, backward)
