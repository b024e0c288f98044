"""A small run to sweep: an optimizer with two hyperparameters, a penalty, validation and a smaller last batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from tests.support.oracles import normal

X, Y = normal(0, (23, 4)), np.random.default_rng(0).integers(0, 3, 23)
LOSS = fnn.softmax_cross_entropy
KEY = jax.random.key(7)


class Hyper(NamedTuple):
    alpha: jax.Array
    beta: jax.Array
    l2: jax.Array


HYPERS = Hyper(jnp.array([0.1, 0.3, 0.5, 0.7, 0.9]), jnp.linspace(0.0, 0.8, 5), jnp.logspace(-4, -1, 5))


def make_run(batch_size=6, epochs=3, **changes):
    options = {
        "network": fnn.mlp([4, 6, 3], fnn.tanh),
        "make_optimizer": lambda h: fnn.momentum(h.alpha, h.beta),
        "data": (X, Y),
        "l2": lambda h: h.l2,
        "validation": (X[:7], Y[:7]),
    } | changes
    return fnn.make_run(loss=LOSS, epochs=epochs, batch_size=batch_size, **options)


def keys(n):
    return jax.random.split(KEY, 3)[:n]
