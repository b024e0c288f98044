"""Sliding windows along one axis, as strided slices, and the adjoint that adds the slices back.

A window of k in strides of s sees position i s + p, 0 <= p < k, from output position i. Windows over two axes are
these, one axis after the other: kh + kw slices instead of kh kw.
"""

from collections.abc import Sequence

import jax
from jaxtyping import Array

from fnn import checks

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]


def pad_widths(function: str, size: Sequence[int], window: Pair, strides: Pair, padding: str) -> Pads:
    """((top, bottom), (left, right)) zeros around an image of this size; an image smaller than the window is refused.

    >>> pad_widths("conv2d", (5, 6), (3, 2), (1, 1), "SAME")
    ((1, 1), (0, 1))
    """
    pads = jax.lax.padtype_to_pads(size, window, strides, padding)
    if any(n + sum(p) < k for n, p, k in zip(size, pads, window, strict=True)):
        raise checks.fail(function, "x", f"at least as high and wide as the window, {window}", came=f"{tuple(size)}")
    (top, bottom), (left, right) = pads
    return (int(top), int(bottom)), (int(left), int(right))


def pad(x: Array, pads: Pads, inner: Pair = (0, 0)) -> Array:
    """Zeros around the images of x, `inner` of them between neighbours; negative widths crop."""
    edges = ((0, 0, 0), *((low, high, between) for (low, high), between in zip(pads, inner, strict=True)), (0, 0, 0))
    return jax.lax.pad(x, x.dtype.type(0), edges)


def crop(x: Array, pads: Pads) -> Array:
    """The adjoint of `pad`."""
    (top, bottom), (left, right) = pads
    return pad(x, ((-top, -bottom), (-left, -right)))


def slices(x: Array, axis: int, window: int, stride: int) -> list[Array]:
    """For each offset p what the window sees there: out_i = x_(i s + p)."""
    last = x.shape[axis] - window
    return [jax.lax.slice_in_dim(x, p, last + p + 1, stride, axis) for p in range(window)]


def add_slices(parts: Sequence[Array], axis: int, size: int, stride: int) -> Array:
    """The adjoint of `slices`: x_(i s + p) += parts[p]_i, for an x of this size."""

    def place(part: Array, p: int) -> Array:
        spread = (part.shape[axis] - 1) * stride + 1
        edges = [(0, 0, 0)] * part.ndim
        edges[axis] = (p, size - p - spread, stride - 1)
        return jax.lax.pad(part, part.dtype.type(0), edges)

    total = place(parts[0], 0)
    for p, part in enumerate(parts[1:], start=1):
        total = total + place(part, p)
    return total
