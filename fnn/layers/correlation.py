"""Σ_pq X_(i sh + p, j sw + q) W_pq and its adjoints, in the way of the platform that the program is lowered for.

On accelerators it is the library's convolution, on the CPU matrix products: there the library's takes ten times as
long, and hundreds of times inside a scan.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn.dtypes import contract, widest
from fnn.layers.matmul import computed_once
from fnn.layers.windows import Pads, Pair, add_shifted_slices, crop, pad, shifted_slices


class _Windows(NamedTuple):
    """How the CPU cuts a convolution into matrix products: images lie as (height, batch, width, channels).

    A row of the left factor is what `tile` neighbouring outputs see of an input row, (tile - 1) sw + kw pixels; a
    product serves one row of the kernel, or, where that would be thin (few channels), all of them at once.
    """

    kernel: Pair
    strides: Pair
    pads: Pads
    tile: int
    stacked: bool

    @property
    def reach(self) -> int:
        return (self.tile - 1) * self.strides[1] + self.kernel[1]


_THIN = 32  # a product whose inner dimension is less is not worth its memory traffic


def _windows(x: Array, w: Array, strides: Pair, pads: Pads) -> _Windows:
    kh, kw, c_in, _ = w.shape
    thin = kw * c_in < _THIN
    outputs = (x.shape[2] + sum(pads[1]) - kw) // strides[1] + 1
    return _Windows((kh, kw), strides, pads, 2 if thin and outputs % 2 == 0 else 1, thin)


def _rows(x: Array, windows: _Windows) -> list[Array]:
    """The left factors, (i, b, j / tile, reach c) for each row of the kernel, or one with all of them side by side."""
    across = shifted_slices(
        pad(x, windows.pads).transpose(1, 0, 2, 3), 2, windows.reach, windows.tile * windows.strides[1]
    )
    rows = shifted_slices(jnp.concatenate(across, axis=-1), 0, windows.kernel[0], windows.strides[0])
    return [jnp.concatenate(rows, axis=-1)] if windows.stacked else rows


def _rows_backward(drows: list[Array], size: Pair, windows: _Windows) -> Array:
    """The adjoint of `_rows`, for images of this size."""
    h, v = (n + sum(p) for n, p in zip(size, windows.pads, strict=True))
    parts = jnp.split(drows[0], windows.kernel[0], axis=-1) if windows.stacked else drows
    across = jnp.split(add_shifted_slices(parts, 0, h, windows.strides[0]), windows.reach, axis=-1)
    return crop(add_shifted_slices(across, 2, v, windows.tile * windows.strides[1]).transpose(1, 0, 2, 3), windows.pads)


def _flat(row: Array) -> Array:
    return row.reshape(-1, row.shape[-1])


def _factors(w: Array, windows: _Windows) -> Array:
    """The right factors (products, inner, tile c_out): the kernel, moved by sw for each output of the tile."""
    spare = windows.reach - windows.kernel[1]
    moves = range(0, spare + 1, windows.strides[1])
    tiled = jnp.stack([jnp.pad(w, ((0, 0), (q, spare - q), (0, 0), (0, 0))) for q in moves], axis=3)
    return tiled.reshape(1 if windows.stacked else w.shape[0], -1, windows.tile * w.shape[3])


def _factors_backward(dfactors: Array, shape: tuple[int, ...], windows: _Windows) -> Array:
    """The adjoint of `_factors`, for a kernel of this shape."""
    kh, kw, c_in, c_out = shape
    tiled = dfactors.reshape(kh, windows.reach, c_in, windows.tile, c_out)
    moves = (t * windows.strides[1] for t in range(windows.tile))
    return functools.reduce(jnp.add, (tiled[:, q : q + kw, :, t] for t, q in enumerate(moves)))


def correlate(x: Array, w: Array, strides: Pair, pads: Pads) -> Array:
    """Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq, in the way of the platform."""

    def product(x: Array, w: Array) -> Array:
        windows = _windows(x, w, strides, pads)
        rows = _rows(x, windows)
        z = functools.reduce(jnp.add, map(jnp.matmul, map(_flat, rows), _factors(w, windows)))
        return z.reshape(*rows[0].shape[:2], -1, w.shape[3]).transpose(1, 0, 2, 3)

    def library(x: Array, w: Array) -> Array:
        return jax.lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    return jax.lax.platform_dependent(x, w, cpu=product, default=library)


def correlate_backward(x: Array, w: Array, dz: Array, strides: Pair, pads: Pads) -> tuple[Array, Array]:
    """dW_pq = Σ_ij X_(i sh + p, j sw + q)ᵀ dZ_ij, dX_(i sh + p, j sw + q) += dZ_ij W_pqᵀ"""

    def product(x: Array, w: Array, dz: Array) -> tuple[Array, Array]:
        windows = _windows(x, w, strides, pads)
        rows = _rows(x, windows)
        dz = computed_once(dz.transpose(1, 0, 2, 3).reshape(-1, windows.tile * dz.shape[3]))
        # with dz first, the factor that has to be transposed is the small one
        dfactors = [contract("mo,mk->ok", dz, _flat(row), like=w).T for row in rows]
        drows = [(dz @ factor.astype(dz.dtype).T).reshape(rows[0].shape) for factor in _factors(w, windows)]
        dx = _rows_backward(drows, (x.shape[1], x.shape[2]), windows)
        return _factors_backward(jnp.stack(dfactors), w.shape, windows), dx.astype(x.dtype)

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
