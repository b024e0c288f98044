"""Cross-validation as a sweep: five folds of 23 examples that share the batches, each with weights of its own."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from tests.support.sweeping import LOSS, X, Y, keys

FOLD = np.arange(23) % 5
HELD_OUT = np.stack([np.resize(np.append(np.flatnonzero(k == FOLD), -1), 5) for k in range(5)])
HELD_OUT[:, 4] = np.where(FOLD[HELD_OUT[:, 4]] == np.arange(5), HELD_OUT[:, 4], -1)
HYPERS = {
    "rate": jnp.linspace(0.02, 0.1, 5),
    "width": jnp.array([6, 0, 3, 6, 2]),
    "dropout": jnp.array([0.0, 0.2, 0.4, 0.1, 0.3]),
    "fold": jnp.arange(5),
    "held_out": jnp.asarray(HELD_OUT),
    "seed": jnp.array([3, 1, 4, 1, 5]),
    "stop": jnp.array([20, 0, 9, 5, 30]),
}
ONE = jax.tree.map(lambda leaf: leaf[0], HYPERS)


def network(hyper):
    """A linear model and beside it a network with one hidden layer, of a width and a rate of dropout that may vary."""
    width = hyper["width"]
    hidden = fnn.masked_dense(4, 6, 4, width), fnn.tanh, fnn.dropout(hyper["dropout"]), fnn.masked_dense(6, 3, width, 3)
    return fnn.add(fnn.dense(4, 3), fnn.serial(*hidden))


def weight(hyper):
    return jnp.asarray(FOLD) != hyper["fold"]


def make_run(batch_size=6, **changes: Any):
    options = {
        "network": network,
        "make_optimizer": lambda hyper: fnn.adam(hyper["rate"]),
        "data": (X, Y),
        "l2": 1e-3,
        "weight": weight,
        "held_out": lambda hyper: hyper["held_out"],
    } | changes
    return fnn.make_run(loss=LOSS, batch_size=batch_size, **options)


def everything(**changes: Any):
    """A run with every option, of 20 steps with three reports at unequal distances."""
    options = {
        "steps": 20,
        "report_at": (2, 5, 20),
        "outputs": lambda z: {"probability": jax.nn.softmax(z), "label": z.argmax(-1)},
        "seed": lambda hyper: hyper["seed"],
        "stop": lambda hyper: hyper["stop"],
        "keep": "validation_cost",
    }
    return make_run(**options | changes)


RUN = everything()


@functools.cache
def results():
    """The sweep of RUN over HYPERS and two keys. One compiled program serves all tests."""
    return fnn.sweep(RUN, HYPERS, keys(2))


def of(tree, i, j):
    """Run i, j of a sweep's results."""
    return jax.tree.map(lambda leaf: leaf[i, j], tree)


def hyper_of(i, hypers=HYPERS):
    return jax.tree.map(lambda leaf: leaf[i], hypers)


def assert_same(got, expected, rtol=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
