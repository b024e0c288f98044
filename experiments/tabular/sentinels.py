"""Numbers such as -999 that may stand for a missing value."""

from collections.abc import Mapping

import numpy as np

_CODES = (-99, -999, -9999, -99999, -999999, 99, 999, 9999, 99999, 999999)
_FEWEST, _SHARE = 3, 0.01  # rows that hold such a number, and their share


def find_sentinels(columns: Mapping[str, np.ndarray]) -> list[str]:
    """Return a warning for each column in which such a number occurs often, and far from all other values.

    >>> find_sentinels({"t": np.array([20.5, 21.0, -999.0, 19.5, -999.0, 20.0, -999.0])})
    ["'t' is -999 in 3 rows, far from all other values; if that means a missing value, use --missing=-999"]
    >>> find_sentinels({"age": np.array([80.0, 99.0, 7.0, 99.0, 30.0, 99.0])})
    []
    """
    found = []
    for name, values in columns.items():
        for code in _CODES:
            here = values == code
            others = values[~here & ~np.isnan(values)]
            if here.sum() < max(_FEWEST, _SHARE * len(values)) or len(np.unique(others)) < 2:
                continue
            low, high = others.min(), others.max()
            if min(abs(code - low), abs(code - high)) > high - low and not low <= code <= high:
                found.append(
                    f"{name!r} is {code} in {here.sum():,} rows, far from all other values; if that means a missing "
                    f"value, use --missing={code}"
                )
    return found
