"""Points of two classes in the plane, made from a seed."""

import numpy as np

from experiments.data.generators import Classified


def moons(seed: int, n: int = 400, noise: float = 0.2) -> Classified:
    """Two half circles of radius 1 that reach into each other, as in scikit-learn's `make_moons`.

    Class 0: (cos t, sin t), class 1: (1 - cos t, 1/2 - sin t), t evenly over [0, π], each with normal noise.
    The best line gets 0.88 of them right at noise 0.2.

    >>> x, y = moons(0)
    >>> x.shape, x.dtype, np.bincount(y)
    ((400, 2), dtype('float32'), array([200, 200]))
    """
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(2, dtype=np.int32), [n - n // 2, n // 2])
    t = np.concatenate([np.linspace(0, np.pi, n - n // 2), np.linspace(0, np.pi, n // 2)])
    x = np.where(y[:, None] == 0, np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 0.5 - np.sin(t)], 1))
    return Classified((x + noise * rng.standard_normal((n, 2))).astype(np.float32), y)
