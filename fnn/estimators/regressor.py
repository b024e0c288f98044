"""NetworkRegressor: a network as a scikit-learn regressor."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state

from fnn import checks
from fnn.data.standardization import Standardization, fit_standardization
from fnn.estimators import parameters, searching, targets
from fnn.estimators.base import NetworkEstimator, standardized
from fnn.estimators.training import Validation
from fnn.losses import squared_error


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A neural network that predicts quantities, with the interface of scikit-learn.

    `fit` draws the network, standardizes features and targets, and trains it with `fnn.fit`, until `max_iter` epochs
    have run or the cost settles. Parameters are named as those of `sklearn.neural_network.MLPRegressor` where they
    mean the same. A second `fit` in one process compiles nothing, as for `NetworkClassifier`.

    Args:
      hidden_layer_sizes: the units of each hidden layer; `()` is linear regression.
      activation: the layer after each hidden layer, such as `fnn.tanh`. Default: `fnn.relu`.
      network: another network in place of these layers: a function (n_in, n_out) -> layer, or a layer. It has one
        output per column of y.
      loss: a loss of fnn or of your own, of outputs and targets (n, columns of y). Default: `fnn.squared_error`. It
        sees standardized targets, unless `standardize` is False.
      standardize: standardize the features, and the columns of y too: predictions are in the units of y. Without it
        the network must learn the size of y by itself, which takes many epochs.
      optimizer, alpha, batch_size, learning_rate_init, max_iter, random_state, tol, verbose, warm_start,
        validation_fraction, n_iter_no_change, search, search_seconds: as for `NetworkClassifier`.
      early_stopping: hold out rows, stop when their R² settles, and keep the parameters of the best epoch. R² is
        pooled over the columns of y.

    Attributes:
      n_outputs_: the number of columns of y.
      validation_scores_, best_validation_score_: R² on the rows held out, of each epoch and the best.
      loss_curve_, loss_, best_loss_: costs, of standardized targets.

    All other attributes are those of `NetworkClassifier`.

    >>> from sklearn.datasets import load_diabetes
    >>> x, y = load_diabetes(return_X_y=True)
    >>> model = NetworkRegressor((), learning_rate_init=0.05, tol=0.01, random_state=0)
    >>> bool(model.fit(x[:300], y[:300]).score(x[300:], y[300:]) > 0.4)
    True
    """

    _target_scaling: Standardization | None

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
        train, held_out = self._split(weight, None, random)
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
    variance = float(np.average(np.square(y - np.average(y, axis=0, weights=weight)), axis=0, weights=weight).mean())
    return lambda logs: (variance > 0) - logs["validation_squared_error"] / (variance or 1.0)
