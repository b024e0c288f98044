"""Layers for sequences of different lengths. Each backward is under its forward."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.dtypes import wide
from fnn.layers.combinators import calibrated, split_key
from fnn.layers.lengths import check_lengths, in_sequence, join_lengths, nan_if_impossible, positions_and_lengths
from fnn.split_params import passes_params
from fnn.types import Layer, Params, PRNGKey, Residuals


class Ragged(NamedTuple):
    """The parameters of `ragged`."""

    each: Params
    whole: Params


def ragged(each: Layer, whole: Layer, lengths: Callable[[Array], Array]) -> Layer:
    """Give a layer the lengths of sequences that are padded at their end.

    y = g((f(x), lengths(x)))

    da = dy ∂g/∂a with a = f(x), dx = da ∂f/∂x; lengths have no gradient.

    Most layers need no lengths. A recurrent layer, a causal one, and one that acts on each position alone have the same
    outputs at the positions of a sequence, whatever its padding holds. Those that look at the whole sequence need them:
    `last`, `mean_positions` and `bidirectional`.

    Args:
      each: f, from x (batch, time, …) to (batch, time, …), such as `fnn.serial(fnn.embedding(k, d), fnn.lstm(d, n))`.
      whole: g, a layer whose input is a pair (a, lengths): `fnn.last()`, `fnn.mean_positions()`, `fnn.bidirectional`,
        or a `fnn.serial` that begins with one.
      lengths: x -> integers (batch,), computed by JAX. For ids, `fnn.data.lengths_of` counts the positions up to the
        last that is not 0.

    Returns:
      A Layer with parameters `Ragged(each, whole)`. Since the lengths come from x, it works in `fit`, `evaluate` and
      `predict` as any other.

    Raises:
      TypeError: if `lengths` is not a function, or does not return integers.
      ValueError: if it does not return a length in 0..time for each sequence.

    >>> import jax, fnn
    >>> network = ragged(fnn.embedding(9, 4), fnn.mean_positions(), fnn.data.lengths_of)
    >>> params = network.init(jax.random.key(0))
    >>> short, padded = (network.forward(params, jnp.array([ids]))[0] for ids in ([5, 2], [5, 2, 0, 0]))
    >>> bool(jnp.allclose(short, padded))
    True
    """
    names = Ragged._fields
    layers = tuple(checks.layer("ragged", name, f) for name, f in zip(names, (each, whole), strict=True))
    if not callable(lengths):
        raise checks.fail(
            "ragged", "lengths", "a function x -> lengths, such as fnn.data.lengths_of", lengths, TypeError
        )
    f, g = layers

    def init(key: PRNGKey) -> Ragged:
        return Ragged(*(layer.init(k) for layer, k in zip(layers, split_key(key, 2), strict=True)))

    def pair(x: Array, a: Array) -> Any:
        if a.ndim < 2 or a.shape[:2] != x.shape[:2]:
            raise checks.fail("ragged", "the output of each", f"of shape ({x.shape[0]}, {x.shape[1]}, ...)", a)
        return a, check_lengths("ragged", lengths(x), x)

    def with_positions(x: Any) -> Array:
        x = checks.array("ragged", "x", x)
        if x.ndim < 2:
            raise checks.fail("ragged", "x", "of shape (batch, time, ...)", x)
        return x

    def forward(params: Ragged, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = g((f(x), lengths(x)))"""
        p, q = checks.fields("ragged", params, Ragged)
        x, (k, j) = with_positions(x), split_key(key, 2)
        a, r = protocol.forward("ragged", "each", f, p, x, k)
        y, s = protocol.forward("ragged", "whole", g, q, pair(x, a), j)
        return y, (r, s)

    def backward(params: Ragged, residuals: Residuals, dy: Array) -> tuple[Ragged, Any]:
        """da = dy ∂g/∂a, dx = da ∂f/∂x"""
        r, s = residuals
        dq, dpair = protocol.backward("ragged", "whole", g, params.whole, s, dy)
        da, _ = dpair
        dp, dx = protocol.backward("ragged", "each", f, params.each, r, da)
        return Ragged(dp, dq), dx

    def calibrate(params: Ragged, x: Array) -> tuple[Ragged, Array]:
        x = with_positions(x)
        p, a = calibrated(f, params.each, x)
        q, y = calibrated(g, params.whole, pair(x, a))
        return Ragged(p, q), y

    calibrate_or_none = calibrate if any(layer.calibrate for layer in layers) else None
    return passes_params(
        Layer(init, forward, backward, calibrate_or_none, "ragged", layers, ragged, vocabulary=f.vocabulary)
    )


def mean_positions() -> Layer:
    """The mean over the positions of a sequence: y = 1/T Σ_t x_t, dx_t = dy / T.

    If x is a pair (x, lengths), T is the length of each sequence: y = Σ_{t < T} x_t / max(T, 1), and
    dx_t = dy / max(T, 1) if t < T, else 0. See `ragged`.

    Returns:
      A Layer without parameters, from x (batch, time, …) or a pair (x, lengths) to y (batch, …).

    Raises:
      ValueError: if x is not (batch, time, …) with at least one position, or a length is not in 0..time.

    >>> x, lengths = jnp.array([[[1.0], [3.0], [9.0]]]), jnp.array([2])
    >>> mean_positions().forward((), (x, lengths))[0]
    Array([[2.]], dtype=float32)
    """
    return _MEAN_POSITIONS


def _mean(params: Params, x: Any, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
    """y = Σ_{t < T} x_t / max(T, 1)"""
    x, lengths = positions_and_lengths("mean_positions", params, x)
    if lengths is None:
        return jnp.mean(x, axis=1, dtype=wide(x)).astype(x.dtype), (x[:0], None)
    total = jnp.sum(jnp.where(in_sequence(lengths, x), x, 0), axis=1, dtype=wide(x))
    y = (total / _count(lengths, total)).astype(x.dtype)
    return nan_if_impossible(y, lengths, x.shape[1]), (x[:0], lengths)


def _mean_backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Any]:
    """dx_t = dy / max(T, 1) if t < T, else 0"""
    like, lengths = residuals
    d = dy.astype(wide(dy))
    if lengths is None:
        d = jnp.broadcast_to((d / like.shape[1])[:, None], (dy.shape[0], *like.shape[1:]))
    else:
        d = jnp.broadcast_to((d / _count(lengths, d))[:, None], (dy.shape[0], *like.shape[1:]))
        d = jnp.where(in_sequence(lengths, d), d, 0)
    return (), join_lengths(d.astype(like.dtype), lengths)


def _count(lengths: Array, like: Array) -> Array:
    """Return max(T, 1) in the rank and dtype of `like` (batch, …)."""
    return jnp.maximum(lengths, 1).astype(like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


_MEAN_POSITIONS = Layer(lambda key: (), _mean, _mean_backward, name="mean_positions")
