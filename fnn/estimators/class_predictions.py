"""What a classifier predicts: labels, decisions and probabilities."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from fnn.estimators import searching, targets
from fnn.estimators.base import NetworkEstimator
from fnn.losses import sigmoid_cross_entropy, softmax_cross_entropy
from fnn.types import Loss


class ClassPredictions(ClassifierMixin, NetworkEstimator):
    """The methods of `NetworkClassifier` that predict."""

    classes_: np.ndarray
    _multilabel: bool

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

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
        outputs = self._predict_outputs(X)
        loss = self._loss(self._recipe.loss)
        return targets.decisions(loss, outputs, None if self._multilabel else len(self.classes_))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute the probability of each class.

        Args:
          X: numbers (n, features).

        Returns:
          Probabilities (n, classes) in the order of `classes_`; for an indicator y, of each label (n, labels).
        """
        outputs = self._predict_outputs(X)
        loss = self._loss(self._recipe.loss)
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
        outputs = self._predict_outputs(X)
        loss = self._loss(self._recipe.loss)
        if self._multilabel:
            return targets.log(targets.label_probabilities(loss, outputs))
        return targets.log_probabilities(loss, outputs, len(self.classes_))

    def _loss(self, given: Loss | None) -> Loss:
        """The loss that was given, or the default one."""
        return given or (sigmoid_cross_entropy if self._multilabel else softmax_cross_entropy)

    def _predict_outputs(self, X: Any) -> np.ndarray:
        if not hasattr(self, "ensemble_"):
            return super()._predict_outputs(X)
        p = searching.predict(self, X)
        return searching.logits(p) if self._multilabel else searching.logarithms(p)
