"""What a function or an optimizer holds is compared wherever it is held; what changes from run to run is not."""

import os
import threading

import optax
import pytest

import fnn
from fnn.training.description import describe
from fnn.training.fingerprint import describe_optimizer
from tests.support.held_values import MADE, OPTIMIZERS, closing_over


@pytest.mark.parametrize("name", MADE)
def test_values_are_compared_wherever_a_function_holds_them(name):
    make = MADE[name]
    assert describe(fnn.sgd(make(0.9))) == describe(fnn.sgd(make(0.9)))
    assert describe(fnn.sgd(make(0.9))) != describe(fnn.sgd(make(0.1)))
    for builder in (fnn.sgd, optax.sgd):
        one, same, other = (describe_optimizer(builder(make(rate))) for rate in (0.9, 0.9, 0.1))
        assert one == same != other


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numbers_in_the_state_or_the_object_of_an_optimizer_are_compared(name):
    one, same, other = (describe_optimizer(OPTIMIZERS[name](rate)) for rate in (0.9, 0.9, 0.1))
    assert one == same != other


def test_what_cannot_be_described_is_its_type():
    """Values that change from run to run do not make a training another one."""
    file = lambda: os.fdopen(os.open(os.devnull, os.O_RDONLY))
    for make in (object, file, threading.Lock, lambda: (i for i in ())):
        one, other = make(), make()
        assert describe(closing_over(one)) == describe(closing_over(other))
        for value in (one, other):
            getattr(value, "close", lambda: None)()
    chain = None
    for _ in range(5000):
        chain = [chain]
    assert describe(closing_over(chain)) == describe(closing_over(chain))
