"""scikit-learn's MLPClassifier: partial_fit is an epoch of plain SGD."""

from typing import Any, cast

import numpy as np
from sklearn.neural_network import MLPClassifier

from experiments.benchmarks.peers import Job
from experiments.benchmarks.workloads import Data, Workload, initial_weights


def make(name: str, work: Workload, data: Data) -> Job:
    """Return scikit-learn's job for a workload.

    It sums the losses of one-hot labels, as the sigmoid loss does.
    """
    sigmoid = {"sigmoid": "logistic"}
    model = MLPClassifier(
        hidden_layer_sizes=work.sizes[1:-1],
        activation=sigmoid.get(work.activation, work.activation),
        solver="sgd",
        alpha=0.0,
        batch_size=cast(Any, work.batch),  # its type is inferred from its default, "auto"
        learning_rate_init=work.learning_rate,
        momentum=0.0,
        nesterovs_momentum=False,
        random_state=0,
    )
    y = data.y.astype(np.int32)
    y = y[:, 0] if y.shape[1:] == (1,) else y
    classes = np.arange(y.shape[1] if y.ndim == 2 else max(2, work.sizes[-1]))

    def reset() -> None:
        for ours, (w, b) in zip(zip(model.coefs_, model.intercepts_, strict=True), initial_weights(work), strict=True):
            ours[0][...], ours[1][...] = w, b

    def probabilities() -> np.ndarray:
        shares = np.asarray(model.predict_proba(data.test_x))
        return shares[:, 1:] - 0.5 if work.sizes[-1] == 1 else shares

    def unit() -> None:
        model.partial_fit(data.x, y)

    first = slice(max(work.batch, 100))  # creates the model's arrays, which `reset` overwrites in place
    model.partial_fit(data.x[first], y[first], classes=classes)
    reset()
    if work.kind == "mlp":
        return Job(unit, reset, probabilities)
    result = np.zeros(0)

    def predict() -> None:
        nonlocal result
        result = probabilities()

    return Job(predict, lambda: None, lambda: result)
