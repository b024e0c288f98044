"""A network that `train` fitted to a table: inputs, predictions, files."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Float64, Int32

import fnn
from experiments import saved_models
from experiments.errors import DataError
from experiments.examples.common import ACTIVATIONS
from experiments.saved_models import PARAMS, RUN
from fnn.types import Params

FILES = ("figure.png", "history.csv", PARAMS, RUN)


class Model(NamedTuple):
    """Everything besides the parameters that a prediction needs.

    features, mean, std       columns that the network reads, in order, and their statistics over the training part
    target, classes           the column that it predicts and its classes; classes is () if the target is a quantity
    target_mean, target_std   statistics of a quantity over the training part: the network predicts (y - mean) / std
    hidden, activation, dropout   architecture, as in the flags of `train`
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target: str
    classes: tuple[str, ...]
    target_mean: float
    target_std: float
    hidden: tuple[int, ...]
    activation: str
    dropout: float


def make_network(model: Model) -> fnn.Layer:
    """Build the network; it outputs logits or the standardised quantity."""
    activation, w_init = ACTIVATIONS[model.activation]
    layers: list[fnn.Layer] = []
    n = len(model.features)
    for units in model.hidden:
        layers += [fnn.dense(n, units, w_init=w_init), activation]
        layers += [fnn.dropout(model.dropout)] if model.dropout else []
        n = units
    return fnn.serial(*layers, fnn.dense(n, len(model.classes) or 1, w_init=w_init))


def inputs(model: Model, x: Float64[np.ndarray, "n features"], source: object) -> Float32[np.ndarray, "n features"]:
    """Standardise the features and round to float32.

    The computation is in float64, so that a large offset costs no precision.
    """
    with np.errstate(over="ignore"):
        scaled = ((x - np.array(model.mean)[None]) / np.array(model.std)[None]).astype(np.float32)
    bad = ~np.isfinite(scaled)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        name = model.features[column]
        raise DataError(f"{source}: {name!r} is too far outside the range of the training data: {x[row, column]:g}")
    return scaled


class Predictions(NamedTuple):
    """Predictions, one per example.

    values          class indices, or the quantity
    probabilities   of every class; no columns if the target is a quantity
    """

    values: Int32[np.ndarray, " n"] | Float64[np.ndarray, " n"]
    probabilities: Float64[np.ndarray, "n classes"]


def predict(model: Model, params: Params, x: Float32[np.ndarray, "n features"]) -> Predictions:
    """Predict from standardised inputs."""
    out = np.asarray(fnn.predict(make_network(model), params, x, batch_size=10_000), np.float64)
    if not model.classes:
        return Predictions(out[:, 0] * model.target_std + model.target_mean, np.zeros((len(x), 0)))
    weights = np.exp(out - out.max(axis=1, keepdims=True))
    return Predictions(out.argmax(axis=1).astype(np.int32), weights / weights.sum(axis=1, keepdims=True))


def load(folder: Path) -> tuple[Model, Params]:
    """Load what `train` wrote into this folder.

    Raise DataError if files are missing or damaged.
    """

    def build(stored: dict[str, Any]) -> tuple[Model, Params]:
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
        }
        model = Model(**tuples)
        like = jax.eval_shape(make_network(model).init, jax.random.key(0))
        if not len(model.features) == len(model.mean) == len(model.std):
            raise DataError(f"{folder / RUN}: not written by `train`: features, mean and std differ in length")
        return model, like

    hint = "`python -m experiments train --data FILE.csv --target COLUMN` writes the folder that --run names"
    return saved_models.load(folder, "train", hint, build)
