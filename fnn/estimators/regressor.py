"""NetworkRegressor: a network as a scikit-learn regressor."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state

from fnn import checks
from fnn.data.standardization import Standardization, fit_standardization
from fnn.estimators import parameters, searching, targets
from fnn.estimators.base import NetworkEstimator, standardized
from fnn.estimators.parameters import Network
from fnn.estimators.training import Validation
from fnn.losses import squared_error
from fnn.optimizers import adam
from fnn.types import GradientTransformation, Layer, Loss


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A."""

    _target_scaling: Standardization | None

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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "NetworkRegressor":
        """Train the network.

        Args:
          X: numbers (n, features) without NaN, an array or a DataFrame. float32 is trained in float32, all else in
            float64.
          y: a number for each row, or several (n, outputs).
          sample_weight: a weight (n,) for each row. A row of weight 0 counts for nothing.

        Returns:
          The estimator itself.

        Raises:
          ValueError, TypeError: if a parameter or the data are invalid.
          FloatingPointError: if the cost is not finite; the message names the epoch, the step and the leaf.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "NetworkRegressor":
        """Train for one epoch on these rows, from the parameters of the call before.

        The first call draws the parameters and sets the standardization from its rows; later calls keep it.

        Args:
          X: numbers (n, features), as in `fit`.
          y: numbers, as in `fit`.
          sample_weight: weights, as in `fit`.

        Returns:
          The estimator itself.

        Raises:
          ValueError: if `early_stopping` or `search` is set.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the quantities of each row.

        Args:
          X: numbers (n, features).

        Returns:
          (n,), or (n, outputs) if y had several columns.
        """
        if hasattr(self, "ensemble_"):
            y = searching.predict(self, X)
        else:
            y = self._predict_outputs(X)
            if self._target_scaling is not None:
                y = (y * self._target_scaling.std + self._target_scaling.mean).astype(y.dtype)
        return y[:, 0] if self._flat else y

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool) -> "NetworkRegressor":
        parameters.check(self, incremental=incremental)
        continues = self._continues(incremental)
        X, y = self._validate(X, y, continues, y_numeric=True)
        weight = parameters.sample_weights(type(self).__name__, X, sample_weight)
        flat = y.ndim == 1
        y = y.reshape(len(y), -1).astype(np.float64)
        if continues and y.shape[1] != self.n_outputs_:
            expected = f"of {self.n_outputs_} columns, as in the first call"
            raise checks.fail(type(self).__name__, "y", expected, came=f"{y.shape[1]}")
        self._flat, self.n_outputs_ = flat, y.shape[1]
        if self.search:
            self._keep_found(searching.find_quantities(self, X, y, weight))
            return self
        random = check_random_state(self.random_state)
        train, held_out = self._split(len(X), None, random)
        if not continues:
            self._start(X[train], weight[train], self.n_outputs_, random)
            self._target_scaling = fit_standardization(y[train], weight[train]) if self.standardize else None
        scaling = self._target_scaling
        target = (y if scaling is None else standardized(y, scaling)).astype(X.dtype)
        validation = None
        if held_out is not None:
            part = X[held_out], target[held_out], weight[held_out]
            validation = Validation(part, _r2(part[1], part[2]))
        loss, metrics = self.loss or squared_error, {"squared_error": targets.squared_metric}
        self._train(loss, (X[train], target[train], weight[train]), metrics, validation, incremental)
        return self


def _r2(y: np.ndarray, weight: np.ndarray) -> Callable[[dict[str, float]], float]:
    """R² = 1 - Σ (y - ŷ)² / Σ (y - ȳ)², from the mean of the squared error that `fit` reports; -Σ (y - ŷ)² if y is
    constant. Several outputs are pooled.
    """
    if not weight.any():
        weight = np.ones_like(weight)
    variance = float(np.average(np.square(y - np.average(y, axis=0, weights=weight)), axis=0, weights=weight).mean())
    return lambda logs: (variance > 0) - logs["validation_squared_error"] / (variance or 1.0)
