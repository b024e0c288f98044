"""What the classifier and the regressor share: checks, the network, pickling, training and outputs."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from fnn import checks
from fnn.data.standardization import Standardization, fit_standardization
from fnn.estimators import parameters, targets
from fnn.estimators.known import known
from fnn.estimators.parameters import Network, Recipe
from fnn.estimators.pickling import from_names, to_names
from fnn.estimators.training import Arrays, Rule, Validation, computing_in, is_state_of, steps_per_epoch, train
from fnn.estimators.tuned import set_numbers
from fnn.optimizers import adam
from fnn.search import Found
from fnn.training.evaluation import predict
from fnn.training.step import init_state
from fnn.types import GradientTransformation, Layer, Loss, Metric, TrainState
from fnn.weights import check_weights

_ROWS_AT_A_TIME = 4096  # of `predict`, which bounds its memory
_DTYPES = (np.float64, np.float32)
_OF_SEARCH = ("ensemble_", "search_")
_OF_TRAINING = ("_state", "_scaling", "n_iter_", "loss_", "loss_curve_", "best_loss_")
_OF_TRAINING += ("validation_scores_", "best_validation_score_")


class NetworkEstimator(BaseEstimator):
    """The common part of `NetworkClassifier` and `NetworkRegressor`."""

    _state: TrainState
    _scaling: Standardization | None
    _size: tuple[int, int]
    _dtype: np.dtype
    _recipe: Recipe

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        activation: Layer | None = None,
        *,
        network: Network | None = None,
        loss: Loss | None = None,
        optimizer: Callable[[Any], Any] | GradientTransformation = adam,
        alpha: float = 1e-4,
        batch_size: int = 200,
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        standardize: bool = True,
        search: bool = False,
        search_seconds: float | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.standardize = standardize
        self.search = search
        self.search_seconds = search_seconds

    @property
    def params_(self) -> Any:
        """The parameters of the network, a pytree of NumPy arrays."""
        self._need_network("params_")
        return self._state.params

    @property
    def network_(self) -> Layer:
        """The network that was trained."""
        self._need_network("network_")
        return self._build(self._recipe)

    def _need_network(self, attribute: str) -> None:
        """Raise AttributeError unless one network was trained, so that hasattr is False."""
        check_is_fitted(self)
        if not hasattr(self, "_state"):
            message = f"{type(self).__name__}: {attribute} is that of one network; after a search there is ensemble_"
            raise AttributeError(message)

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return to_names(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(from_names(state))

    def _continues(self, incremental: bool) -> bool:
        """Return True if this call goes on from the parameters of the one before."""
        return (incremental or self.warm_start) and hasattr(self, "_state")

    def _validate(self, X: Any, y: Any, continues: bool, **options: Any) -> tuple[np.ndarray, Any]:
        """X and y as arrays; X in the dtype in which the network is trained, float64 or float32."""
        dtypes = self._dtype.type if continues else _DTYPES
        X, y = validate_data(self, X, y, multi_output=True, dtype=dtypes, reset=not continues, **options)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _build(self, recipe: Recipe) -> Layer:
        """The network of these parameters for the data of `fit`; the same object for equal parameters."""
        return parameters.build(type(self).__name__, recipe, *self._size, self._dtype)

    def _split(
        self, weight: np.ndarray, labels: np.ndarray | None, random: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows to train on and those held out for early stopping, if it is asked for, both of rows with weight: the
        same share of each label, if there are enough of each.
        """
        if not self.early_stopping:
            return np.arange(len(weight)), None
        index = np.flatnonzero(weight)
        if labels is not None:
            labels, rows = labels[index], len(index)
            counts, size = np.unique(labels, return_counts=True)[1], math.ceil(self.validation_fraction * rows)
            labels = labels if counts.min() > 1 and len(counts) <= min(size, rows - size) else None
        options: Any = {"test_size": self.validation_fraction, "stratify": labels, "random_state": random}
        parts: Any = train_test_split(index, **options)
        return parts[0], parts[1]

    def _keep_found(self, found: Found) -> None:
        """Keep what a search has found."""
        self._forget()
        self.ensemble_, self.search_, self._recipe = found.ensemble, found.report, parameters.recipe_of(self)

    def _forget(self) -> None:
        """Remove what an earlier `fit`, perhaps with another value of `search`, has set."""
        for name in (*_OF_TRAINING, *_OF_SEARCH):
            vars(self).pop(name, None)

    def _start(
        self, X: np.ndarray, weight: np.ndarray, n_out: int, random: np.random.RandomState, *, binary: bool = False
    ) -> None:
        """Set the dtype, the size and the standardization of a training that starts anew; draw the parameters."""
        self._dtype, self._size = X.dtype, (X.shape[1], n_out)
        with computing_in(self._dtype):
            recipe = parameters.recipe_of(self)
            network, optimizer = self._build(recipe), parameters.optimizer(self)
            shape = targets.output_shape(network, X.shape[1], X.dtype)
            self._outputs = targets.check_outputs(type(self).__name__, shape, n_out, binary=binary)
            key = jax.random.PRNGKey(random.randint(np.iinfo(np.int32).max))
            state = init_state(network, optimizer, key)
        check_weights(type(self).__name__, "alpha", self.alpha, state.params)
        self._forget()
        self._state, self._recipe = jax.device_get(state), recipe
        self._scaling = fit_standardization(X.astype(np.float64), weight) if self.standardize else None
        self.n_iter_, self.loss_curve_, self.validation_scores_ = 0, [], [] if self.early_stopping else None

    def _scaled(self, data: tuple[np.ndarray, ...]) -> Any:
        """The data with standardized x, if `standardize` was True."""
        return data if self._scaling is None else (standardized(data[0], self._scaling), *data[1:])

    def _train(
        self, loss: Loss, data: Arrays, metrics: Mapping[str, Metric], validation: Validation | None, incremental: bool
    ) -> None:
        """Train on these targets, with x as the user passes it, and set what all estimators report.

        The metrics are computed if they are read: for early stopping, or to be printed.
        """
        epochs, patience = (1, math.inf) if incremental else (int(self.max_iter), self.n_iter_no_change)
        rows, weight, recipe = data[0].shape[0], data[2], parameters.recipe_of(self)
        # as in MLPClassifier, the penalty of a batch is divided by the weight of its rows
        l2 = self.alpha * steps_per_epoch(rows, min(rows, self.batch_size)) / float(weight.sum())
        with computing_in(self._dtype):
            network, optimizer = self._build(recipe), parameters.optimizer(self)
            if self.n_iter_ and not is_state_of(network, optimizer, self._state):
                expected = "those of the fit that warm_start goes on from (or partial_fit)"
                raise checks.fail(type(self).__name__, "network and optimizer", expected, came="others")
            trained = train(
                network,
                known(loss),
                optimizer,
                set_numbers(self._state, self.learning_rate_init, l2),
                self._scaled(data),
                Rule(epochs, float(self.tol), patience),
                batch_size=int(self.batch_size),
                metrics=metrics if validation is not None or self.verbose else {},
                validation=validation and validation._replace(data=self._scaled(validation.data)),
                verbose=bool(self.verbose),
            )
        self._state, self._recipe = trained.state, recipe
        self.n_iter_ += len(trained.costs)
        self.loss_curve_ = [*self.loss_curve_, *trained.costs]
        self.loss_ = self.loss_curve_[-1]
        self.best_loss_ = None if validation is not None else min(self.loss_curve_)
        if validation is not None:
            self.validation_scores_ = [*(self.validation_scores_ or []), *trained.scores]
        self.best_validation_score_ = None if validation is None else max(self.validation_scores_ or [])
        if not incremental and not trained.settled:
            warnings.warn(
                f"{type(self).__name__}: the training reached max_iter={epochs} epochs before it converged. "
                f"Raise max_iter, or learning_rate_init if the loss still falls steadily",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _predict_outputs(self, X: Any) -> np.ndarray:
        """The outputs of the network for each row, in the dtype of X."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_DTYPES, reset=False)
        with computing_in(X.dtype):
            cast = lambda leaf: leaf.astype(X.dtype) if leaf.dtype in _DTYPES else leaf
            params = jax.tree.map(cast, self._state.params)
            (x,) = self._scaled((X,))
            return np.asarray(predict(self._build(self._recipe), params, x, _ROWS_AT_A_TIME)).astype(X.dtype)


def standardized(x: np.ndarray, scaling: Standardization) -> np.ndarray:
    """(x - μ) / σ, computed by NumPy in float64 and returned in the dtype of x."""
    return ((x.astype(np.float64) - scaling.mean) / scaling.std).astype(x.dtype)
