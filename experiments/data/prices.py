"""Synthetic houses and their prices."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

SLOPE, OFFSET = 1.5, -2.0


class Prices(NamedTuple):
    """Features of houses, a row per house, and their prices, a column."""

    x: Float32[np.ndarray, "n features"]
    y: Float32[np.ndarray, "n 1"]


class Houses(NamedTuple):
    """Houses and hidden factors.

    x        size, bedrooms, zip, wealth
    y        prices
    factors  family size, walkability, school quality
    """

    x: Float32[np.ndarray, "n 4"]
    y: Float32[np.ndarray, "n 1"]
    factors: Float32[np.ndarray, "n 3"]


def prices_by_size(seed: int, n: int = 200, noise: float = 0.14, largest: float = 4.0) -> Prices:
    """Generate prices with a kink.

    y = max(1.5 x - 2, 0) + noise, x (n, 1) uniform on [0, `largest`].

    >>> prices = prices_by_size(0, noise=0.0)
    >>> x, y = prices.x, prices.y
    >>> x.shape, y.shape, y.dtype, y.min(), bool((y[x < 4 / 3] == 0).all())
    ((200, 1), (200, 1), dtype('float32'), np.float32(0.0), True)
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, largest, (n, 1))
    y = np.maximum(SLOPE * x + OFFSET, 0) + noise * rng.standard_normal((n, 1))
    return Prices(x.astype(np.float32), y.astype(np.float32))


def houses(seed: int, n: int, noise: float = 0.1) -> Houses:
    """Generate prices that are the sum of three hidden factors, each with a kink.

    family = max(size + bedrooms + 1, 0), walkability = max(½ - zip, 0), school = max(zip + wealth, 0),
    y = family + walkability + school + noise

    The four features are independent and standard normal.

    >>> drawn = houses(0, 1000, noise=0.0)
    >>> total = drawn.factors.sum(axis=1)
    >>> drawn.x.shape, drawn.y.shape, drawn.factors.shape, bool(np.allclose(drawn.y[:, 0], total, atol=1e-5))
    ((1000, 4), (1000, 1), (1000, 3), True)
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    size, bedrooms, zip_code, wealth = x.T
    factors = np.maximum(np.stack([size + bedrooms + 1, 0.5 - zip_code, zip_code + wealth], axis=1), 0)
    y = factors.sum(axis=1, keepdims=True) + noise * rng.standard_normal((n, 1))
    return Houses(x.astype(np.float32), y.astype(np.float32), factors.astype(np.float32))
