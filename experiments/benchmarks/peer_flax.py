"""Flax NNX with optax: a loop over batches calls a compiled train step.

The graph is cached with `nnx.cached_partial`.
"""

# pyright: reportMissingImports=false

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.benchmarks.peers import Job
from experiments.benchmarks.sequences import recurrent_weights
from experiments.benchmarks.workloads import Data, Workload, initial_weights

ACTIVATIONS = {"relu": nnx.relu, "sigmoid": nnx.sigmoid}


class Network(nnx.Module):
    """The workload's network as a module."""

    def __init__(self, work: Workload, rngs: nnx.Rngs):
        self.activation = ACTIVATIONS[work.activation]
        convolutions = itertools.pairwise((1, *work.filters)) if work.filters else ()
        self.convolutions = nnx.List([nnx.Conv(*pair, (5, 5), padding="VALID", rngs=rngs) for pair in convolutions])
        self.dense = nnx.List([nnx.Linear(*pair, rngs=rngs) for pair in itertools.pairwise(work.sizes)])
        for layer, (w, b) in zip((*self.convolutions, *self.dense), initial_weights(work), strict=True):
            layer.kernel[...] = jnp.array(w)
            if layer.bias is not None:
                layer.bias[...] = jnp.array(b)

    def __call__(self, x):
        for convolution in self.convolutions:
            x = nnx.max_pool(self.activation(convolution(x)), window_shape=(2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        for layer in self.dense[:-1]:
            x = self.activation(layer(x))
        return self.dense[-1](x)


class LastState(nnx.Module):
    """A recurrent layer, and a linear one on its output at the last position."""

    def __init__(self, name: str, work: Workload, rngs: nnx.Rngs):
        n_in, n, k = work.sizes
        lstm = nnx.LSTMCell if name == "flax-lstm-cell" else nnx.OptimizedLSTMCell
        self.rnn = nnx.RNN((lstm if work.cell == "lstm" else nnx.GRUCell)(n_in, n, rngs=rngs))
        self.head = nnx.Linear(n, k, rngs=rngs)
        w, u, b, _, v, d = map(jnp.array, recurrent_weights(work))  # the GRU has no inner bias
        cell = self.rnn.cell
        if name == "flax-lstm-cell":
            parts = zip("ifgo", *(jnp.split(array, 4, axis=-1) for array in (w, u, b)), strict=True)
            for gate, w_gate, u_gate, b_gate in parts:
                inputs = cell.if_ if gate == "f" else getattr(cell, f"i{gate}")
                state = getattr(cell, f"h{gate}")
                inputs.kernel[...], state.kernel[...], state.bias[...] = w_gate, u_gate, b_gate
        else:
            cell.dense_i.kernel[...], cell.dense_h.kernel[...] = w, u
            (cell.dense_h if work.cell == "lstm" else cell.dense_i).bias[...] = b
        self.head.kernel[...], self.head.bias[...] = v, d

    def __call__(self, x):
        carry = self.rnn.cell.initialize_carry((x.shape[0], x.shape[2]), nnx.Rngs(0))
        return self.head(self.rnn(x, initial_carry=carry)[:, -1])


def images(work: Workload, x: np.ndarray) -> jax.Array:
    """Return rows of pixels on the device, as images for a cnn."""
    return jnp.asarray(x.reshape(-1, 28, 28, 1) if work.kind == "cnn" else x)


def train(name: str, work: Workload, data: Data) -> Job:
    """A unit is an epoch.

    A step selects its batch from the data on the device, so a call passes indices only.
    """
    x, y = images(work, data.x), jnp.asarray(data.y)
    rng = np.random.default_rng(0)

    def cost(model, x, y):
        logits = model(x)
        if work.loss == "sigmoid":
            return optax.sigmoid_binary_cross_entropy(logits, y).sum(axis=-1).mean()
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @nnx.jit
    def train_step(model, optimizer, index, x, y):
        value, grads = nnx.value_and_grad(cost)(model, x[index], y[index])
        optimizer.update(model, grads)
        return value

    model = LastState(name, work, nnx.Rngs(0)) if work.kind == "recurrent" else Network(work, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(work.learning_rate), wrt=nnx.Param)
    step = nnx.cached_partial(train_step, model, optimizer)
    start = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))

    def reset() -> None:
        nnx.update(model, jax.tree.map(jnp.copy, start))

    def unit() -> None:
        for index in rng.permutation(work.examples).astype(np.int32).reshape(-1, work.batch):
            step(index, x, y)
        jax.block_until_ready(nnx.state(model))

    def predict() -> np.ndarray:
        logits = nnx.jit(lambda model, x: model(x))
        parts = np.array_split(data.test_x, max(1, len(data.test_x) // 1000))
        return np.concatenate([np.asarray(logits(model, images(work, part))) for part in parts])

    return Job(unit, reset, predict)


def predict_only(work: Workload, data: Data) -> Job:
    """A unit is a prediction for all images."""
    logits = nnx.cached_partial(nnx.jit(lambda model, x: model(x)), Network(work, nnx.Rngs(0)))
    x, result = images(work, data.test_x), None

    def unit() -> None:
        nonlocal result
        result = logits(x).block_until_ready()

    return Job(unit, lambda: None, lambda: np.asarray(result))


def make(name: str, work: Workload, data: Data) -> Job:
    """Return Flax's job for a workload."""
    return predict_only(work, data) if work.kind == "predict" else train(name, work, data)
