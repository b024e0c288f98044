"""Sliding windows along one axis (unfold), and the adjoint (fold).

A window of size k with stride s covers the positions i s + p, 0 <= p < k, for output i; with dilation d the positions
i s + p d. Windows over two axes are unfolded one axis after the other, which takes kh + kw slices instead of kh · kw.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]


class Window(NamedTuple):
    """How the kernel of a convolution slides over images.

    Attributes:
      strides: (sh, sw), the distance between neighbouring places of the kernel.
      pads: zeros around the images, ((top, bottom), (left, right)). A negative number crops.
      dilation: (dh, dw), the distance between neighbouring pixels that the kernel covers.
      groups: number of groups of channels. A filter depends on the input channels of its own group only.
    """

    strides: Pair
    pads: Pads
    dilation: Pair = (1, 1)
    groups: int = 1


def reach(kernel: Pair, dilation: Pair) -> Pair:
    """Return the height and width that a dilated kernel covers, (k - 1) d + 1.

    >>> reach((3, 2), (2, 1))
    (5, 2)
    """
    (kh, kw), (dh, dw) = kernel, dilation
    return (kh - 1) * dh + 1, (kw - 1) * dw + 1


def image_gradient_pads(size: Sequence[int], outputs: Sequence[int], kernel: Pair, window: Window) -> Pads:
    """Return the zeros around the dilated dZ whose correlation with the flipped kernel is dX.

    The strides dilate dZ. Output i of the correlation reads it at i - low + q d, the places where the kernel covers
    pixel i.

    Args:
      size: height and width of X.
      outputs: height and width of Z.
      kernel: (kh, kw).
      window: how the kernel slides over X.

    >>> image_gradient_pads((5, 6), (3, 3), (3, 3), Window((1, 2), ((0, 0), (1, 1))))
    ((2, 2), (1, 2))
    """
    edges = []
    for n, m, k, s, (low, _) in zip(
        size, outputs, reach(kernel, window.dilation), window.strides, window.pads, strict=True
    ):
        before = k - 1 - low
        edges.append((before, n + k - 1 - ((m - 1) * s + 1) - before))
    top_bottom, left_right = edges
    return top_bottom, left_right


def check_padding(function: str, padding: Any) -> str | Pads:
    """Return the argument `padding` of a layer: "VALID", "SAME", or ((top, bottom), (left, right)).

    >>> check_padding("conv2d", [[1, 1], [0, 2]])
    ((1, 1), (0, 2))
    """
    if isinstance(padding, str) and padding in ("VALID", "SAME"):
        return padding
    expected = '"VALID", "SAME" or numbers of zeros ((top, bottom), (left, right))'
    is_pair = lambda value: isinstance(value, list | tuple) and len(value) == 2
    if not is_pair(padding) or not all(map(is_pair, padding)):
        raise checks.fail(function, "padding", expected, padding)
    (top, bottom), (left, right) = ((checks.integer(function, "padding", n) for n in edge) for edge in padding)
    if min(top, bottom, left, right) < 0:
        raise checks.fail(function, "padding", expected, padding)
    return (top, bottom), (left, right)


def pad_widths(function: str, size: Sequence[int], window: Pair, strides: Pair, padding: str | Pads) -> Pads:
    """Return the zeros around an image of this size: ((top, bottom), (left, right)).

    Args:
      function: the layer to name in the error.
      size: height and width of the image.
      window: height and width of the window, from its first to its last row and column if it is dilated.
      strides: (sh, sw).
      padding: see `check_padding`.

    Raises:
      ValueError: if the padded image is smaller than the window.

    >>> pad_widths("conv2d", (5, 6), (3, 2), (1, 1), "SAME")
    ((1, 1), (0, 1))
    """
    pads = jax.lax.padtype_to_pads(size, window, strides, padding) if isinstance(padding, str) else padding
    padded = tuple(n + sum(p) for n, p in zip(size, pads, strict=True))
    if any(n < k for n, k in zip(padded, window, strict=True)):
        argument = "x" if padded == tuple(size) else "x, with its padding,"
        raise checks.fail(function, argument, f"at least as high and wide as the window, {window}", came=f"{padded}")
    (top, bottom), (left, right) = pads
    return (int(top), int(bottom)), (int(left), int(right))


def pad(x: Array, pads: Pads, inner: Pair = (0, 0)) -> Array:
    """Pad the images of x with zeros, and put `inner` zeros between neighbours.

    Negative widths crop.
    """
    edges = ((0, 0, 0), *((low, high, between) for (low, high), between in zip(pads, inner, strict=True)), (0, 0, 0))
    return jax.lax.pad(x, x.dtype.type(0), edges)


def crop(x: Array, pads: Pads) -> Array:
    """The adjoint of `pad`."""
    (top, bottom), (left, right) = pads
    return pad(x, ((-top, -bottom), (-left, -right)))


def shifted_slices(x: Array, axis: int, window: int, stride: int, dilation: int = 1) -> list[Array]:
    """Return one slice per offset p of the window: slices[p]_i = x_(i s + p d)."""
    last = x.shape[axis] - (window - 1) * dilation
    return [jax.lax.slice_in_dim(x, p * dilation, last + p * dilation, stride, axis) for p in range(window)]


def add_shifted_slices(parts: Sequence[Array], axis: int, size: int, stride: int, dilation: int = 1) -> Array:
    """The adjoint of `shifted_slices`, for an axis of this size.

    x_(i s + p d) += parts[p]_i

    Position i s + p d is entry i + p d // s of phase p d % s. The parts of each phase are added up, then the phases
    are interleaved.
    """
    shape = list(parts[0].shape)
    shape[axis] = max(-(-size // stride), shape[axis] + (len(parts) - 1) * dilation // stride)
    phases = [jnp.zeros(shape, parts[0].dtype) for _ in range(stride)]
    for p, part in enumerate(parts):
        start, phase = divmod(p * dilation, stride)
        block = jax.lax.slice_in_dim(phases[phase], start, start + part.shape[axis], axis=axis) + part
        phases[phase] = jax.lax.dynamic_update_slice_in_dim(phases[phase], block, start, axis)
    interleaved = jnp.stack(phases, axis + 1) if stride > 1 else phases[0]
    flat = interleaved.reshape(*shape[:axis], shape[axis] * stride, *shape[axis + 1 :])
    return jax.lax.slice_in_dim(flat, 0, size, axis=axis)


def unfold(x: Array, axis: int, window: int, stride: int) -> Array:
    """Return the windows, with a new axis for the position in the window.

    out_(i, p) = x_(i s + p)

    If windows do not overlap, this is a reshape.
    """
    if stride < window:
        return jnp.stack(shifted_slices(x, axis, window, stride), axis + 1)
    n = (x.shape[axis] - window) // stride + 1
    x = _resize(x, axis, n * stride)
    x = x.reshape(*x.shape[:axis], n, stride, *x.shape[axis + 1 :])
    return jax.lax.slice_in_dim(x, 0, window, axis=axis + 1)


def fold(out: Array, axis: int, size: int, stride: int) -> Array:
    """The adjoint of `unfold`: x_(i s + p) += out_(i, p), for an axis of this size.

    If windows overlap, each slice out_p is added in its place on the CPU. On other platforms the slices are added up
    with zeros around and between their entries: XLA fuses that into one kernel (jax 0.10, CUDA).
    """
    n, window = out.shape[axis : axis + 2]
    if stride < window:
        parts = [jax.lax.index_in_dim(out, p, axis + 1, keepdims=False) for p in range(window)]
        on_cpu = functools.partial(add_shifted_slices, axis=axis, size=size, stride=stride)
        default = functools.partial(_add_spread_slices, axis=axis, size=size, stride=stride)
        return jax.lax.platform_dependent(parts, cpu=on_cpu, default=default)
    padded = _resize(out, axis + 1, stride)
    return _resize(padded.reshape(*out.shape[:axis], n * stride, *out.shape[axis + 2 :]), axis, size)


def _add_spread_slices(parts: Sequence[Array], axis: int, size: int, stride: int) -> Array:
    """x_(i s + p) = Σ_p parts[p]_i"""

    def spread(p: int, part: Array) -> Array:
        extent = (part.shape[axis] - 1) * stride + 1
        edges = [(p, size - p - extent, stride - 1) if i == axis else (0, 0, 0) for i in range(part.ndim)]
        return jax.lax.pad(part, part.dtype.type(0), edges)

    return functools.reduce(jnp.add, map(spread, range(len(parts)), parts))


def _resize(x: Array, axis: int, size: int) -> Array:
    """Crop an axis to this size, or pad it with zeros."""
    edges = [(0, size - n if i == axis else 0, 0) for i, n in enumerate(x.shape)]
    return jax.lax.pad(x, x.dtype.type(0), edges)
