"""Labels as the targets of a loss, and outputs of a network as probabilities and decisions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from scipy.special import expit, log_softmax, softmax

from fnn import checks
from fnn.losses import binary_cross_entropy, negative_log_likelihood, sigmoid_cross_entropy, squared_error
from fnn.metrics import accuracy, binary_accuracy
from fnn.types import Layer, Loss, Metric

Outputs = np.ndarray

# by the backward pass, which the variants of a loss share
_OF_LOGITS = (sigmoid_cross_entropy.backward,)
_OF_PROBABILITIES = (binary_cross_entropy.backward, negative_log_likelihood.backward, squared_error.backward)


def output_shape(network: Layer, n_in: int, dtype: DTypeLike) -> tuple[int, ...]:
    """Return the shape of the network's output for one row of n_in features, without computing it."""
    params = jax.eval_shape(network.init, jax.ShapeDtypeStruct((2,), jnp.uint32))
    rows = jax.ShapeDtypeStruct((2, n_in), dtype)
    return jax.eval_shape(lambda params, x: network.forward(params, x)[0], params, rows).shape[1:]


def takes_labels(loss: Loss, n_out: int, dtype: DTypeLike) -> bool:
    """Return True if the targets of a loss may be labels (n,), False if they have the shape of the outputs."""
    prediction = jax.ShapeDtypeStruct((2, n_out), dtype)
    try:
        jax.eval_shape(lambda z, y: loss.forward(z, y)[0], prediction, jax.ShapeDtypeStruct((2,), jnp.int32))
    except (ValueError, TypeError):
        return False
    return True


def class_targets(loss: Loss, labels: np.ndarray, n_classes: int, n_out: int, dtype: DTypeLike) -> np.ndarray:
    """Return labels 0..n_classes-1 as the loss takes them: labels (n,), else 0 and 1 in the shape of the outputs.

    A single output is the second of two classes.
    """
    if n_out == 1 and n_classes == 2:
        return labels[:, None].astype(dtype)
    if takes_labels(loss, n_out, dtype):
        return labels.astype(np.int32)
    return np.eye(n_classes, dtype=dtype)[labels]


def check_outputs(function: str, shape: tuple[int, ...], expected: int, *, binary: bool = False) -> int:
    """Return the number of outputs of a network, checked: one for each class, label or quantity."""
    if shape != (expected,) and not (binary and shape == (1,)):
        advice = "A function `network=lambda n_in, n_out: …` receives the number."
        came = f"outputs of shape (batch, {', '.join(map(str, shape))})"
        raise checks.fail(
            function, "network", f"a layer with {expected} outputs (batch, {expected})", came=came, advice=advice
        )
    return shape[0]


def _are_probabilities(loss: Loss) -> bool:
    return loss.backward in _OF_PROBABILITIES


def _threshold(loss: Loss) -> float:
    return 0.5 if _are_probabilities(loss) else 0.0


def _one_by_one(loss: Loss, outputs: Outputs) -> np.ndarray:
    """The probability of each output by itself."""
    return np.clip(outputs, 0, 1) if _are_probabilities(loss) else expit(outputs)


def class_probabilities(loss: Loss, outputs: Outputs, n_classes: int) -> np.ndarray:
    """Return the probability of each class, (n, n_classes).

    It is the softmax of the outputs, unless the loss is one of fnn's for probabilities or for independent logits: then
    their values are divided by their sum.
    """
    if outputs.shape[1] == 1 and n_classes == 2:
        positive = _one_by_one(loss, outputs)
        return np.hstack([1 - positive, positive])
    if not _are_probabilities(loss) and loss.backward not in _OF_LOGITS:
        return softmax(outputs, axis=1)
    values = _one_by_one(loss, outputs)
    total = values.sum(axis=1, keepdims=True)
    return np.where(total > 0, values / np.where(total > 0, total, 1), 1 / n_classes)


def log_probabilities(loss: Loss, outputs: Outputs, n_classes: int) -> np.ndarray:
    """Return the logarithm of `class_probabilities`, without underflow where it is a softmax."""
    is_softmax = not _are_probabilities(loss) and loss.backward not in _OF_LOGITS and outputs.shape[1] == n_classes
    return log_softmax(outputs, axis=1) if is_softmax else log(class_probabilities(loss, outputs, n_classes))


def log(probabilities: np.ndarray) -> np.ndarray:
    """ln p, -inf for p = 0"""
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def label_probabilities(loss: Loss, outputs: Outputs) -> np.ndarray:
    """Return the probability of each of several labels, (n, k)."""
    return _one_by_one(loss, outputs)


def decisions(loss: Loss, outputs: Outputs, n_classes: int | None) -> np.ndarray:
    """Return one number per class, the highest of the predicted one; for two classes one per row, positive for the
    second. With `n_classes=None`, one per label, positive if it is predicted.
    """
    if n_classes is None:
        return outputs - np.asarray(_threshold(loss), outputs.dtype)
    if n_classes == 2:
        difference = outputs[:, 0] - np.asarray(_threshold(loss), outputs.dtype) if outputs.shape[1] == 1 else None
        return outputs[:, 1] - outputs[:, 0] if difference is None else difference
    return outputs


def _all_labels_right(threshold: float) -> Metric:
    each = binary_accuracy(threshold)

    def share(prediction: Any, target: Any) -> Any:
        return (each(prediction, target) == 1).astype(jnp.float32)

    return share


_LABELS = {threshold: _all_labels_right(threshold) for threshold in (0.0, 0.5)}


def accuracy_metric(loss: Loss, n_classes: int | None, n_out: int) -> Callable[[Any, Any], Any]:
    """Return the metric that counts the rows predicted right; of several labels, the rows with all of them right."""
    return accuracy if n_classes is not None and n_out == n_classes else _LABELS[_threshold(loss)]


def squared_metric(prediction: Any, target: Any) -> Any:
    """The mean of (prediction - target)² over the outputs of a row."""
    return jnp.mean(jnp.square(prediction - target), axis=1)
