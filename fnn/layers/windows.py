"""Sliding windows along one axis (unfold), and the adjoint (fold).

A window of size k with stride s covers the positions i s + p, 0 <= p < k, for output i. Windows over two axes are
unfolded one axis after the other, which takes kh + kw slices instead of kh · kw.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]


def pad_widths(function: str, size: Sequence[int], window: Pair, strides: Pair, padding: str) -> Pads:
    """Return the zeros around an image of this size: ((top, bottom), (left, right)).

    Raises:
      ValueError: if the padded image is smaller than the window.

    >>> pad_widths("conv2d", (5, 6), (3, 2), (1, 1), "SAME")
    ((1, 1), (0, 1))
    """
    pads = jax.lax.padtype_to_pads(size, window, strides, padding)
    if any(n + sum(p) < k for n, p, k in zip(size, pads, window, strict=True)):
        raise checks.fail(function, "x", f"at least as high and wide as the window, {window}", came=f"{tuple(size)}")
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


def shifted_slices(x: Array, axis: int, window: int, stride: int) -> list[Array]:
    """Return one slice per offset p of the window: slices[p]_i = x_(i s + p)."""
    last = x.shape[axis] - window
    return [jax.lax.slice_in_dim(x, p, last + p + 1, stride, axis) for p in range(window)]


def add_shifted_slices(parts: Sequence[Array], axis: int, size: int, stride: int) -> Array:
    """The adjoint of `shifted_slices`, for an axis of this size.

    x_(i s + p) += parts[p]_i

    Position i s + p is entry i + p // s of phase p % s. The parts of each phase are added up, then the phases are
    interleaved.
    """
    shape = list(parts[0].shape)
    shape[axis] = max(-(-size // stride), shape[axis] + (len(parts) - 1) // stride)
    phases = []
    for phase in range(stride):
        total = jnp.zeros(shape, parts[0].dtype)
        for start, part in enumerate(parts[phase::stride]):
            block = jax.lax.slice_in_dim(total, start, start + part.shape[axis], axis=axis) + part
            total = jax.lax.dynamic_update_slice_in_dim(total, block, start, axis)
        phases.append(total)
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
    """The adjoint of `unfold`: x_(i s + p) += out_(i, p), for an axis of this size."""
    n, window = out.shape[axis : axis + 2]
    if stride < window:
        parts = [jax.lax.index_in_dim(out, p, axis + 1, keepdims=False) for p in range(window)]
        return add_shifted_slices(parts, axis, size, stride)
    padded = _resize(out, axis + 1, stride)
    return _resize(padded.reshape(*out.shape[:axis], n * stride, *out.shape[axis + 2 :]), axis, size)


def _resize(x: Array, axis: int, size: int) -> Array:
    """Crop an axis to this size, or pad it with zeros."""
    edges = [(0, size - n if i == axis else 0, 0) for i, n in enumerate(x.shape)]
    return jax.lax.pad(x, x.dtype.type(0), edges)
