"""The parameters of an estimator: their checks, and the network and the optimizer that they make."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.typing import DTypeLike
from sklearn.utils.validation import _check_sample_weight

from fnn import checks
from fnn.estimators.known import known, with_dtype
from fnn.estimators.tuned import tuned
from fnn.layers.activations import relu
from fnn.layers.models import mlp
from fnn.types import GradientTransformation, Layer, Loss

Network = Layer | Callable[[int, int], Layer]
"""A layer, or a function (n_in, n_out) -> layer."""


class Recipe(NamedTuple):
    """The parameters on which predictions depend, as they were when the estimator was fitted."""

    hidden_layer_sizes: Any
    activation: Layer | None
    network: Network | None
    loss: Loss | None


def recipe_of(estimator: Any) -> Recipe:
    """Return what the parameters say now."""
    return Recipe(*(getattr(estimator, name) for name in Recipe._fields))


def check(estimator: Any, *, incremental: bool) -> None:
    """Raise unless the parameters are valid. scikit-learn wants them checked by `fit`, not when they are set."""
    function = type(estimator).__name__
    for name in ("alpha", "learning_rate_init", "tol"):
        checks.number(function, name, getattr(estimator, name), minimum=0.0)
    for name in ("batch_size", "max_iter"):
        checks.positive_int(function, name, getattr(estimator, name))
    if estimator.n_iter_no_change != math.inf:
        checks.positive_int(function, "n_iter_no_change", estimator.n_iter_no_change)
    if not checks.fraction(function, "validation_fraction", estimator.validation_fraction) > 0:
        raise checks.fail(function, "validation_fraction", "a number in (0, 1)", estimator.validation_fraction)
    for name in ("warm_start", "early_stopping", "standardize", "search", "verbose"):
        if not isinstance(getattr(estimator, name), bool | np.bool_ | int):
            raise checks.fail(function, name, "True or False", getattr(estimator, name), TypeError)
    if estimator.loss is not None:
        checks.loss(function, estimator.loss)
    if estimator.activation is not None:
        checks.layer(function, "activation", estimator.activation)
    for name in ("early_stopping", "search") if incremental else ():
        if getattr(estimator, name):
            raise checks.fail(function, name, "False for partial_fit", came="True")
    for name in ("network", "loss", "activation") if estimator.search else ():
        if getattr(estimator, name) is not None:
            advice = "The search tries networks of its own."
            raise checks.fail(function, name, "None with search=True", getattr(estimator, name), advice=advice)


def sample_weights(function: str, X: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Return the weights of the rows, checked: 1 by default."""
    return check_weights(function, "sample_weight", np.asarray(_check_sample_weight(sample_weight, X, dtype=X.dtype)))


def check_weights(function: str, argument: str, weight: np.ndarray) -> np.ndarray:
    """Return the weights, if none is negative and not all of them are 0."""
    if (weight < 0).any():
        raise checks.fail(function, argument, "not negative", came=f"{weight.min():g}")
    if not weight.any():
        raise checks.fail(function, argument, "weights that are not all zero", came="only zeros")
    return weight


def _hidden_sizes(function: str, sizes: Any) -> list[int]:
    """The units of each hidden layer, given as a sequence, or as one integer for one layer."""
    try:
        each = [sizes] if np.ndim(sizes) == 0 and not isinstance(sizes, str) else list(sizes)
        return [checks.positive_int(function, "hidden_layer_sizes", size) for size in each]
    except (TypeError, ValueError) as error:
        expected = "positive integers, one for each hidden layer, such as (100,)"
        raise checks.fail(function, "hidden_layer_sizes", expected, sizes, type(error)) from None


def build(function: str, recipe: Recipe, n_in: int, n_out: int, dtype: DTypeLike) -> Layer:
    """Return the network for this many features and outputs; the same object for equal parameters."""
    network = recipe.network
    if network is None:
        hidden = _hidden_sizes(function, recipe.hidden_layer_sizes)
        layer = mlp([n_in, *hidden, n_out], relu if recipe.activation is None else recipe.activation)
    elif isinstance(network, Layer) or not callable(network):
        layer = checks.layer(function, "network", network)
    else:
        layer = checks.layer(function, "network(n_in, n_out)", network(n_in, n_out))
    return known(with_dtype(layer, dtype))


def optimizer(estimator: Any) -> GradientTransformation:
    """Return the optimizer, with learning rate and penalty in its state; the same object for equal parameters."""
    function, given = type(estimator).__name__, estimator.optimizer
    made = hasattr(given, "update") and hasattr(given, "init") and not isinstance(given, type)
    if not made and not callable(given):
        expected = "a function of the learning rate (such as fnn.adam), or an optimizer"
        raise checks.fail(function, "optimizer", expected, given, TypeError)
    return known(tuned(function, (lambda learning_rate: given) if made else given))
