"""The notes' layout in NumPy, with one example per column, and fnn's gradients transposed into it."""

import functools
from typing import NamedTuple

import jax
import numpy as np

import fnn
from tests.support.oracles import normal, spread_params


def sigma(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {  # name -> layer, g, g'
    "sigmoid": (fnn.sigmoid, sigma, lambda z: sigma(z) * (1 - sigma(z))),
    "tanh": (fnn.tanh, np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}


class Case(NamedTuple):
    """A network in the notes' notation. Dictionaries are indexed by the number of the layer, from 1.

    w        weights (n_out, n_in)
    b        biases (n_out, 1)
    z, a     weighted inputs and activations (n_out, m); a[0] holds the examples
    y        targets (n_y, m)
    slope    g' of each layer
    dw, db   fnn's gradients, transposed
    """

    w: dict[int, np.ndarray]
    b: dict[int, np.ndarray]
    z: dict[int, np.ndarray]
    a: dict[int, np.ndarray]
    y: np.ndarray
    slope: dict
    dw: dict[int, np.ndarray]
    db: dict[int, np.ndarray]


@functools.cache
def case(sizes=(5, 4, 3, 2), hidden=("sigmoid", "tanh"), m=11, y=None) -> Case:
    """Dense layers of these sizes in float64, with these activations, a sigmoid output and cross-entropy."""
    layers = [fnn.dense(sizes[0], sizes[1])]
    for name, n_in, n_out in zip(hidden, sizes[1:], sizes[2:], strict=False):
        layers += [ACTIVATIONS[name][0], fnn.dense(n_in, n_out)]
    network = fnn.serial(*layers)
    params = spread_params(network, 0, "float64")
    x = normal(1, (m, sizes[0]), "float64")
    target = (normal(2, (m, sizes[-1]), "float64") > 0).astype(float) if y is None else np.full((m, sizes[-1]), y)
    gradients = jax.jit(fnn.value_and_grad(network, fnn.sigmoid_cross_entropy))(params, x, target)[1]
    names = dict(enumerate((*hidden, "sigmoid"), 1))
    w = {i: p.w.T for i, p in enumerate(params[::2], 1)}
    b = {i: p.b[:, None] for i, p in enumerate(params[::2], 1)}
    z, a = {}, {0: x.T}
    for i in w:
        z[i] = w[i] @ a[i - 1] + b[i]
        a[i] = ACTIVATIONS[names[i]][1](z[i])
    dw = {i: np.asarray(p.w).T for i, p in enumerate(gradients[::2], 1)}
    db = {i: np.asarray(p.b)[:, None] for i, p in enumerate(gradients[::2], 1)}
    return Case(w, b, z, a, target.T, {i: ACTIVATIONS[name][2] for i, name in names.items()}, dw, db)


def same(a, b, rtol=1e-12) -> bool:
    """True if the shapes are equal, and the values up to rounding relative to the largest entry."""
    return np.shape(a) == np.shape(b) and np.max(np.abs(a - b)) <= rtol * np.max(np.abs(b))


def off(a, b) -> float:
    """The largest difference, relative to the largest entry of b."""
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
