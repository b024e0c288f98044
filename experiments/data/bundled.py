"""Small real data sets that come with scikit-learn and need no download.

Their files are read directly, which takes a twentieth of the time of importing `sklearn.datasets`.
"""

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from experiments.errors import ExperimentError, needs


def load_digits() -> tuple[Float32[np.ndarray, "1797 64"], Int32[np.ndarray, " 1797"]]:
    """Load handwritten digits (Alpaydin and Kaynak 1998).

    x: 8x8 scans from 0 (paper) to 1 (ink), a row per scan; y: the digits 0 to 9. They are the test part of the UCI set
    "Optical Recognition of Handwritten Digits", by 13 writers.

    >>> x, y = load_digits()
    >>> x.shape, x.min(), x.max(), y[:5]
    ((1797, 64), np.float32(0.0), np.float32(1.0), array([0, 1, 2, 3, 4], dtype=int32))
    """
    table = np.loadtxt(_file("digits.csv.gz"), delimiter=",", dtype=np.int32)
    return (table[:, :64] / 16).astype(np.float32), table[:, 64]


def load_iris() -> tuple[Float32[np.ndarray, "150 4"], Int32[np.ndarray, " 150"]]:
    """Load iris flowers (Fisher 1936).

    x: length and width of sepals and petals in cm; y: the species, 0 to 2.

    >>> x, y = load_iris()
    >>> x.shape, np.bincount(y)
    ((150, 4), array([50, 50, 50]))
    """
    return _labelled("iris.csv")


def load_wine() -> tuple[Float32[np.ndarray, "178 13"], Int32[np.ndarray, " 178"]]:
    """Load wines (UCI).

    x: 13 measurements in units that differ by a factor of 1000; y: the cultivar, 0 to 2.

    >>> x, y = load_wine()
    >>> x.shape, np.bincount(y)
    ((178, 13), array([59, 71, 48]))
    """
    return _labelled("wine_data.csv")


def load_breast_cancer() -> tuple[Float32[np.ndarray, "569 30"], Int32[np.ndarray, " 569"]]:
    """Load breast tumours (UCI, Wisconsin, diagnostic).

    x: 30 measurements of cell nuclei; y: 0 malignant, 1 benign.

    >>> x, y = load_breast_cancer()
    >>> x.shape, np.bincount(y)
    ((569, 30), array([212, 357]))
    """
    return _labelled("breast_cancer.csv")


def load_diabetes() -> tuple[Float32[np.ndarray, "442 10"], Float32[np.ndarray, "442 1"]]:
    """Load diabetes patients (Efron et al. 2004).

    x: ten measurements; y: disease progression after a year, a column.

    The measurements are age, sex, body mass index, blood pressure and six blood values, in their own units.

    >>> x, y = load_diabetes()
    >>> x.shape, y.shape, y.min(), y.max()
    ((442, 10), (442, 1), np.float32(25.0), np.float32(346.0))
    """
    x = np.loadtxt(_file("diabetes_data_raw.csv.gz"), dtype=np.float32)
    return x, np.loadtxt(_file("diabetes_target.csv.gz"), dtype=np.float32)[:, None]


def _labelled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a file with a header line, features, and the class in the last column."""
    table = np.loadtxt(_file(name), delimiter=",", skiprows=1)
    return table[:, :-1].astype(np.float32), table[:, -1].astype(np.int32)


def _file(name: str) -> Path:
    """Return the path of a data file inside scikit-learn."""
    needs("sklearn")
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(*(folders or ["sklearn"])[:1], "datasets", "data", name)
    if not path.is_file():
        raise ExperimentError(f"scikit-learn has no file {path}: this version of scikit-learn is not supported")
    return path
