"""Integers are checked before they are narrowed, and compared in a dtype that holds every class."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.data import one_hot
from fnn.losses import squared_error
from tests.support.entries import CROSS, ENTRIES, NET, K, X, Y, fit
from tests.support.slow import slow_except


@pytest.mark.parametrize(
    ("entry", "value"),
    slow_except(
        [(entry, value) for entry in ENTRIES for value in (2**32, -(2**63), 2**31)],
        *[(entry, 2**32) for entry in ("fit", "device_memory", "stream", "make_run", "value_and_grad", "one_hot")],
        ("accuracy", -(2**63)),
        ("loss", 2**31),
    ),
)
def test_integers_are_not_narrowed_before_they_are_checked(entry, value):
    y = Y.astype("int64")
    y[5] = value
    with pytest.raises(ValueError, match=rf"{value}.*row") as caught:
        ENTRIES[entry](X, y)
    assert "row 2 of" in str(caught.value) or "row 5" in str(caught.value) or entry == "stream"


def test_unsigned_integers_and_regression_targets_do_not_wrap():
    with pytest.raises(ValueError, match=r"y must be integers that fit uint32, got 4294967296 in row 8"):
        fit((X, np.array([0, 1, 2, 0, 1, 2, 0, 1, 2**32], "uint64")))
    target = np.array([[0, 1, 2], [0, 0, 3_000_000_000]])
    with pytest.raises(ValueError, match=r"integers that fit int32, got 3000000000 in row 1"):
        fnn.value_and_grad(NET, squared_error)(NET.init(K), X[:2], target)
    with pytest.raises(ValueError, match=r"labels in 0..2, got 0..7, first in row 4: 7"):
        fit((X, np.where(np.arange(9) == 4, 7, Y)))


@pytest.mark.parametrize("kind", ["uint8", "int8", "bool"])
def test_accuracy_compares_in_a_dtype_that_holds_every_class(kind):
    prediction = jnp.zeros((1, 300)).at[0, 256].set(1)
    assert float(fnn.accuracy(prediction, jnp.zeros(1, kind))[0]) == 0
    label = jnp.ones(1, kind)
    assert float(fnn.accuracy(jnp.zeros((1, 300)).at[0, 2].set(1), label)[0]) == 0
    assert float(fnn.accuracy(jnp.zeros((1, 300)).at[0, 1].set(1), label)[0]) == 1
    assert np.isfinite(CROSS.forward(prediction, jnp.zeros(1, "uint8"))[0]).all()


@pytest.mark.parametrize("kind", ["uint8", "int16"])
def test_one_hot_compares_in_a_dtype_that_holds_every_class(kind):
    """300 as uint8 is 44."""
    np.testing.assert_array_equal(np.argmax(one_hot(np.array([255, 45, 0], kind), 300), 1), [255, 45, 0])
    with pytest.raises(ValueError, match=r"in 0..43, got 0..45, first in row 1: 45"):
        one_hot(np.array([0, 45], kind), 44)


def test_make_epoch_checks_integers_before_jit_narrows_them():
    optimizer = fnn.sgd(0.1)
    epoch = fnn.make_epoch(fnn.make_step(NET, CROSS, optimizer), 3)
    wide = Y.astype("int64") + 2**32
    with pytest.raises(
        ValueError, match=r"make_epoch: data\[1\] must be integers that fit int32, got 4294967296 in row 0"
    ):
        epoch(fnn.init_state(NET, optimizer, K), (X, wide))
