"""A training of an estimator: `fit` with rows padded to few shapes, and the rule that ends the training."""

import contextlib
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.training.fit import fit
from fnn.training.row_counts import few_rows
from fnn.training.step import fresh_state
from fnn.types import GradientTransformation, Layer, Loss, Metric, TrainState

_FEWEST = 32  # a program for fewer rows takes as long

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(x, y, weight)"""


class Validation(NamedTuple):
    """Held-out rows, and the score that is computed from what `fit` reports of them; the higher, the better."""

    data: Arrays
    score: Callable[[dict[str, float]], float]


class Rule(NamedTuple):
    """When a training ends: after `epochs`, or sooner if `patience` epochs in a row do not improve by `tol`."""

    epochs: int
    tol: float
    patience: float


class Trained(NamedTuple):
    """The result of a training.

    Attributes:
      state: the last state, or with validation the one with the best score; NumPy arrays.
      costs: the cost of each epoch.
      scores: the score of each epoch; empty without validation.
      settled: whether the rule ended the training before its last epoch.
    """

    state: TrainState
    costs: list[float]
    scores: list[float]
    settled: bool


def computing_in(dtype: Any) -> contextlib.AbstractContextManager:
    """The context in which JAX computes in this dtype."""
    return jax.enable_x64(True) if np.dtype(dtype) == np.float64 else contextlib.nullcontext()


def is_state_of(network: Layer, optimizer: GradientTransformation, state: TrainState) -> bool:
    """Return True if a training of this network and this optimizer can go on from the state."""
    fresh = jax.eval_shape(functools.partial(fresh_state, network, optimizer), state.key)
    shapes = lambda tree: [leaf.shape for leaf in jax.tree.leaves(tree)]
    return jax.tree.structure(fresh) == jax.tree.structure(state) and shapes(fresh) == shapes(state)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """The number of batches that this many rows make."""
    return -(-rows // batch_size)


def padded(data: Arrays, batch_size: int | None = None) -> Arrays:
    """Return the data with rows of weight 0 at the end, so that other numbers of rows compile few other programs.

    Rows that make one batch are padded as `few_rows` says and to at least 32, more rows to whole batches. Rows of
    weight 0 count for nothing; the padding repeats rows of the data, for layers that look at the whole batch.

    >>> x, y, weight = np.zeros((5, 2)), np.arange(5), np.ones(5)
    >>> padded((x, y, weight), 3)[1:]
    (array([0, 1, 2, 3, 4, 0]), array([1., 1., 1., 1., 1., 0.]))
    >>> padded((x, y, weight), 200)[0].shape
    (32, 2)
    """
    rows = len(data[0])
    if batch_size is None or rows <= batch_size:
        size = max(_FEWEST, few_rows(rows))
    else:
        size = steps_per_epoch(rows, batch_size) * batch_size
    index = np.arange(size) % rows
    weight = np.where(np.arange(size) < rows, data[2][index], 0).astype(data[2].dtype)
    return data[0][index], data[1][index], weight


def train(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    state: TrainState,
    data: Arrays,
    rule: Rule,
    *,
    batch_size: int,
    metrics: Mapping[str, Metric],
    validation: Validation | None = None,
    verbose: bool = False,
) -> Trained:
    """Train from this state until the rule ends it. The cost decides, or the score if there is validation."""
    costs: list[float] = []
    scores: list[float] = []
    best, best_state, waited = -math.inf, state, 0

    def callback(epoch: int, logs: dict[str, float], state: TrainState) -> bool:
        nonlocal best, best_state, waited
        costs.append(logs["cost"])
        if validation is not None:
            scores.append(validation.score(logs))
        value = -costs[-1] if validation is None else scores[-1]
        waited = waited + 1 if value < best + rule.tol else 0
        if value > best:
            best, best_state = value, state
        return waited > rule.patience

    arrays = padded(data, batch_size)
    result = fit(
        network,
        loss,
        optimizer,
        arrays,
        epochs=rule.epochs,
        batch_size=min(batch_size, len(arrays[0])) if len(data[0]) > batch_size else len(arrays[0]),
        state=state,
        validation=None if validation is None else padded(validation.data),
        metrics=metrics,
        progress=verbose,
        callback=callback,
        callback_every=1,
    )
    last = result.state if validation is None else best_state
    return Trained(jax.device_get(last), costs, scores, waited > rule.patience)
