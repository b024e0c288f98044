"""Synthetic images and vectors with patterns: balls, bars, mixtures."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

Range = tuple[int, int]


class Images(NamedTuple):
    """Images with values around 0 to 1, and their labels."""

    x: Float32[np.ndarray, "n side side channels"]
    y: Int32[np.ndarray, " n"]


class ManyLabels(NamedTuple):
    """Examples with several labels, a row each.

    y is 1 for each label that applies, and 0 otherwise.
    """

    x: Float32[np.ndarray, "n features"]
    y: Float32[np.ndarray, "n labels"]


def disc(diameter: int) -> Float32[np.ndarray, "diameter diameter"]:
    """Draw a disc: 1 where the centre of a pixel is inside the circle, 0 outside.

    >>> disc(4).astype(int)
    array([[0, 1, 1, 0],
           [1, 1, 1, 1],
           [1, 1, 1, 1],
           [0, 1, 1, 0]])
    """
    middle = np.arange(diameter) - (diameter - 1) / 2
    return (middle[:, None] ** 2 + middle**2 <= (diameter / 2) ** 2 * 0.9).astype(np.float32)


def balls(
    seed: int,
    n: int,
    rows: Range | None = None,
    columns: Range | None = None,
    side: int = 20,
    diameter: int = 6,
    channels: int = 1,
    noise: float = 0.5,
) -> Images:
    """Generate images with a ball (label 1, half of them) or noise alone (0).

    Args:
      seed: seed of the images.
      n: number of images.
      rows, columns: first and last position of the pixel at the disc's upper left corner; None: anywhere.
      side: height and width of an image.
      diameter: diameter of the disc, in pixels.
      channels: number of channels. With several, each ball has a random colour of brightness 0.7 to 1; with one, its
        brightness is 1.
      noise: standard deviation of the noise.

    >>> images = balls(0, 10, rows=(0, 4), columns=(0, 4), noise=0.0)
    >>> images.x.shape, images.x.dtype, np.bincount(images.y), abs(images.x[:, 10:]).max()
    ((10, 20, 20, 1), dtype('float32'), array([5, 5]), np.float32(0.0))
    """
    if not 1 <= diameter <= side:
        raise ValueError(f"balls: diameter must be in 1..side = {side}, got {diameter}")
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n, dtype=np.int32) % 2)
    top, left = (_corners(rng, n, name, span, side - diameter) for name, span in (("rows", rows), ("columns", columns)))
    colour = rng.uniform(0.7, 1, (n, channels)) if channels > 1 else np.ones((n, 1))
    x = noise * rng.standard_normal((n, side, side, channels), np.float32)
    shape = disc(diameter)[:, :, None]
    for i in np.flatnonzero(y):
        x[i, top[i] : top[i] + diameter, left[i] : left[i] + diameter] += shape * colour[i].astype(np.float32)
    return Images(x.astype(np.float32), y)


def bars(seed: int, n: int, side: int = 16, length: int = 8, thickness: int = 2, noise: float = 0.2) -> Images:
    """Generate images of bars at random positions.

    Labels are 0: no bar, 1: a horizontal bar, 2: a vertical bar, 3: one of each.

    >>> images = bars(0, 100, noise=0.0)
    >>> x, y = images.x, images.y
    >>> x.shape, np.bincount(y), x.max(), sorted(set(x[y == 1].sum(axis=(1, 2, 3))))
    ((100, 16, 16, 1), array([25, 25, 25, 25]), np.float32(1.0), [np.float32(16.0)])
    """
    if not 1 <= thickness <= length <= side:
        raise ValueError(f"bars: must have 1 <= thickness <= length <= side, got {thickness}, {length}, {side}")
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n, dtype=np.int32) % 4)
    x = np.zeros((n, side, side), np.float32)
    for bar, (height, width) in ((1, (thickness, length)), (2, (length, thickness))):
        top, left = rng.integers(side - height + 1, size=n), rng.integers(side - width + 1, size=n)
        for i in np.flatnonzero(y & bar):
            x[i, top[i] : top[i] + height, left[i] : left[i] + width] = 1
    x += noise * rng.standard_normal(x.shape, np.float32)
    return Images(x.astype(np.float32)[..., None], y)


def mixtures(
    seed: int,
    n: int,
    labels: int = 3,
    features: int = 40,
    share: float = 0.5,
    noise: float = 0.55,
    single: bool = False,
) -> ManyLabels:
    """Generate rows that contain several patterns: x = Σ_k y_k p_k + noise.

    The patterns p_k are random directions of length √features·½. Each y_k is 1 with probability `share`, independently;
    with `single`, exactly one y_k in each row is 1. Another seed draws other patterns, so take training and test rows
    from the same call.

    >>> rows = mixtures(0, 1000)
    >>> x, y = rows.x, rows.y
    >>> x.shape, x.dtype, y.shape, y.dtype, bool(abs(y.mean() - 0.5) < 0.05)
    ((1000, 40), dtype('float32'), (1000, 3), dtype('float32'), True)
    >>> mixtures(0, 4, single=True).y.sum(axis=1)
    array([1., 1., 1., 1.], dtype=float32)
    """
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((labels, features), np.float32)
    patterns *= np.float32(0.5 * np.sqrt(features)) / np.linalg.norm(patterns, axis=1, keepdims=True)
    y = np.eye(labels)[rng.integers(labels, size=n)] if single else rng.random((n, labels)) < share
    y = y.astype(np.float32)
    x = y @ patterns + noise * rng.standard_normal((n, features), np.float32)
    return ManyLabels(x.astype(np.float32), y)


def _corners(rng: np.random.Generator, n: int, name: str, span: Range | None, last: int) -> Int32[np.ndarray, " n"]:
    """Draw n positions from `span` = (first, last), or from 0..last for None."""
    first, end = (0, last) if span is None else span
    if not 0 <= first <= end <= last:
        raise ValueError(f"balls: {name} must be (first, last) inside 0..{last}, got {span}")
    return rng.integers(first, end + 1, size=n, dtype=np.int32)
