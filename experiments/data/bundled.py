"""Data sets that come with scikit-learn: real, small, and there without a download."""

import numpy as np
from jaxtyping import Float32, Int32

from experiments.errors import needs


def load_digits() -> tuple[Float32[np.ndarray, "1797 64"], Int32[np.ndarray, " 1797"]]:
    """Handwritten digits: x, the pixels of 8x8 scans from 0 (paper) to 1 (ink), a row per scan; y, the digits 0 to 9.

    The test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998): 13 writers.

    >>> x, y = load_digits()
    >>> x.shape, x.min(), x.max(), y[:5]
    ((1797, 64), np.float32(0.0), np.float32(1.0), array([0, 1, 2, 3, 4], dtype=int32))
    """
    needs("sklearn")
    from sklearn import datasets

    x, y = datasets.load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int32)
