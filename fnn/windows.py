"""Sliding windows over images, as a list of strided slices, and the adjoint that adds the slices back."""

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
        raise checks.fail(function, "x", f"at least as high and wide as the window, {window}", f"{tuple(size)}")
    (top, bottom), (left, right) = pads
    return (int(top), int(bottom)), (int(left), int(right))


def slices(x: Array, window: Pair, strides: Pair, pads: Pads) -> list[Array]:
    """For each offset (p, q) of the window, in reading order, the image seen there: out_ij = x_(i sh + p, j sw + q)."""
    x = jax.lax.pad(x, x.dtype.type(0), ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)))
    (kh, kw), (sh, sw), (h, v) = window, strides, x.shape[1:3]
    return [x[:, p : h - kh + p + 1 : sh, q : v - kw + q + 1 : sw, :] for p in range(kh) for q in range(kw)]


def add_slices(parts: Sequence[Array], size: Sequence[int], window: Pair, strides: Pair, pads: Pads) -> Array:
    """The adjoint of `slices`: x_(i sh + p, j sw + q) += part_pq,ij, cropped to the image of this size."""
    (kh, kw), (top, left) = window, (pads[0][0], pads[1][0])

    def place(part: Array, p: int, q: int) -> Array:
        spread = [(n - 1) * s + 1 for n, s in zip(part.shape[1:3], strides, strict=True)]
        low = (p - top, q - left)
        high = [n - a - m for n, a, m in zip(size, low, spread, strict=True)]
        config = ((0, 0, 0), (low[0], high[0], strides[0] - 1), (low[1], high[1], strides[1] - 1), (0, 0, 0))
        return jax.lax.pad(part, part.dtype.type(0), config)

    offsets = [(p, q) for p in range(kh) for q in range(kw)]
    total = place(parts[0], 0, 0)
    for part, (p, q) in zip(parts[1:], offsets[1:], strict=True):
        total = total + place(part, p, q)
    return total
