"""Data sets made from a seed: the same everywhere, without a download."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from experiments.data.mnist import Mnist

_STROKES, _STYLES, _SIDE = 5, 4, 28


class Classified(NamedTuple):
    """Two or more classes of points: a row of x and a label of y per example."""

    x: Float32[np.ndarray, "n features"]
    y: Int32[np.ndarray, " n"]


def _prototypes(rng: np.random.Generator) -> Float32[np.ndarray, "10 styles 36 36"]:
    """A few ways to write each of ten symbols: curved strokes of ink, with a margin to shift them in."""
    side, steps = _SIDE + 8, np.linspace(0, 1, 24)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    symbols = np.zeros((10, _STYLES, side, side), np.float32)
    for symbol in symbols:
        ends = rng.uniform(8, side - 8, (_STROKES, 3, 2))  # of a stroke: start, middle, end
        for style in symbol:
            start, middle, end = np.moveaxis(ends + rng.normal(0, 1.2, ends.shape), 1, 0)[:, :, None]
            t = steps[None, :, None]
            points = ((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end).reshape(-1, 2)
            squares = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
            style[:] = np.exp(-squares.min(axis=-1) / 1.4)
    return symbols


def _images(rng: np.random.Generator, symbols: np.ndarray, y: np.ndarray) -> Float32[np.ndarray, "n 784"]:
    """Two styles of a symbol mixed, shifted, some of another symbol over it, noise; quantised to 256 greys."""
    x = np.empty((len(y), _SIDE * _SIDE), np.float32)
    for start in range(0, len(y), 2000):
        part = y[start : start + 2000]
        n = len(part)
        styles, mix = rng.integers(_STYLES, size=(2, n)), rng.random((n, 1, 1), np.float32)
        ink = mix * symbols[part, styles[0]] + (1 - mix) * symbols[part, styles[1]]
        other = symbols[rng.integers(10, size=n), rng.integers(_STYLES, size=n)]
        ink = ink + rng.uniform(0, 0.7, (n, 1, 1)).astype(np.float32) * other
        rows, columns = (rng.integers(1, 8, size=n)[:, None] + np.arange(_SIDE) for _ in range(2))
        seen = ink[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
        noise = 0.25 * rng.standard_normal(seen.shape, np.float32)
        grey = np.clip(seen * rng.uniform(0.6, 1.2, (n, 1, 1)).astype(np.float32) + noise * (seen > 0.05), 0, 1)
        x[start : start + 2000] = np.round(255 * grey).reshape(n, -1) / np.float32(255)
    return x


def mnist_like(seed: int, train: int = 60000, test: int = 10000) -> Mnist:
    """Ten symbols of five strokes each, as images of MNIST's shapes and range, in place of MNIST where it is not there.

    Every image is a symbol in a mixture of its styles, shifted by up to 3 pixels, with some of another symbol over it.
    In 8 epochs a 784-128-10 ReLU network comes to 0.99 of them, softmax regression to 0.90.

    >>> data = mnist_like(0, train=50, test=20)
    >>> data.train_x.shape, data.train_x.dtype, data.train_x.min(), data.train_x.max() <= 1, data.test_y.shape
    ((50, 784), dtype('float32'), np.float32(0.0), np.True_, (20,))
    """
    rng = np.random.default_rng(seed)
    symbols = _prototypes(rng)
    train_y, test_y = (rng.integers(10, size=n, dtype=np.int32) for n in (train, test))
    return Mnist(_images(rng, symbols, train_y), train_y, _images(rng, symbols, test_y), test_y)


def planar_flower(seed: int, n: int = 400) -> Classified:
    """The planar flower of the course notes' demonstration: two classes of points in the plane, alternating on petals.

    With t in [0, 6.24], half of it per class, and noise ε of deviation 0.2: r = 4 sin 4t + ε, x = r (sin t', cos t'),
    t' = t + ε. No line separates them (logistic regression: 0.47); four tanh units come to 0.91.

    >>> x, y = planar_flower(0)
    >>> x.shape, x.dtype, np.bincount(y)
    ((400, 2), dtype('float32'), array([200, 200]))
    """
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(2, dtype=np.int32), [n - n // 2, n // 2])
    t = np.concatenate([np.linspace(3.12 * label, 3.12 * (label + 1), np.sum(y == label)) for label in range(2)])
    t = t + 0.2 * rng.standard_normal(n)
    r = 4 * np.sin(4 * t) + 0.2 * rng.standard_normal(n)
    return Classified(np.stack([r * np.sin(t), r * np.cos(t)], axis=1).astype(np.float32), y)


def two_clouds(seed: int, n: int, features: int, distance: float = 5.0) -> Classified:
    """Two clouds of points around 0, normal of deviation 1, with centres `distance` apart in a random direction.

    The best that a classifier comes to is Φ(distance/2), 0.994 of the points.

    >>> x, y = two_clouds(0, 10, 3)
    >>> x.shape, x.dtype, y.dtype
    ((10, 3), dtype('float32'), dtype('int32'))
    """
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(features, np.float32)
    direction /= np.linalg.norm(direction)
    y = rng.integers(2, size=n, dtype=np.int32)
    x = rng.standard_normal((n, features), np.float32)
    x += (y[:, None] - np.float32(0.5)) * np.float32(distance) * direction
    return Classified(x, y)
