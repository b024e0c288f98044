"""Cross-correlation for convolutional layers, in a form for each platform.

Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq

Accelerators use XLA's convolution. The CPU uses im2col and matrix products (Chellapilla, Puri and Simard 2006): XLA's
convolution takes ten times as long there, and hundreds of times as long inside a scan (jax 0.10).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn.dtypes import contract, widest
from fnn.layers.matmul import computed_once
from fnn.layers.windows import Pads, Pair, add_shifted_slices, crop, pad, shifted_slices


class _Tiling(NamedTuple):
    """How a convolution becomes matrix products on the CPU.

    Images have the axes (height, batch, width, channels). A row of the left factor has the pixels of one input row
    that `tile` neighbouring outputs depend on. There is one product for each row of the kernel. If those would be
    thin, because there are few channels, `stacked` is True and a single product covers all rows of the kernel.
    """

    kernel: Pair
    strides: Pair
    pads: Pads
    tile: int
    stacked: bool

    @property
    def reach(self) -> int:
        """Number of pixels of an input row on which `tile` neighbouring outputs depend."""
        return (self.tile - 1) * self.strides[1] + self.kernel[1]


_THIN = 32  # inner dimension below which memory traffic dominates a matrix product


def _choose_tiling(x: Array, w: Array, strides: Pair, pads: Pads) -> _Tiling:
    kh, kw, c_in, _ = w.shape
    thin = kw * c_in < _THIN
    outputs = (x.shape[2] + sum(pads[1]) - kw) // strides[1] + 1
    return _Tiling((kh, kw), strides, pads, 2 if thin and outputs % 2 == 0 else 1, thin)


def im2col(x: Array, tiling: _Tiling) -> list[Array]:
    """Return the left factors, one for each row of the kernel.

    Their shape is (height_out, batch, width_out / tile, reach · c_in).

    With `stacked` there is one left factor, their concatenation along the last axis.
    """
    across = shifted_slices(pad(x, tiling.pads).transpose(1, 0, 2, 3), 2, tiling.reach, tiling.tile * tiling.strides[1])
    rows = shifted_slices(jnp.concatenate(across, axis=-1), 0, tiling.kernel[0], tiling.strides[0])
    return [jnp.concatenate(rows, axis=-1)] if tiling.stacked else rows


def col2im(drows: list[Array], size: Pair, tiling: _Tiling) -> Array:
    """The adjoint of `im2col`: add the left factors up into images of this size."""
    height, width = (n + sum(p) for n, p in zip(size, tiling.pads, strict=True))
    parts = jnp.split(drows[0], tiling.kernel[0], axis=-1) if tiling.stacked else drows
    across = jnp.split(add_shifted_slices(parts, 0, height, tiling.strides[0]), tiling.reach, axis=-1)
    dx = add_shifted_slices(across, 2, width, tiling.tile * tiling.strides[1])
    return crop(dx.transpose(1, 0, 2, 3), tiling.pads)


def _matrix(row: Array) -> Array:
    return row.reshape(-1, row.shape[-1])


def kernel_matrices(w: Array, tiling: _Tiling) -> Array:
    """Return the right factors (products, inner, tile · c_out).

    Each contains one copy of the kernel per output of a tile; successive copies are shifted by the stride.
    """
    room = tiling.reach - tiling.kernel[1]
    shifts = range(0, room + 1, tiling.strides[1])
    tiled = jnp.stack([jnp.pad(w, ((0, 0), (q, room - q), (0, 0), (0, 0))) for q in shifts], axis=3)
    return tiled.reshape(1 if tiling.stacked else w.shape[0], -1, tiling.tile * w.shape[3])


def kernel_matrices_backward(dfactors: Array, shape: tuple[int, ...], tiling: _Tiling) -> Array:
    """The adjoint of `kernel_matrices`, for a kernel of this shape."""
    kh, kw, c_in, c_out = shape
    tiled = dfactors.reshape(kh, tiling.reach, c_in, tiling.tile, c_out)
    shifts = (t * tiling.strides[1] for t in range(tiling.tile))
    return functools.reduce(jnp.add, (tiled[:, q : q + kw, :, t] for t, q in enumerate(shifts)))


def correlate(x: Array, w: Array, strides: Pair, pads: Pads) -> Array:
    """Z_ij = Σ_pq X_(i sh + p, j sw + q) W_pq

    Args:
      x: images (batch, height, width, c_in).
      w: kernel (kh, kw, c_in, c_out), of the dtype of x.
      strides: (sh, sw).
      pads: zeros around the images; see `pad_widths`.

    Returns:
      z (batch, height_out, width_out, c_out).
    """

    def matrix_products(x: Array, w: Array) -> Array:
        tiling = _choose_tiling(x, w, strides, pads)
        rows = im2col(x, tiling)
        z = functools.reduce(jnp.add, map(jnp.matmul, map(_matrix, rows), kernel_matrices(w, tiling)))
        return z.reshape(*rows[0].shape[:2], -1, w.shape[3]).transpose(1, 0, 2, 3)

    def xla_convolution(x: Array, w: Array) -> Array:
        return jax.lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    if any(jax.typeof(x).sharding.spec):  # sharded over an Explicit axis, which the matrix products would merge
        return xla_convolution(x, w)
    return jax.lax.platform_dependent(x, w, cpu=matrix_products, default=xla_convolution)


def correlate_backward(x: Array, w: Array, dz: Array, strides: Pair, pads: Pads) -> tuple[Array, Array]:
    """dW_pq = Σ_ij X_(i sh + p, j sw + q)ᵀ dZ_ij, dX_(i sh + p, j sw + q) += dZ_ij W_pqᵀ

    Returns dW in the dtype of w and dX in that of x.
    """

    def matrix_products(x: Array, w: Array, dz: Array) -> tuple[Array, Array]:
        tiling = _choose_tiling(x, w, strides, pads)
        rows = im2col(x, tiling)
        dz = computed_once(dz.transpose(1, 0, 2, 3).reshape(-1, tiling.tile * dz.shape[3]))
        # dz comes first so that the smaller factor is the one to transpose
        dfactors = [contract("mo,mk->ok", dz, _matrix(row), like=w).T for row in rows]
        drows = [(dz @ factor.astype(dz.dtype).T).reshape(rows[0].shape) for factor in kernel_matrices(w, tiling)]
        dx = col2im(drows, (x.shape[1], x.shape[2]), tiling)
        return kernel_matrices_backward(jnp.stack(dfactors), w.shape, tiling), dx.astype(x.dtype)

    def xla_convolution(x: Array, w: Array, dz: Array) -> tuple[Array, Array]:
        # dW correlates X with dZ dilated by the stride. dX correlates this dZ, padded, with the flipped kernel.
        (top, bottom), (left, right) = pads
        dilated = [(n - 1) * s + 1 for n, s in zip(dz.shape[1:3], strides, strict=True)]
        rest = [n + sum(p) - k - m + 1 for n, p, k, m in zip(x.shape[1:3], pads, w.shape[:2], dilated, strict=True)]
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

    return jax.lax.platform_dependent(x, w, dz, cpu=matrix_products, default=xla_convolution)
