"""A network that `train` made from a table, as `predict` uses it: what it reads, what it answers, its files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, Float64, Int32

import fnn
from experiments.errors import DataError
from experiments.examples.digits import ACTIVATIONS
from fnn.types import Params

PARAMS, RUN = "params.safetensors", "run.json"


class Model(NamedTuple):
    """What it takes to use the parameters.

    features, mean, std       the columns that it reads, in order; of the training part, to standardise them
    target, classes           the column that it predicts, and its values; classes are () where it is a quantity
    target_mean, target_std   of a quantity in the training part: the network predicts (y - mean) / std
    hidden, activation, dropout
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
    """Dense layers, each but the last followed by its activation and dropout; logits, or the standardised quantity."""
    activation, w_init = ACTIVATIONS[model.activation]
    layers: list[fnn.Layer] = []
    n = len(model.features)
    for units in model.hidden:
        layers += [fnn.dense(n, units, w_init=w_init), activation]
        layers += [fnn.dropout(model.dropout)] if model.dropout else []
        n = units
    return fnn.serial(*layers, fnn.dense(n, len(model.classes) or 1, w_init=w_init))


def inputs(model: Model, x: Float64[np.ndarray, "n features"], source: object) -> Float32[np.ndarray, "n features"]:
    """The features as the network reads them: standardised in float64, so that a large offset costs no digits."""
    with np.errstate(over="ignore"):
        scaled = ((x - np.array(model.mean)[None]) / np.array(model.std)[None]).astype(np.float32)
    bad = ~np.isfinite(scaled)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        name = model.features[column]
        raise DataError(f"{source}: {name!r} is too far from what was seen in training: {x[row, column]:g}")
    return scaled


class Answers(NamedTuple):
    """Per example: the class as an index and the probability of each, or the quantity and an array without columns."""

    values: Int32[np.ndarray, " n"] | Float64[np.ndarray, " n"]
    probabilities: Float64[np.ndarray, "n classes"]


def answers(model: Model, params: Params, x: Float32[np.ndarray, "n features"]) -> Answers:
    """What the network says of these inputs."""
    out = np.asarray(fnn.predict(make_network(model), params, x, batch_size=10_000), np.float64)
    if not model.classes:
        return Answers(out[:, 0] * model.target_std + model.target_mean, np.zeros((len(x), 0)))
    weights = np.exp(out - out.max(axis=1, keepdims=True))
    return Answers(out.argmax(axis=1).astype(np.int32), weights / weights.sum(axis=1, keepdims=True))


def truth(model: Model, text: tuple[str, ...], source: object) -> Int32[np.ndarray, " n"] | Float64[np.ndarray, " n"]:
    """What is written in a column, as answers have it: indices of classes, or numbers; DataError for something else."""
    if not model.classes:
        return quantities(model.target, text, source)
    found = class_indices(model.classes, text)
    if (found < 0).any():
        row = int(np.argmin(found))
        raise DataError(f"{source}: {model.target!r} is {text[row]!r} in row {row + 1}, which is none of the classes")
    return found


def class_indices(names: tuple[str, ...], text: tuple[str, ...]) -> Int32[np.ndarray, " n"]:
    """The place of each field among the names, -1 where it is none of them.

    >>> class_indices(("2", "10"), ("10.0", "2", "3"))
    array([ 1,  0, -1], dtype=int32)
    """
    index = {name: i for i, name in enumerate(names)}
    return np.array([index.get(_plain(field), -1) for field in text], np.int32)


def quantities(target: str, text: tuple[str, ...], source: object) -> Float64[np.ndarray, " n"]:
    """The numbers written in a column; DataError for one that is none."""
    numbers = [as_number(field) for field in text]
    if None in numbers:
        row = numbers.index(None)
        raise DataError(f"{source}: {target!r} must be a finite number, got {text[row][:40]!r} in row {row + 1}")
    return np.array(numbers, np.float64)


def as_number(field: str) -> float | None:
    """The finite number that is written there, or None.

    >>> as_number("1e3"), as_number("inf"), as_number("red")
    (1000.0, None, None)
    """
    try:
        number = float(field)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _plain(name: str) -> str:
    """A number's one spelling, so that 1 and 1.0 are one class; text as it is."""
    number = as_number(name)
    return name if number is None else str(int(number)) if number == int(number) else repr(number)


def class_names(text: tuple[str, ...]) -> tuple[str, ...]:
    """The values of a column, each once: numbers by size, text by the alphabet.

    >>> class_names(("b", "a", "b")), class_names(("10", "2", "2.0"))
    (('a', 'b'), ('2', '10'))
    """
    names = {_plain(name) for name in text}
    return tuple(sorted(names, key=lambda name: (as_number(name) is None, as_number(name) or 0.0, name)))


def save(folder: Path, model: Model, params: Params) -> Mapping[str, Any]:
    """Writes the parameters; -> what run.json must hold of the model."""
    fnn.checkpoint.export_params(folder / PARAMS, params)
    return model._asdict()


def load(folder: Path) -> tuple[Model, Params]:
    """What `train` left in this folder; DataError if it is not there or not whole."""
    path = folder / RUN
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["model"]
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
        }
        model = Model(**tuples)
        network = make_network(model)
        like = jax.eval_shape(network.init, jax.random.key(0))
        known = len(model.features) == len(model.mean) == len(model.std)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; --run names a folder of train") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a file of `train`: {type(error).__name__} {error}") from None
    if not known:
        raise DataError(f"{path}: not a file of `train`: features, mean and std differ in length")
    try:
        return model, fnn.checkpoint.import_params(folder / PARAMS, like)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / PARAMS}: {error}") from None
