"""Equinox with optax: a module for one example, vmapped, in a loop over batches.

Each batch calls a step under `eqx.filter_jit`.
"""

# pyright: reportMissingImports=false

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.peers import Job
from experiments.benchmarks.sequences import recurrent_weights
from experiments.benchmarks.workloads import Data, Workload, initial_weights

ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}


class Network(eqx.Module):
    """The workload's network as a module: one example at a time, channels first."""

    convolutions: list
    dense: list
    pool: eqx.nn.MaxPool2d
    activation: Callable = eqx.field(static=True)

    def __init__(self, work: Workload):
        key = jax.random.key(0)  # the random weights are replaced
        channels = itertools.pairwise((1, *work.filters)) if work.filters else ()
        self.convolutions = [eqx.nn.Conv2d(*pair, 5, key=key) for pair in channels]
        self.dense = [eqx.nn.Linear(*pair, key=key) for pair in itertools.pairwise(work.sizes)]
        self.pool = eqx.nn.MaxPool2d(2, 2)
        self.activation = ACTIVATIONS[work.activation]

    def __call__(self, x):
        for convolution in self.convolutions:
            x = self.pool(self.activation(convolution(x)))
        x = x.reshape(-1)
        for layer in self.dense[:-1]:
            x = self.activation(layer(x))
        return self.dense[-1](x)


class LastState(eqx.Module):
    """A recurrent layer, and a linear one on its last state: one sequence at a time."""

    cell: eqx.Module
    head: eqx.nn.Linear

    def __init__(self, work: Workload):
        key, (n_in, n, k) = jax.random.key(0), work.sizes  # the random weights are replaced
        self.cell = (eqx.nn.LSTMCell if work.cell == "lstm" else eqx.nn.GRUCell)(n_in, n, key=key)
        self.head = eqx.nn.Linear(n, k, key=key)

    def __call__(self, x):
        state = jnp.zeros(self.cell.hidden_size)
        state = (state, state) if isinstance(self.cell, eqx.nn.LSTMCell) else state
        state, _ = jax.lax.scan(lambda state, x: (self.cell(x, state), None), state, x)
        return self.head(state[0] if isinstance(state, tuple) else state)


def make_recurrent(work: Workload) -> LastState:
    """Return the recurrent network with the workload's initial weights in Equinox's layout."""
    w, u, b, c, v, d = recurrent_weights(work)

    def where(model):
        inner = [model.cell.bias_n] if work.cell == "gru" else []
        return [model.cell.weight_ih, model.cell.weight_hh, model.cell.bias, *inner, model.head.weight, model.head.bias]

    leaves = [w.T, u.T, b, *([c] if work.cell == "gru" else []), v.T, d]
    return eqx.tree_at(where, LastState(work), [jnp.array(leaf) for leaf in leaves])


def make_network(work: Workload) -> Network | LastState:
    """Return the network with the workload's initial weights in Equinox's layout."""
    if work.kind == "recurrent":
        return make_recurrent(work)
    model, weights = Network(work), initial_weights(work)
    convolutions, dense = weights[: len(work.filters)], weights[len(work.filters) :]
    leaves = []
    for w, b in convolutions:
        leaves += [w.transpose(3, 2, 0, 1), b.reshape(-1, 1, 1)]
    for i, (w, b) in enumerate(dense):
        leaves += [channels_first(w).T if convolutions and i == 0 else w.T, b]

    def where(model):
        return [leaf for layer in (*model.convolutions, *model.dense) for leaf in (layer.weight, layer.bias)]

    return eqx.tree_at(where, model, [jnp.array(leaf) for leaf in leaves])


def channels_first(w: np.ndarray) -> np.ndarray:
    """Reorder the inputs of the cnn's first dense layer from 4x4x40 to 40x4x4."""
    return w.reshape(4, 4, -1, w.shape[1]).transpose(2, 0, 1, 3).reshape(w.shape)


def images(work: Workload, x: np.ndarray) -> jax.Array:
    """Return rows of pixels on the device, as images for a cnn."""
    return jnp.asarray(x.reshape(-1, 1, 28, 28) if work.kind == "cnn" else x)


def train(work: Workload, data: Data) -> Job:
    """A unit is an epoch.

    A step selects its batch from the data on the device, so a call passes indices only.
    """
    x, y, optimizer = images(work, data.x), jnp.asarray(data.y), optax.sgd(work.learning_rate)
    rng = np.random.default_rng(0)

    def cost(model, x, y):
        logits = jax.vmap(model)(x)
        if work.loss == "sigmoid":
            return optax.sigmoid_binary_cross_entropy(logits, y).sum(axis=-1).mean()
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @eqx.filter_jit
    def make_step(model, opt_state, index, x, y):
        value, grads = eqx.filter_value_and_grad(cost)(model, x[index], y[index])
        updates, opt_state = optimizer.update(grads, opt_state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), opt_state, value

    model = opt_state = None

    def reset() -> None:
        nonlocal model, opt_state
        model = make_network(work)
        opt_state = optimizer.init(eqx.filter(model, eqx.is_array))

    def unit() -> None:
        nonlocal model, opt_state
        for index in rng.permutation(work.examples).astype(np.int32).reshape(-1, work.batch):
            model, opt_state, _ = make_step(model, opt_state, index, x, y)
        jax.block_until_ready(eqx.filter(model, eqx.is_array))

    def predict() -> np.ndarray:
        logits = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))
        parts = np.array_split(data.test_x, max(1, len(data.test_x) // 1000))
        return np.concatenate([np.asarray(logits(model, images(work, part))) for part in parts])

    reset()
    return Job(unit, reset, predict)


def predict_only(work: Workload, data: Data) -> Job:
    """A unit is a prediction for all images."""
    model, x, result = make_network(work), images(work, data.test_x), None
    logits = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))

    def unit() -> None:
        nonlocal result
        result = logits(model, x).block_until_ready()

    return Job(unit, lambda: None, lambda: np.asarray(result))


def make(name: str, work: Workload, data: Data) -> Job:
    """Return Equinox's job for a workload."""
    return predict_only(work, data) if work.kind == "predict" else train(work, data)
