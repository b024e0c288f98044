"""Scalars of any element type are checked as Python floats are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.support.entries import CROSS, NET

SCALARS = [float, np.float32, np.float64, np.float16, np.array, jnp.float32, jnp.array]
REFUSED = {
    "dropout": (fnn.dropout, 1.5),
    "momentum": (lambda beta: fnn.momentum(0.1, beta), 1.5),
    "adam": (lambda beta: fnn.adam(0.1, beta2=beta), 1.0),
    "epsilon": (lambda epsilon: fnn.adam(0.1, epsilon=epsilon), -1.0),
    "negative rate": (fnn.sgd, -0.5),
    "no rate": (fnn.adam, float("nan")),
    "l2": (lambda l2: fnn.value_and_grad(NET, CROSS, l2), -1.0),
    "add_l2": (fnn.add_l2, float("inf")),
    "layer_norm": (lambda epsilon: fnn.layer_norm(3, epsilon), -1.0),
}


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: scalar.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_scalars_of_any_type_are_checked_as_python_floats(name, scalar):
    build, bad = REFUSED[name]
    with pytest.raises(ValueError, match="must be"):
        build(scalar(bad))
    build(scalar(0.25))


def test_traced_scalars_are_not_checked():
    jax.jit(lambda rate: fnn.sgd(rate).update(jnp.ones(2), fnn.sgd(rate).init(jnp.ones(2)))[0])(-1.0)


def test_integers_beyond_every_float_are_refused():
    for build in (fnn.sgd, fnn.add_l2, lambda l2: fnn.value_and_grad(NET, CROSS, l2)):
        with pytest.raises(ValueError, match="must be finite"):
            build(10**400)


def test_errors_show_the_value_of_a_scalar_array():
    with pytest.raises(ValueError, match=r"momentum: beta must be in \[0, 1\), got float 1.0"):
        fnn.momentum(0.1, np.float32(1))
