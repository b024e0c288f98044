"""One network for a table, with an architecture and a training that flags set."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import fnn
from experiments.examples import common
from experiments.examples.common import ACTIVATIONS, OPTIMIZERS
from fnn.types import FitResult, Params


class Architecture(NamedTuple):
    """A network, and the standardisation of the quantity that it predicts.

    inputs, outputs   numbers of its inputs and outputs: classes, or 1
    hidden, activation, dropout   as in the flags of `train`
    center, scale     a quantity is predicted as (y - center) / scale
    """

    inputs: int
    outputs: int
    hidden: tuple[int, ...]
    activation: str
    dropout: float
    center: float = 0.0
    scale: float = 1.0


class Training(NamedTuple):
    """Hyperparameters of the training, as in the flags of `train`."""

    optimizer: str
    learning_rate: float | None
    epochs: int
    batch_size: int
    l2: float
    patience: int
    seed: int


def make_network(architecture: Architecture) -> fnn.Layer:
    """Build the network; it outputs logits or the standardised quantity."""
    activation, w_init = ACTIVATIONS[architecture.activation]
    layers: list[fnn.Layer] = []
    n = architecture.inputs
    for units in architecture.hidden:
        layers += [fnn.dense(n, units, w_init=w_init), activation]
        layers += [fnn.dropout(architecture.dropout)] if architecture.dropout else []
        n = units
    return fnn.serial(*layers, fnn.dense(n, architecture.outputs, w_init=w_init))


Part = tuple[Float[np.ndarray, "n inputs"], np.ndarray]


def train_network(architecture: Architecture, training: Training, train: Part, validation: Part) -> FitResult:
    """Train the network; the parameters of the epoch with the least validation cost are kept."""
    classes = architecture.outputs > 1
    make_optimizer, default_rate = OPTIMIZERS[training.optimizer]
    return common.fit(
        make_network(architecture),
        fnn.softmax_cross_entropy if classes else fnn.squared_error,
        make_optimizer(default_rate if training.learning_rate is None else training.learning_rate),
        _as_data(architecture, train),
        epochs=training.epochs,
        batch_size=min(training.batch_size, len(train[1])),
        key=jax.random.key(training.seed),
        l2=training.l2,
        validation=_as_data(architecture, validation),
        patience=training.patience,
        guessing=float(np.log(architecture.outputs)) if classes else 0.5,  # of a standardised quantity
    )


def _as_data(architecture: Architecture, part: Part) -> tuple[Any, Any]:
    x, y = part
    if architecture.outputs == 1:
        y = ((y - architecture.center) / architecture.scale).astype(np.float32)[:, None]
    return jnp.asarray(x, jnp.float32), jnp.asarray(y)


def predict(architecture: Architecture, params: Params, x: Float[np.ndarray, "n inputs"]) -> Float[np.ndarray, "n k"]:
    """Return probabilities of the classes, or the quantity in its own unit."""
    out = fnn.predict(make_network(architecture), params, np.asarray(x, np.float32), batch_size=10_000)
    z = np.asarray(out, np.float64)
    if architecture.outputs == 1:
        return z * architecture.scale + architecture.center
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
