"""Metrics of classification, with one value per example as losses have."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fnn import checks
from fnn.dtypes import at_least_int32, wide

Values = Float[Array, " batch"]
"""One number per example."""


def accuracy(prediction: ArrayLike, target: ArrayLike) -> Values:
    """Return 1 for each example that is classified correctly, else 0.

    The predicted class is the one with the largest entry of the prediction. With a class for each position of a
    sequence, the value of an example is the share of its positions.

    Args:
      prediction: scores, logits or probabilities (batch, k), or (batch, …, k).
      target: integer labels (batch,) or (batch, …), or rows (batch, …, k) whose largest entry marks the class.

    Returns:
      Values (batch,) in float32.

    Raises:
      ValueError: if the shapes do not match.

    >>> accuracy(jnp.array([[1.0, 3.0], [2.0, 0.0]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    prediction = checks.array("accuracy", "prediction", prediction)
    target = checks.array("accuracy", "target", target)
    labels = target if target.ndim == prediction.ndim - 1 else jnp.argmax(target, axis=-1)
    if prediction.ndim < 2 or target.shape not in (prediction.shape[:-1], prediction.shape):
        expected = f"labels (batch,) or rows (batch, k) for a prediction (batch, k), {tuple(prediction.shape)}"
        raise checks.fail("accuracy", "target", expected, target)
    # in a dtype that holds every class: class 256 as uint8 would be class 0
    dtype = wide(labels) if jnp.issubdtype(labels.dtype, jnp.inexact) else at_least_int32(labels)
    right = (jnp.argmax(prediction, axis=-1).astype(dtype) == labels.astype(dtype)).astype(jnp.float32)
    return right if right.ndim == 1 else jnp.mean(right, axis=tuple(range(1, right.ndim)))


def binary_accuracy(threshold: float) -> Callable[[Array, Array], Values]:
    """Return a metric: the share of binary labels that are predicted correctly.

    An entry of the prediction is correct if prediction > threshold agrees with target > ½.

    Args:
      threshold: 0 for logits, ½ for probabilities.

    Returns:
      A function of prediction and target, both (batch, …), that returns values (batch,) in float32.

    >>> binary_accuracy(0.5)(jnp.array([[0.9, 0.2]]), jnp.array([[1.0, 1.0]]))
    Array([0.5], dtype=float32)
    """

    def share(prediction: ArrayLike, target: ArrayLike) -> Values:
        prediction = checks.array("accuracy", "prediction", prediction)
        target = checks.array("accuracy", "target", target)
        if prediction.shape != target.shape:
            raise checks.fail("accuracy", "target", f"of the prediction's shape {tuple(prediction.shape)}", target)
        right = (prediction > threshold) == (target > 0.5)
        return jnp.mean(right.astype(jnp.float32), axis=tuple(range(1, right.ndim)))

    return share
