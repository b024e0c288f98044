"""Cross-correlation on the CPU as matrix products: im2col and col2im (Chellapilla, Puri and Simard 2006).

Z_ij = Σ_pq X_(i sh + p dh, j sw + q dw) W_pq

The functions take what those of `fnn.layers.correlation` take. Groups of channels are a batch of such products.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn.dtypes import contract
from fnn.layers.matmul import computed_once
from fnn.layers.windows import Pads, Pair, Window, add_shifted_slices, crop, pad, shifted_slices


class _Tiling(NamedTuple):
    """How a convolution becomes matrix products on the CPU.

    Images have the axes (height, batch, width, channels). A row of the left factor has the pixels of one input row
    that `tile` neighbouring outputs depend on. There is one product for each row of the kernel. If those would be
    thin, because there are few channels, `stacked` is True and a single product covers all rows of the kernel.
    """

    kernel: Pair
    strides: Pair
    dilation: Pair
    pads: Pads
    tile: int
    stacked: bool

    @property
    def reach(self) -> int:
        """Number of pixels of an input row on which `tile` neighbouring outputs depend."""
        return (self.tile - 1) * self.strides[1] + self.kernel[1]


_THIN = 32  # inner dimension below which memory traffic dominates a matrix product


def choose_tiling(w: Array, outputs: int, window: Window) -> _Tiling:
    """Choose the products for a kernel and this many outputs in a row. A dilated kernel has tiles of one output."""
    kh, kw, c_in, _ = w.shape
    thin = kw * c_in < _THIN
    tile = 2 if thin and outputs % 2 == 0 and window.dilation[1] == 1 else 1
    return _Tiling((kh, kw), window.strides, window.dilation, window.pads, tile, thin)


def im2col(x: Array, tiling: _Tiling) -> list[Array]:
    """Return the left factors, one for each row of the kernel.

    Their shape is (height_out, batch, width_out / tile, reach · c_in).

    With `stacked` there is one left factor, their concatenation along the last axis.
    """
    (kh, _), (sh, sw), (dh, dw) = tiling.kernel, tiling.strides, tiling.dilation
    across = shifted_slices(pad(x, tiling.pads).transpose(1, 0, 2, 3), 2, tiling.reach, tiling.tile * sw, dw)
    rows = shifted_slices(jnp.concatenate(across, axis=-1), 0, kh, sh, dh)
    return [jnp.concatenate(rows, axis=-1)] if tiling.stacked else rows


def col2im(drows: list[Array], size: Pair, tiling: _Tiling) -> Array:
    """The adjoint of `im2col`: add the left factors up into images of this size."""
    (kh, _), (sh, sw), (dh, dw) = tiling.kernel, tiling.strides, tiling.dilation
    height, width = (n + sum(p) for n, p in zip(size, tiling.pads, strict=True))
    parts = jnp.split(drows[0], kh, axis=-1) if tiling.stacked else drows
    across = jnp.split(add_shifted_slices(parts, 0, height, sh, dh), tiling.reach, axis=-1)
    dx = add_shifted_slices(across, 2, width, tiling.tile * sw, dw)
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


def by_group(function: Callable[..., Any], groups: int) -> Callable[..., Any]:
    """Return a function of images and kernels that applies another one to each group of their last axes."""
    if groups == 1:
        return function

    def split(a: Array) -> Array:
        return a.reshape(*a.shape[:3], groups, a.shape[3] // groups)

    def join(a: Array) -> Array:
        return a.reshape(*a.shape[:3], groups * a.shape[4])

    return lambda *arrays: jax.tree.map(join, jax.vmap(function, 3, 3)(*map(split, arrays)))


def correlate(x: Array, w: Array, window: Window) -> Array:
    """Z_ij = Σ_pq X_(i sh + p dh, j sw + q dw) W_pq"""

    def products(x: Array, w: Array) -> Array:
        tiling = choose_tiling(w, _places(x.shape[2], w.shape[1], window), window)
        rows = im2col(x, tiling)
        z = functools.reduce(jnp.add, map(jnp.matmul, map(_matrix, rows), kernel_matrices(w, tiling)))
        height, batch, width, _ = rows[0].shape
        return z.reshape(height, batch, width * tiling.tile, w.shape[3]).transpose(1, 0, 2, 3)

    return by_group(products, window.groups)(x, w)


def correlate_backward(x: Array, w: Array, dz: Array, window: Window) -> tuple[Array, Array]:
    """dW_pq = Σ_ij X_(i sh + p dh, j sw + q dw)ᵀ dZ_ij, dX_(i sh + p dh, j sw + q dw) += dZ_ij W_pqᵀ"""

    def products(x: Array, w: Array, dz: Array) -> tuple[Array, Array]:
        tiling = choose_tiling(w, dz.shape[2], window)
        rows, dz = im2col(x, tiling), _output_rows(dz, tiling)
        dx = _image_gradient(w, dz, rows[0].shape[:3], (x.shape[1], x.shape[2]), tiling)
        return _kernel_gradient(rows, w, dz, tiling), dx.astype(x.dtype)

    return by_group(products, window.groups)(x, w, dz)


def kernel_gradient(x: Array, w: Array, dz: Array, window: Window) -> Array:
    """dW_pq = Σ_ij X_(i sh + p dh, j sw + q dw)ᵀ dZ_ij"""

    def products(x: Array, w: Array, dz: Array) -> Array:
        tiling = choose_tiling(w, dz.shape[2], window)
        return _kernel_gradient(im2col(x, tiling), w, _output_rows(dz, tiling), tiling)

    return by_group(products, window.groups)(x, w, dz)


def image_gradient(w: Array, dz: Array, window: Window, size: Pair) -> Array:
    """dX_(i sh + p dh, j sw + q dw) += dZ_ij W_pqᵀ"""

    def products(w: Array, dz: Array) -> Array:
        tiling = choose_tiling(w, dz.shape[2], window)
        rows = (dz.shape[1], dz.shape[0], dz.shape[2] // tiling.tile)
        return _image_gradient(w, _output_rows(dz, tiling), rows, size, tiling)

    return by_group(products, window.groups)(w, dz)


def _places(n: int, k: int, window: Window) -> int:
    """Return the number of outputs in a row of n pixels."""
    return (n + sum(window.pads[1]) - (k - 1) * window.dilation[1] - 1) // window.strides[1] + 1


def _output_rows(dz: Array, tiling: _Tiling) -> Array:
    """Return dZ with a row for each row of the left factors."""
    return computed_once(dz.transpose(1, 0, 2, 3).reshape(-1, tiling.tile * dz.shape[3]))


def _kernel_gradient(rows: list[Array], w: Array, dz: Array, tiling: _Tiling) -> Array:
    # dz comes first so that the smaller factor is the one to transpose
    dfactors = [contract("mo,mk->ok", dz, _matrix(row), like=w).T for row in rows]
    return kernel_matrices_backward(jnp.stack(dfactors), w.shape, tiling)


def _image_gradient(w: Array, dz: Array, rows: tuple[int, ...], size: Pair, tiling: _Tiling) -> Array:
    drows = [(dz @ factor.astype(dz.dtype).T).reshape(*rows, len(factor)) for factor in kernel_matrices(w, tiling)]
    return col2im(drows, size, tiling)
