"""Cross-correlation for convolutional layers, in a form for each platform.

Z_ij = Σ_pq X_(i sh + p dh, j sw + q dw) W_pq

Accelerators use XLA's convolution. Its two gradients have the dimension numbers and windows that XLA recognises as
cuDNN's backward-filter and backward-data convolutions; `jax.grad` makes the same ones. The CPU uses `im2col` and
`depthwise`: XLA's convolution takes ten times as long there, and hundreds of times as long inside a scan (jax 0.10).

Each function is jitted, and inlined into the program of a jitted caller. So a call outside of `jax.jit` is one program
too, in which XLA sees the flipped kernel together with the convolution, and no form is chosen for the wrong device.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from fnn.dtypes import widest
from fnn.layers import depthwise, im2col
from fnn.layers.windows import Pair, Window, image_gradient_pads, reach


@functools.partial(jax.jit, static_argnames="window", inline=True)
def correlate(x: Array, w: Array, window: Window) -> Array:
    """Z_ij = Σ_pq X_(i sh + p dh, j sw + q dw) W_pq

    Args:
      x: images (batch, height, width, c_in).
      w: kernel (kh, kw, c_in / groups, c_out), of the dtype of x.
      window: how the kernel slides over the images.

    Returns:
      z (batch, height_out, width_out, c_out).
    """
    return _choose(_on_cpu(w, window).correlate, xla_correlate, x, w, window=window)


@functools.partial(jax.jit, static_argnames="window", inline=True)
def correlate_backward(x: Array, w: Array, dz: Array, window: Window) -> tuple[Array, Array]:
    """dW_pq = Σ_ij X_(i sh + p dh, j sw + q dw)ᵀ dZ_ij, dX_(i sh + p dh, j sw + q dw) += dZ_ij W_pqᵀ

    Returns dW in the dtype of w and dX in that of x.
    """
    return _choose(_on_cpu(w, window).correlate_backward, xla_correlate_backward, x, w, dz, window=window)


@functools.partial(jax.jit, static_argnames="window", inline=True)
def kernel_gradient(x: Array, w: Array, dz: Array, window: Window) -> Array:
    """dW_pq = Σ_ij X_(i sh + p dh, j sw + q dw)ᵀ dZ_ij, in the dtype of w"""
    return _choose(_on_cpu(w, window).kernel_gradient, xla_kernel_gradient, x, w, dz, window=window)


@functools.partial(jax.jit, static_argnames=("window", "size"), inline=True)
def image_gradient(w: Array, dz: Array, window: Window, size: Pair) -> Array:
    """dX_(i sh + p dh, j sw + q dw) += dZ_ij W_pqᵀ, for images of this size, in the dtype of dz"""
    return _choose(_on_cpu(w, window).image_gradient, xla_image_gradient, w, dz, window=window, size=size)


def _on_cpu(w: Array, window: Window) -> Any:
    """Return the module with the form for the CPU."""
    return depthwise if 1 < window.groups == w.shape[3] and w.shape[2] == 1 else im2col


def _choose(cpu: Callable[..., Any], default: Callable[..., Any], *arrays: Array, **static: Any) -> Any:
    """Apply the form for this platform.

    Arrays that are sharded over Explicit axes take the default: matrix products would merge the sharded axis.
    """
    cpu, default = functools.partial(cpu, **static), functools.partial(default, **static)
    if any(map(_is_sharded, arrays)):
        return default(*arrays)
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=default)


def _is_sharded(a: Array) -> bool:
    return any(jax.typeof(a).sharding.spec)


def xla_correlate(x: Array, w: Array, window: Window) -> Array:
    """Z_ij = Σ_pq X_(i sh + p dh, j sw + q dw) W_pq"""
    return jax.lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.pads,
        rhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=window.groups,
    )


def xla_correlate_backward(x: Array, w: Array, dz: Array, window: Window) -> tuple[Array, Array]:
    """dW_pq = Σ_ij X_(i sh + p dh, j sw + q dw)ᵀ dZ_ij, dX_(i sh + p dh, j sw + q dw) += dZ_ij W_pqᵀ"""
    dx = xla_image_gradient(w, dz, window, (x.shape[1], x.shape[2]))
    return xla_kernel_gradient(x, w, dz, window), dx.astype(x.dtype)


def xla_kernel_gradient(x: Array, w: Array, dz: Array, window: Window) -> Array:
    """dW_pq = Σ_ij X_(p dh + i sh, q dw + j sw)ᵀ dZ_ij

    This is a correlation of X with dZ, whose strides are the dilation of the kernel, and whose dilation the strides of
    the kernel. The batch axis takes the role of the channels.

    On a mesh of several axes, XLA's partitioner multiplies the result of a convolution with `batch_group_count` by the
    size of the axes that do not shard the batch (jax 0.10 and 0.12). There, dW is computed without it.
    """
    kernel, dtype = (w.shape[0], w.shape[1]), widest(widest(x, dz), w)
    like_w = NamedSharding(jax.typeof(dz).sharding.mesh, jax.typeof(w).sharding.spec) if _is_sharded(dz) else None
    if window.groups == 1 or not any(map(_is_on_mesh_of_several_axes, (x, w, dz))):
        return _correlate_over_batch(x, dz, kernel, window, dtype, like_w).astype(w.dtype)
    parts = _num_parts(x.shape[3], window.groups)
    each, pairs = window.groups // parts, zip(jnp.split(x, parts, 3), jnp.split(dz, parts, 3), strict=True)
    dw = jnp.concatenate([_grouped_over_batch(*pair, kernel, window._replace(groups=each), dtype) for pair in pairs], 3)
    return (dw if like_w is None else jax.sharding.reshard(dw, like_w)).astype(w.dtype)


def _grouped_over_batch(x: Array, dz: Array, kernel: Pair, window: Window, dtype: Any) -> Array:
    """Return dW of all groups: the blocks on the diagonal of dW of a convolution without groups."""
    g, replicated = window.groups, NamedSharding(jax.typeof(dz).sharding.mesh, P()) if _is_sharded(dz) else None
    dw = _correlate_over_batch(x, dz, kernel, window._replace(groups=1), dtype, replicated)
    blocks = dw.reshape(*kernel, g, x.shape[3] // g, g, dz.shape[3] // g)
    same = jnp.eye(g, dtype=bool)[None, None, :, None, :, None]
    diagonal = jnp.sum(jnp.where(same, blocks, 0), 2)  # a sum of one block and zeros
    return diagonal.reshape(*kernel, x.shape[3] // g, dz.shape[3])


def _correlate_over_batch(
    x: Array, dz: Array, kernel: Pair, window: Window, dtype: Any, out_sharding: NamedSharding | None
) -> Array:
    edges = zip(x.shape[1:3], dz.shape[1:3], reach(kernel, window.dilation), window.strides, window.pads, strict=True)
    narrow = widest(x, dz)
    return jax.lax.conv_general_dilated(
        x.astype(narrow),
        dz.astype(narrow),
        window.dilation,
        [(low, (m - 1) * s + k - n - low) for n, m, k, s, (low, _) in edges],
        rhs_dilation=window.strides,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        batch_group_count=window.groups,
        preferred_element_type=dtype,
        out_sharding=out_sharding,
    )


def _is_on_mesh_of_several_axes(a: Array) -> bool:
    """Return True if XLA may partition `a` over a mesh with two axes larger than 1.

    The mesh is that of the array's type, which knows of Auto axes too, or the one that the caller set.
    """
    for mesh in (jax.typeof(a).sharding.mesh, jax.sharding.get_abstract_mesh()):
        if not mesh.are_all_axes_manual and sum(n > 1 for n in mesh.axis_sizes) > 1:
            return True
    return False


def _num_parts(channels: int, groups: int) -> int:
    """Return into how many convolutions to split the groups: each has 64 channels or more, the tile of a GPU."""
    return max((n for n in range(1, groups + 1) if groups % n == 0 and channels // n >= 64), default=1)


def xla_image_gradient(w: Array, dz: Array, window: Window, size: Pair) -> Array:
    """dX_ij = Σ_pq dZ_((i - p dh) / sh, (j - q dw) / sw) W_pqᵀ, over the p and q for which sh and sw divide

    This is a correlation of dZ, dilated by the strides, with the flipped kernel, whose inputs are its outputs.
    """
    kernel, w = (w.shape[0], w.shape[1]), w.astype(dz.dtype)  # the cast must not come between the flip and its use
    if window.groups > 1:  # (kh, kw, c_in / groups, c_out) -> (kh, kw, c_in, c_out / groups)
        split = w.reshape(*w.shape[:3], window.groups, w.shape[3] // window.groups).swapaxes(2, 3)
        w = split.reshape(*kernel, window.groups * w.shape[2], w.shape[3] // window.groups)
    return jax.lax.conv_general_dilated(
        dz,
        jax.lax.rev(w, (0, 1)),
        (1, 1),
        image_gradient_pads(size, dz.shape[1:3], kernel, window),
        lhs_dilation=window.strides,
        rhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
        feature_group_count=window.groups,
    )
