"""Cross-entropy of the tokens of a sequence, some of which do not count."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Int

from fnn import checks
from fnn.checks.targets import labels_in_range
from fnn.dtypes import at_least_int32, widest
from fnn.losses.parts import as_column, floating_prediction
from fnn.metrics import Values, not_ignored, token_accuracy
from fnn.types import Loss


def token_cross_entropy(ignore: int = -100, label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy from logits for each token of a sequence.

    Tokens whose label is `ignore` do not count. With w_t = 1 if y_t ≠ ignore, else 0, and n = max(Σ_t w_t, 1):

    L = Σ_t w_t / n (ln Σ_j e^(z_tj) - z_(t, y_t)), dz_t = dL w_t / n (p_t - 1_(y_t)), p_t = softmax(z_t)

    1_(y_t) is the one-hot vector of the label y_t.
    With label smoothing ε (Szegedy et al. 2016) the target is (1 - ε) 1_(y_t) + ε / k, with k classes.

    The value of an example is the mean over its own tokens, and 0 if it has none. Sequences with different numbers of
    tokens then count the same. For the mean over all tokens of a batch, give each sequence the weight
    `fnn.data.token_weights(y, ignore)`: a batch `(x, y, weight)`, also with `micro_batch_size`.

    Args:
      ignore: the label of tokens that do not count, such as padding. It may also be a class.
      label_smoothing: ε, in [0, 1).

    Returns:
      A Loss, of logits (batch, …, k) and integer labels (batch, …). Its metric is `fnn.token_accuracy(ignore)`.

    Raises:
      TypeError: if `ignore` is not an integer.
      ValueError: if `label_smoothing` is not in [0, 1).

    >>> loss = token_cross_entropy()
    >>> loss.forward(jnp.zeros((1, 3, 2)), jnp.array([[0, 1, -100]]))[0].round(4)
    Array([0.6931], dtype=float32)
    """
    ignore = checks.integer("token_cross_entropy", "ignore", ignore)
    return _tokens(ignore, checks.fraction("token_cross_entropy", "label_smoothing", label_smoothing))


@functools.lru_cache(maxsize=64)
def _tokens(ignore: int, label_smoothing: float) -> Loss:
    """Return the same Loss for the same numbers, so that programs compiled for it are found again."""

    def forward(z: ArrayLike, y: ArrayLike) -> tuple[Values, Any]:
        """L = Σ_t w_t / n (ln Σ_j e^(z_tj) - (1 - ε) z_(t, y_t) - ε / k Σ_j z_tj)"""
        like, (z, y) = jnp.asarray(z)[:0], _logits_and_labels(z, y)
        z = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
        e = jnp.exp(z)
        total = jnp.sum(e, axis=-1)
        at_target = jnp.sum(jnp.where(_is_label(y, z), z, 0), axis=-1)
        if label_smoothing > 0:
            at_target = (1 - label_smoothing) * at_target + label_smoothing * jnp.mean(z, axis=-1)
        w, valid = not_ignored(y, ignore), (y >= 0) & (y < z.shape[-1])
        losses = jnp.where(w, jnp.where(valid, jnp.log(total) - at_target, jnp.nan), 0)
        axes = tuple(range(1, w.ndim))
        n = jnp.maximum(jnp.sum(w, axes, dtype=z.dtype), 1)
        return jnp.sum(losses, axes) / n, (e, total, y, n, like)

    def backward(residuals: tuple[Array, Array, Array, Array, Array], dvalue: Values) -> Array:
        """dz_t = dL w_t / n (p_t - (1 - ε) 1_(y_t) - ε / k)"""
        e, total, y, n, like = residuals
        k, scale = e.shape[-1], as_column(dvalue.astype(n.dtype) / n, e)
        target = jnp.where(_is_label(y, e), jnp.asarray(1 - label_smoothing, e.dtype), 0) + label_smoothing / k
        valid = ((y >= 0) & (y < k))[..., None]
        dz = jnp.where(valid, scale * (e / total[..., None] - target), jnp.nan)
        return jnp.where(not_ignored(y, ignore)[..., None], dz, 0).astype(like.dtype)

    metrics = (("accuracy", token_accuracy(ignore)),)
    return Loss(forward, backward, labels_in_range("token_cross_entropy", ignore), metrics, "token_cross_entropy")


def _is_label(y: Int[Array, "*positions"], z: Array) -> Bool[Array, "*positions k"]:
    """Return where the class is y_t. XLA fuses it into what uses it, so that it takes no memory of its own."""
    return y[..., None] == jax.lax.broadcasted_iota(y.dtype, z.shape, z.ndim - 1)


def _logits_and_labels(z: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Return the logits in float32 at least, and the labels in a dtype that holds every class."""
    z, y = floating_prediction("token_cross_entropy", z), checks.array("token_cross_entropy", "target", y)
    if z.ndim < 2:
        raise checks.fail("token_cross_entropy", "prediction", "of shape (batch, ..., k)", z)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise checks.fail("token_cross_entropy", "target", "integer labels", y, TypeError)
    if y.shape != z.shape[:-1]:
        raise checks.fail("token_cross_entropy", "target", f"labels of shape {tuple(z.shape[:-1])}", y)
    return z.astype(widest(z, jnp.float32)), y.astype(at_least_int32(y))
