"""Masked arrays are refused and other byte orders converted, on every path."""

import jax
import numpy as np
import pytest

import fnn
from fnn.data import fit_standardization, split, standardize
from tests.support.entries import ENTRIES, NET, K, X, Y
from tests.support.slow import slow_except

MASKED = np.ma.array(X, mask=np.zeros_like(X, bool))
MASKED[2, 1] = np.ma.masked


@pytest.mark.parametrize("entry", [name for name in ENTRIES if name not in ("loss", "accuracy", "one_hot")])
def test_masked_arrays_are_refused_everywhere(entry):
    with pytest.raises(TypeError, match="without a mask"):
        ENTRIES[entry](MASKED, Y)


def test_masked_arrays_are_refused_by_functions_of_data():
    for call in (
        lambda: split(K, (MASKED, Y), (0.5, 0.5)),
        lambda: split(K, (X, Y), (0.5, 0.5), stratify=np.ma.array(Y, mask=Y == 1)),
        lambda: standardize(MASKED),
        lambda: fit_standardization(MASKED.astype("float64")),
        lambda: fnn.predict(NET, NET.init(K), MASKED),
        lambda: fnn.accuracy(X[:, :3], np.ma.array(Y, mask=Y == 1)),
    ):
        with pytest.raises(TypeError, match="without a mask"):
            call()


@pytest.mark.parametrize(
    "entry",
    slow_except(
        [name for name in ENTRIES if name not in ("validation", "batches", "loss", "accuracy")],
        *("place", "evaluate", "value_and_grad", "one_hot"),
    ),
)
def test_other_byte_orders_are_converted_everywhere(entry):
    got = ENTRIES[entry](X.astype(">f4"), Y.astype(">i8"))
    wanted = ENTRIES[entry](X, Y)
    if entry in ("fit", "device_memory", "stream", "mesh"):
        got, wanted = got.state.params, wanted.state.params
    if entry not in ("make_run", "place"):
        jax.tree.map(np.testing.assert_array_equal, got, wanted)
