"""NetworkClassifier: a network as a scikit-learn classifier."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import _check_partial_fit_first_call

from fnn import checks
from fnn.estimators import labels, parameters, searching, targets
from fnn.estimators.class_predictions import ClassPredictions
from fnn.estimators.parameters import Network
from fnn.estimators.training import Validation, computing_in
from fnn.optimizers import adam
from fnn.types import GradientTransformation, Layer, Loss


class NetworkClassifier(ClassPredictions):
    """A neural network that classifies, with the interface of scikit-learn.

    `fit` draws the network, standardizes the features, and trains it with `fnn.fit`, until `max_iter` epochs have run
    or the cost settles. Parameters are named as those of `sklearn.neural_network.MLPClassifier` where they mean the
    same; a grid over them works for both. A second `fit` in one process compiles nothing, if the data have about the
    same size: `alpha`, `learning_rate_init`, `tol`, `max_iter` and the weights are data of the compiled program.

    Args:
      hidden_layer_sizes: the units of each hidden layer; `()` is softmax regression.
      activation: the layer after each hidden layer, such as `fnn.tanh`. Default: `fnn.relu`.
      network: another network in place of these layers: a function (n_in, n_out) -> layer, or a layer. It has one
        output per class, or for two classes one alone. Only an estimator with a function that can be imported can be
        pickled; a layer cannot, as its functions have no names.
      loss: a loss of fnn or of your own. Default: `fnn.softmax_cross_entropy`; for several labels per row
        `fnn.sigmoid_cross_entropy`. Its targets are integer labels if it takes them, else zeros and ones (n, classes).
        Probabilities are the softmax of the outputs, unless the loss is one of fnn's that asks for others.
      optimizer: a function of the learning rate, such as `fnn.adam`, `optax.adamw`, or
        `functools.partial(fnn.heavy_ball, beta=0.9)`; or a made optimizer, which ignores `learning_rate_init`.
      alpha: strength of the L2 penalty alpha/2 ‖W‖² on the weights. As in MLPClassifier, it is divided by the number
        of rows of a batch (by the sum of their weights).
      batch_size: rows per step, at most all of them.
      learning_rate_init: the learning rate, constant unless the optimizer schedules it.
      max_iter: the largest number of epochs. If it is reached, `fit` warns with a ConvergenceWarning.
      random_state: an int makes the result the same in each call; or a RandomState, or None.
      tol: an epoch that improves the cost (with early stopping, the score) by less than this counts as no improvement.
      verbose: print the progress of `fnn.fit`.
      warm_start: a second `fit` goes on from the state of the first, its optimizer included.
      early_stopping: hold out rows, stop when their accuracy settles, and keep the parameters of the best epoch.
      validation_fraction: the share of the rows held out for early stopping.
      n_iter_no_change: epochs in a row without improvement after which the training ends; `math.inf` for never.
      class_weight: "balanced", a dict {label: weight}, or None. It multiplies `sample_weight`.
      standardize: subtract the mean of each feature and divide by its standard deviation, both from the rows that
        train. Networks need features of size 1; turn it off if they are, or if zeros must stay zeros.
      search: train many networks and linear models by cross-validation as one program, and combine the best
        (`fnn.search`). Of the parameters above only `random_state` and `class_weight` count then.
      search_seconds: a limit on the seconds that the search takes. Default: it depends on the size of the table.

    Attributes:
      classes_: the labels in order, those of the columns of `predict_proba`; numbers of columns for several labels.
      n_features_in_, feature_names_in_: number and, for a DataFrame, names of the features.
      network_, params_: the network as a Layer, and its parameters.
      n_iter_, loss_curve_: number of epochs, and the cost of each, a mean over its batches without the penalty.
      loss_, best_loss_: the last and the least cost; `best_loss_` is None with early stopping.
      validation_scores_, best_validation_score_: the accuracy on the rows held out, of each epoch and the best.
      search_, ensemble_: after a search its report and what it found, instead of the four lines before.

    float32 features are trained in float32, which is faster on a GPU, all others in float64, as scikit-learn does.
    Sparse features are refused. The metadata `sample_weight` can be routed.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> x, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = NetworkClassifier((16,), learning_rate_init=0.05, tol=0.01, random_state=0)
    >>> bool(cross_val_score(model, x, y, cv=3).mean() > 0.9)
    True
    >>> model.fit(x, y).predict_proba(x[:2]).shape, [str(name) for name in model.feature_names_in_[:2]]
    ((2, 3), ['sepal length (cm)', 'sepal width (cm)'])
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
        super().__init__(
            hidden_layer_sizes,
            activation,
            network=network,
            loss=loss,
            optimizer=optimizer,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            standardize=standardize,
            search=search,
            search_seconds=search_seconds,
        )
        self.class_weight = class_weight

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
        train, held_out = self._split(weight, None if self._multilabel else encoded, random)
        if not continues:
            self._start(X[train], weight[train], len(self.classes_), random, binary=n_classes == 2)
        loss = self._loss(self.loss)
        if n_classes is None:
            target = y.astype(X.dtype)
        else:
            with computing_in(X.dtype):
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
        if self._multilabel != multilabel:
            kinds = "one label per row", "an indicator (n, labels)"
            expected = f"{kinds[self._multilabel]}, as in the first call"
            raise checks.fail(type(self).__name__, "y", expected, came=kinds[multilabel])
        if new := set(found.tolist()) - set(self.classes_.tolist()):
            expected = f"of the classes {self.classes_.tolist()}"
            raise checks.fail(type(self).__name__, "y", expected, came=f"also {sorted(new)}")
