"""NetworkClassifier: a network as a scikit-learn classifier."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import _check_partial_fit_first_call

from fnn import checks
from fnn.estimators import labels, parameters, searching, targets
from fnn.estimators.base import NetworkEstimator
from fnn.estimators.parameters import Network
from fnn.estimators.training import Validation
from fnn.losses import sigmoid_cross_entropy, softmax_cross_entropy
from fnn.optimizers import adam
from fnn.types import GradientTransformation, Layer, Loss


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """A neural network that classifies, with the interface of scikit-learn.

    Args:
      hidden_layer_sizes: the number of units of each hidden layer.
    """

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
        class_weight: Mapping[Any, float] | str | None = None,
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
        self.class_weight = class_weight
        self.standardize = standardize
        self.search = search
        self.search_seconds = search_seconds

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "NetworkClassifier":
        """Train the network.

        Args:
          X: numbers (n, features) without NaN, an array or a DataFrame. float32 is trained in float32, all else in
            float64.
          y: a label for each row, of any type that can be sorted; or an indicator (n, labels) of zeros and ones.
          sample_weight: a weight (n,) for each row. A row of weight 0 counts for nothing.

        Returns:
          The estimator itself.

        Raises:
          ValueError, TypeError: if a parameter or the data are invalid.
          FloatingPointError: if the cost is not finite; the message names the epoch, the step and the leaf.
        """
        return self._fit(X, y, sample_weight, None, incremental=False)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "NetworkClassifier":
        """Train for one epoch on these rows, from the parameters of the call before.

        The first call draws the parameters and sets the standardization from its rows; later calls keep it.

        Args:
          X: numbers (n, features), as in `fit`.
          y: labels, as in `fit`.
          classes: all labels that will ever be in y. Required in the first call.
          sample_weight: weights, as in `fit`.

        Returns:
          The estimator itself.

        Raises:
          ValueError: if `classes` is missing, or if `class_weight="balanced"`, `early_stopping` or `search` is set.
        """
        function = type(self).__name__
        if isinstance(self.class_weight, str):
            advice = "Compute the weights with sklearn.utils.class_weight.compute_class_weight and pass them as a dict."
            came = repr(self.class_weight)
            raise checks.fail(function, "class_weight", "a dict or None for partial_fit", came=came, advice=advice)
        return self._fit(X, y, sample_weight, classes, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """Predict a label for each row; or an indicator (n, labels) of zeros and ones.

        Args:
          X: numbers (n, features).

        Returns:
          Labels (n,) as they were in y.
        """
        decision = self.decision_function(X)
        if self._multilabel:
            return (decision > 0).astype(np.int64)
        index = (decision > 0).astype(np.int64) if decision.ndim == 1 else decision.argmax(axis=1)
        return self.classes_[index]

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute scores: the highest is that of the predicted class.

        Args:
          X: numbers (n, features).

        Returns:
          (n, classes), the outputs of the network (logits). For two classes (n,), positive where the second one,
          `classes_[1]`, is predicted. For an indicator y (n, labels), positive where a label is predicted. After a
          search, logarithms of probabilities take the place of the outputs.
        """
        outputs, loss = self._predict_outputs(X), self._loss()
        return targets.decisions(loss, outputs, None if self._multilabel else len(self.classes_))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute the probability of each class.

        Args:
          X: numbers (n, features).

        Returns:
          Probabilities (n, classes) in the order of `classes_`; for an indicator y, of each label (n, labels).
        """
        outputs, loss = self._predict_outputs(X), self._loss()
        if self._multilabel:
            return targets.label_probabilities(loss, outputs)
        return targets.class_probabilities(loss, outputs, len(self.classes_))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Compute the logarithm of the probability of each class.

        Args:
          X: numbers (n, features).

        Returns:
          ln of `predict_proba`, without underflow where the probabilities are a softmax.
        """
        outputs, loss = self._predict_outputs(X), self._loss()
        if self._multilabel:
            return targets.log(targets.label_probabilities(loss, outputs))
        return targets.log_probabilities(loss, outputs, len(self.classes_))

    def _loss(self) -> Loss:
        return self.loss or (sigmoid_cross_entropy if self._multilabel else softmax_cross_entropy)

    def _fit(self, X: Any, y: Any, sample_weight: Any, classes: Any, *, incremental: bool) -> "NetworkClassifier":
        function = type(self).__name__
        parameters.check(self, incremental=incremental)
        continues = self._continues(incremental)
        X, y = self._validate(X, y, continues)
        weight = parameters.sample_weights(function, X, sample_weight)
        if self.class_weight is not None:
            each = compute_sample_weight(self.class_weight, y)
            weight = parameters.check_weights(function, "class_weight", (weight * each).astype(X.dtype))
        self._set_classes(y, classes, continues, incremental)
        n_classes = None if self._multilabel else len(self.classes_)
        encoded = y if self._multilabel else np.searchsorted(self.classes_, y)
        if self.search:
            self._keep_found(searching.find_classes(self, X, encoded, weight, n_classes))
            return self
        random = check_random_state(self.random_state)
        train, held_out = self._split(len(X), None if self._multilabel else encoded, random)
        if not continues:
            self._start(X[train], weight[train], len(self.classes_), random, binary=n_classes == 2)
        loss = self._loss()
        if n_classes is None:
            target = y.astype(X.dtype)
        else:
            target = targets.class_targets(loss, encoded, n_classes, self._outputs, X.dtype)
        validation = None
        if held_out is not None:
            part = X[held_out], target[held_out], weight[held_out]
            validation = Validation(part, lambda logs: logs["validation_accuracy"])
        metrics = {"accuracy": targets.accuracy_metric(loss, n_classes, self._outputs)}
        self._train(loss, (X[train], target[train], weight[train]), metrics, validation, incremental)
        return self

    def _set_classes(self, y: np.ndarray, classes: Any, continues: bool, incremental: bool) -> None:
        """Set `classes_` from the labels, or check that the labels are among them."""
        multilabel, found = labels.kind_of(type(self).__name__, y)
        first = _check_partial_fit_first_call(self, classes) if incremental else not continues
        if first:
            self.classes_ = self.classes_ if incremental and not multilabel else found
            self._multilabel = multilabel
        if self._multilabel != multilabel or not set(found) <= set(self.classes_):
            expected = f"of the classes {list(self.classes_)}"
            new = sorted(set(found) - set(self.classes_))
            raise checks.fail(type(self).__name__, "y", expected, came=f"also {new}")

    def _predict_outputs(self, X: Any) -> np.ndarray:
        if not hasattr(self, "ensemble_"):
            return super()._predict_outputs(X)
        p = searching.predict(self, X)
        return searching.logits(p) if self._multilabel else searching.logarithms(p)
