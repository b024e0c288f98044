"""Data sets that come with scikit-learn: real, small, and there without a download."""

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from experiments.errors import ExperimentError, needs


def load_digits() -> tuple[Float32[np.ndarray, "1797 64"], Int32[np.ndarray, " 1797"]]:
    """Handwritten digits: x, the pixels of 8x8 scans from 0 (paper) to 1 (ink), a row per scan; y, the digits 0 to 9.

    The test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998): 13 writers.

    >>> x, y = load_digits()
    >>> x.shape, x.min(), x.max(), y[:5]
    ((1797, 64), np.float32(0.0), np.float32(1.0), array([0, 1, 2, 3, 4], dtype=int32))
    """
    table = np.loadtxt(_digits_file(), delimiter=",", dtype=np.int32)
    return (table[:, :64] / 16).astype(np.float32), table[:, 64]


def _digits_file() -> Path:
    """The file inside scikit-learn: reading it takes a twentieth of the time that importing `sklearn.datasets` does."""
    needs("sklearn")
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(*(folders or ["sklearn"])[:1], "datasets", "data", "digits.csv.gz")
    if not path.is_file():
        raise ExperimentError(f"scikit-learn has no file {path}: a version newer than this experiment knows?")
    return path
