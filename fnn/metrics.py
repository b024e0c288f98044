"""Metrics of classification, with one value per example as losses have, and which values of metrics are better."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from fnn import checks
from fnn.display.lines import lower_is_better as lower_is_better
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
        expected = f"labels (batch, …) or rows (batch, …, k) for a prediction (batch, …, k), {tuple(prediction.shape)}"
        raise checks.fail("accuracy", "target", expected, target)
    # in a dtype that holds every class: class 256 as uint8 would be class 0
    dtype = wide(labels) if jnp.issubdtype(labels.dtype, jnp.inexact) else at_least_int32(labels)
    right = (jnp.argmax(prediction, axis=-1).astype(dtype) == labels.astype(dtype)).astype(jnp.float32)
    return right if right.ndim == 1 else jnp.mean(right, axis=tuple(range(1, right.ndim)))


def token_accuracy(ignore: int = -100) -> Callable[[Array, Array], Values]:
    """Return a metric: the share of an example's tokens that are predicted correctly.

    Args:
      ignore: the label of tokens that do not count, as for `fnn.token_cross_entropy`.

    Returns:
      A function of a prediction (batch, …, k) and integer labels (batch, …), that returns values (batch,) in float32.
      The value of an example without tokens is 0.

    Raises:
      TypeError: if `ignore` is not an integer.

    >>> token_accuracy()(jnp.array([[[1.0, 3.0], [2.0, 0.0], [2.0, 0.0]]]), jnp.array([[1, 1, -100]]))
    Array([0.5], dtype=float32)
    """
    ignore = checks.integer("token_accuracy", "ignore", ignore)

    def share(prediction: ArrayLike, target: ArrayLike) -> Values:
        prediction = checks.array("token_accuracy", "prediction", prediction)
        target = checks.array("token_accuracy", "target", target)
        if prediction.ndim < 2 or target.shape != prediction.shape[:-1]:
            expected = f"labels for each position of the prediction {tuple(prediction.shape)}"
            raise checks.fail("token_accuracy", "target", expected, target)
        if not jnp.issubdtype(target.dtype, jnp.integer):
            raise checks.fail("token_accuracy", "target", "integer labels", target, TypeError)
        dtype, w = at_least_int32(target), not_ignored(target, ignore)
        right = w & (jnp.argmax(prediction, axis=-1).astype(dtype) == target.astype(dtype))
        axes = tuple(range(1, w.ndim))
        n = jnp.maximum(jnp.sum(w, axes, dtype=jnp.float32), 1)
        return jnp.sum(right, axes, dtype=jnp.float32) / n

    return share


def not_ignored(labels: Int[Array, "..."], ignore: int) -> Bool[Array, "..."]:
    """Return where a label is not `ignore`. A dtype that cannot hold that number has no such label.

    >>> not_ignored(jnp.array([3, -100]), -100), not_ignored(jnp.array([156], jnp.uint8), -100)
    (Array([ True, False], dtype=bool), Array([ True], dtype=bool))
    """
    limits = jnp.iinfo(labels.dtype)
    if not limits.min <= ignore <= limits.max:
        return jnp.ones_like(labels, bool)
    return labels != jnp.asarray(ignore, labels.dtype)


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
