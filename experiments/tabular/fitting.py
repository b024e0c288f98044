"""The training of a model: a search over many networks, or one network."""

import math
from typing import Any, NamedTuple

import numpy as np

import fnn
import fnn.search
from experiments.errors import usage
from experiments.tabular import network
from experiments.tabular.model import Model, features, inputs, predict
from experiments.tabular.network import Architecture, Training
from experiments.tabular.prepare import Prepared
from experiments.tabular.transform import make_transformer
from experiments.tabular.values import ID
from fnn.types import FitResult

_FEWEST_ERRORS = 40  # from which an interval of 90 % is told


class Fitted(NamedTuple):
    """A trained model.

    model      the model
    report     what the search found; None if one network was trained
    result     state and history of the training of one network; None after a search
    train      rows of the table that the model learnt from
    test       rows that took no part; none if all were used
    """

    model: Model
    report: fnn.search.Report | None
    result: FitResult | None
    train: np.ndarray
    test: np.ndarray


def split(prepared: Prepared, fractions: tuple[float, ...], seed: int) -> list[np.ndarray]:
    """Return the rows of parts of these sizes, each with its share of each class."""
    import jax

    stratify = prepared.y if prepared.target.classes else None
    rows = np.arange(len(prepared.y))
    parts = fnn.data.split(jax.random.key(seed), (rows, prepared.y), fractions, stratify=stratify)
    return [np.sort(np.asarray(part[0])) for part in parts]


def search(
    prepared: Prepared, missing: tuple[str, ...], model: str | None, budget: float | None, test: float, seed: int
) -> Fitted:
    """Search for networks, with all rows but those of the test part."""
    train, held_out = split(prepared, (1 - test, test), seed) if test else (np.arange(len(prepared.y)), np.arange(0))
    transformer, x = _transform(prepared, train)
    candidates = {"linear": fnn.search.linear_candidates, "network": fnn.search.network_candidates}
    options: Any = {"seed": seed, "seconds": budget, "candidates": candidates[model]() if model else None}
    y = prepared.y[train]
    if prepared.target.classes:
        found = fnn.search.classes(x, y, len(prepared.target.classes), **options)
        spread = None
    else:
        found = fnn.search.quantities(x, y[:, None], **options)
        inside = found.report.folds >= 0
        spread = _spread(y[inside] - found.report.out_of_fold[inside, 0])
    fitted = Model(_kept(prepared), prepared.target, missing, transformer, found.ensemble, None, spread)
    return Fitted(fitted, found.report, None, train, held_out)


def train_one(
    prepared: Prepared,
    missing: tuple[str, ...],
    hidden: tuple[int, ...],
    activation: str,
    dropout: float,
    training: Training,
    validation: float,
    test: float,
) -> Fitted:
    """Train one network; a validation part decides which epoch's parameters are kept."""
    parts = split(prepared, (1 - validation - test, validation, test), training.seed)
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if not len(part):
            raise usage("--validation and --test", "fractions that leave rows in every part", f"none for {name}")
    train, middle, held_out = parts
    transformer, x = _transform(prepared, train)
    y, classes = prepared.y, prepared.target.classes
    center, scale = (0.0, 1.0) if classes else (float(np.mean(y[train])), float(np.std(y[train])) or 1.0)
    architecture = Architecture(x.shape[1], len(classes) or 1, hidden, activation, dropout, center, scale)
    model = Model(_kept(prepared), prepared.target, missing, transformer, None, (architecture, None))
    x_middle = inputs(model, prepared.frame.iloc[middle], "the validation part")
    result = network.train_network(architecture, training, (x, y[train]), (x_middle, y[middle]))
    model = model._replace(network=(architecture, result.state.params))
    if not classes:
        predicted = predict(model, inputs(model, prepared.frame.iloc[held_out], "the test part"))
        model = model._replace(spread=_spread(y[held_out] - predicted[:, 0]))
    return Fitted(model, None, result, train, held_out)


def _transform(prepared: Prepared, train: np.ndarray) -> tuple[Any, np.ndarray]:
    """Fit the transformer to the training rows; return it and their numbers."""
    transformer = make_transformer(features(prepared.columns))
    return transformer, transformer.fit_transform(prepared.frame.iloc[train])


def _kept(prepared: Prepared) -> tuple[Any, ...]:
    used = {column.name for column in features(prepared.columns)}
    return tuple(column for column in prepared.columns if column.name in used or column.kind == ID)


def _spread(errors: np.ndarray) -> tuple[float, float] | None:
    """Return the 5 % and 95 % quantiles of errors on held-out rows, widened for their number (conformal prediction)."""
    n, ordered = len(errors), np.sort(errors)
    if n < _FEWEST_ERRORS:
        return None
    return float(ordered[int(0.05 * (n + 1)) - 1]), float(ordered[math.ceil(0.95 * (n + 1)) - 1])
