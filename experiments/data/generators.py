"""Synthetic points, clouds, and a substitute for MNIST."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from experiments.data.mnist import Mnist

_STROKES, _STYLES, _SIDE = 5, 4, 28


class Classified(NamedTuple):
    """Points of several classes: a row of x and a label y per example."""

    x: Float32[np.ndarray, "n features"]
    y: Int32[np.ndarray, " n"]


def _prototypes(rng: np.random.Generator) -> Float32[np.ndarray, "10 styles 36 36"]:
    """Draw a few styles of each of ten symbols.

    Symbols are made of curved strokes, with a margin for shifts.
    """
    side, steps = _SIDE + 8, np.linspace(0, 1, 24)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    symbols = np.zeros((10, _STYLES, side, side), np.float32)
    for symbol in symbols:
        ends = rng.uniform(8, side - 8, (_STROKES, 3, 2))  # start, middle and end of each stroke
        for style in symbol:
            start, middle, end = np.moveaxis(ends + rng.normal(0, 1.2, ends.shape), 1, 0)[:, :, None]
            t = steps[None, :, None]
            points = ((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end).reshape(-1, 2)
            squares = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
            style[:] = np.exp(-squares.min(axis=-1) / 1.4)
    return symbols


def _images(rng: np.random.Generator, symbols: np.ndarray, y: np.ndarray) -> Float32[np.ndarray, "n 784"]:
    """Draw shifted images of symbols, with traces of other symbols and noise.

    Each image mixes two styles of its symbol.

    Values are quantised to 256 grey levels.
    """
    x = np.empty((len(y), _SIDE * _SIDE), np.float32)
    for start in range(0, len(y), 2000):
        part = y[start : start + 2000]
        n = len(part)
        styles, mix = rng.integers(_STYLES, size=(2, n)), rng.random((n, 1, 1), np.float32)
        ink = mix * symbols[part, styles[0]] + (1 - mix) * symbols[part, styles[1]]
        other = symbols[rng.integers(10, size=n), rng.integers(_STYLES, size=n)]
        ink = ink + rng.uniform(0, 0.7, (n, 1, 1)).astype(np.float32) * other
        rows, columns = (rng.integers(1, 8, size=n)[:, None] + np.arange(_SIDE) for _ in range(2))
        window = ink[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
        noise = 0.25 * rng.standard_normal(window.shape, np.float32)
        grey = np.clip(window * rng.uniform(0.6, 1.2, (n, 1, 1)).astype(np.float32) + noise * (window > 0.05), 0, 1)
        x[start : start + 2000] = np.round(255 * grey).reshape(n, -1) / np.float32(255)
    return x


def mnist_like(seed: int, train: int = 60000, test: int = 10000) -> Mnist:
    """Generate a substitute for MNIST, with its shapes and range of values.

    A symbol consists of five strokes. Every image is a mixture of two styles of a symbol, shifted by up to 3 pixels,
    with traces of another symbol. In 8 epochs, a 784-128-10 ReLU network reaches accuracy 0.99, softmax regression
    0.90.

    >>> data = mnist_like(0, train=50, test=20)
    >>> data.train_x.shape, data.train_x.dtype, data.train_x.min(), data.train_x.max() <= 1, data.test_y.shape
    ((50, 784), dtype('float32'), np.float32(0.0), np.True_, (20,))
    """
    rng = np.random.default_rng(seed)
    symbols = _prototypes(rng)
    train_y, test_y = (rng.integers(10, size=n, dtype=np.int32) for n in (train, test))
    return Mnist(_images(rng, symbols, train_y), train_y, _images(rng, symbols, test_y), test_y)


def planar_flower(seed: int, n: int = 400) -> Classified:
    """Generate the planar flower: two classes of points on alternating petals.

    r = 4 sin 4t + ε, x = r (sin t', cos t'), t' = t + ε, with t in [0, 6.24], half of this range per class, and noise
    ε of standard deviation 0.2. No line separates the classes: logistic regression reaches accuracy 0.47, four tanh
    units reach 0.91.

    >>> points = planar_flower(0)
    >>> points.x.shape, points.x.dtype, np.bincount(points.y)
    ((400, 2), dtype('float32'), array([200, 200]))
    """
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(2, dtype=np.int32), [n - n // 2, n // 2])
    t = np.concatenate([np.linspace(3.12 * label, 3.12 * (label + 1), np.sum(y == label)) for label in range(2)])
    t = t + 0.2 * rng.standard_normal(n)
    r = 4 * np.sin(4 * t) + 0.2 * rng.standard_normal(n)
    return Classified(np.stack([r * np.sin(t), r * np.cos(t)], axis=1).astype(np.float32), y)


def two_clouds(seed: int, n: int, features: int, distance: float = 5.0) -> Classified:
    """Generate two normal clouds with centres `distance` apart.

    The standard deviation is 1 and the direction random.

    The centres are symmetric about 0. The best possible accuracy is Φ(distance/2), 0.994 for a distance of 5.

    >>> points = two_clouds(0, 10, 3)
    >>> points.x.shape, points.x.dtype, points.y.dtype
    ((10, 3), dtype('float32'), dtype('int32'))
    """
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(features, np.float32)
    direction /= np.linalg.norm(direction)
    y = rng.integers(2, size=n, dtype=np.int32)
    x = rng.standard_normal((n, features), np.float32)
    x += (y[:, None] - np.float32(0.5)) * np.float32(distance) * direction
    return Classified(x, y)


def moons(seed: int, n: int = 400, noise: float = 0.2) -> Classified:
    """Generate two interleaving half circles of radius 1.

    They are those of scikit-learn's `make_moons`.

    Class 0 is (cos t, sin t), class 1 is (1 - cos t, 1/2 - sin t), with t evenly spaced over [0, π] and normal noise.
    The best line reaches accuracy 0.88 with noise 0.2.

    >>> points = moons(0)
    >>> points.x.shape, points.x.dtype, np.bincount(points.y)
    ((400, 2), dtype('float32'), array([200, 200]))
    """
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(2, dtype=np.int32), [n - n // 2, n // 2])
    t = np.concatenate([np.linspace(0, np.pi, n - n // 2), np.linspace(0, np.pi, n // 2)])
    x = np.where(y[:, None] == 0, np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 0.5 - np.sin(t)], 1))
    return Classified((x + noise * rng.standard_normal((n, 2))).astype(np.float32), y)


def noise(seed: int, n: int, features: int) -> Classified:
    """Generate normal noise of ten classes: the largest of the first ten features.

    >>> points = noise(0, 4, 20)
    >>> points.x.shape, points.x.dtype, points.y.dtype
    ((4, 20), dtype('float32'), dtype('int32'))
    """
    x = np.random.default_rng(seed).standard_normal((n, features), np.float32)
    return Classified(x, x[:, :10].argmax(axis=1).astype(np.int32))


def labelled_sequences(
    seed: int, n: int, positions: int = 100, features: int = 64
) -> tuple[Float32[np.ndarray, "n positions features"], Int32[np.ndarray, " n"]]:
    """Generate sequences of ten classes: normal noise around a direction of the class, which turns with the position.

    >>> x, y = labelled_sequences(0, 20, 5, 3)
    >>> x.shape, x.dtype, y.shape, y.dtype
    ((20, 5, 3), dtype('float32'), (20,), dtype('int32'))
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(10, size=n, dtype=np.int32)
    start, end = rng.standard_normal((2, 10, 1, features), np.float32)
    turn = np.linspace(0, np.pi / 2, positions, dtype=np.float32)[:, None]
    x = rng.standard_normal((n, positions, features), np.float32)
    x += 0.5 * (np.cos(turn) * start + np.sin(turn) * end)[y]
    return x, y


def token_sequences(
    seed: int, n: int, positions: int = 64, vocabulary: int = 65
) -> tuple[Int32[np.ndarray, "n positions"], Int32[np.ndarray, "n positions"]]:
    """Generate sequences of ids and, for each position, the next id, from a random Markov chain.

    Each id is followed by one of three others, with probabilities 0.7, 0.2 and 0.1.

    >>> x, y = token_sequences(0, 4, 5)
    >>> x.shape, bool((x[:, 1:] == y[:, :-1]).all())
    ((4, 5), True)
    """
    rng = np.random.default_rng(seed)
    following = rng.integers(vocabulary, size=(vocabulary, 3), dtype=np.int32)
    choice = rng.choice(3, size=(n, positions), p=(0.7, 0.2, 0.1))
    ids = [rng.integers(vocabulary, size=n, dtype=np.int32)]
    for t in range(positions):
        ids.append(following[ids[-1], choice[:, t]])
    return np.stack(ids[:-1], axis=1), np.stack(ids[1:], axis=1)
