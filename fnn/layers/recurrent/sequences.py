"""Layers on whole sequences: both directions, the last position. Each backward is under its forward."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.dtypes import widest
from fnn.layers.combinators import calibrated, smallest_vocabulary, split_key
from fnn.layers.lengths import (
    in_sequence,
    join_lengths,
    nan_if_impossible,
    positions_and_lengths,
    reverse,
    split_lengths,
)
from fnn.split_params import passes_params
from fnn.types import Layer, Params, PRNGKey, Residuals


class Bidirectional(NamedTuple):
    """The parameters of `bidirectional`."""

    forward: Params
    backward: Params


def bidirectional(forward: Layer, backward: Layer) -> Layer:
    """Read a sequence in both directions (Schuster and Paliwal 1997).

    With R the reversal of time: Y = [f(X), R g(R X)], side by side in the last axis

    [dY_f, dY_g] = dY, dX = dY_f ∂f/∂X + R (R dY_g ∂g/∂X)

    Each output knows the whole sequence, so this layer cannot read it in pieces. If x is a pair (x, lengths), R
    reverses each sequence and leaves its padding at its end, so that the outputs at its positions do not depend on the
    padding. See `fnn.ragged`.

    Args:
      forward: f, which reads from the first position to the last, such as `fnn.lstm(n_in, n)`.
      backward: g, which reads from the last position to the first.

    Returns:
      A Layer with parameters `Bidirectional(forward, backward)`, from x (batch, time, …) or a pair (x, lengths) to
      y (batch, time, n_f + n_g).

    Raises:
      ValueError: if x is not (batch, time, …), or the outputs differ in a shape other than that of the last axis.

    >>> import jax
    >>> from fnn.layers.recurrent.rnn import rnn
    >>> layer = bidirectional(rnn(3, 4), rnn(3, 2))
    >>> layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 7, 3)))[0].shape
    (5, 7, 6)
    """
    names = Bidirectional._fields
    layers = tuple(checks.layer("bidirectional", name, f) for name, f in zip(names, (forward, backward), strict=True))

    def init(key: PRNGKey) -> Bidirectional:
        return Bidirectional(*(f.init(k) for f, k in zip(layers, split_key(key, 2), strict=True)))

    def both_ways(params: Bidirectional, x: Any) -> tuple[tuple[Array, Array], Array | None]:
        """Return X and R X, and the lengths"""
        checks.fields("bidirectional", params, Bidirectional)
        x, lengths = split_lengths("bidirectional", x)
        if x.ndim < 2:
            raise checks.fail("bidirectional", "x", "of shape (batch, time, ...)", x)
        return (x, reverse(x, lengths)), lengths

    def join(y: Array, z: Array, lengths: Array | None) -> Array:
        if y.ndim < 3 or y.shape[:-1] != z.shape[:-1]:
            expected = (
                f"of shape ({', '.join(map(str, y.shape[:-1]))}, n)" if y.ndim >= 3 else "of shape (batch, time, n)"
            )
            raise checks.fail("bidirectional", "the output of the layers", expected, y if y.ndim < 3 else z)
        dtype = widest(y, z)
        return jnp.concatenate([y.astype(dtype), reverse(z, lengths).astype(dtype)], axis=-1)

    def apply(params: Bidirectional, x: Any, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """Y = [f(X), R g(R X)]"""
        ways, lengths = both_ways(params, x)
        (y, r), (z, q) = (
            protocol.forward("bidirectional", name, f, p, a, k)
            for name, f, p, a, k in zip(names, layers, params, ways, split_key(key, 2), strict=True)
        )
        return join(y, z, lengths), (((r, y[:0]), (q, z[:0])), lengths)

    def apply_backward(params: Bidirectional, residuals: Residuals, dy: Array) -> tuple[Bidirectional, Any]:
        """dX = dY_f ∂f/∂X + R (R dY_g ∂g/∂X)"""
        each, lengths = residuals
        (_, y), _ = each
        parts = dy[..., : y.shape[-1]], reverse(dy[..., y.shape[-1] :], lengths)
        (dp, dx), (dq, dz) = (
            protocol.backward("bidirectional", name, f, p, r, d.astype(like.dtype))
            for name, f, p, (r, like), d in zip(names, layers, params, each, parts, strict=True)
        )
        if dx.dtype != jax.dtypes.float0:  # that of ids
            dx = dx + reverse(dz, lengths)
        return Bidirectional(dp, dq), join_lengths(dx, lengths)

    def calibrate(params: Bidirectional, x: Any) -> tuple[Bidirectional, Array]:
        ways, lengths = both_ways(params, x)
        (p, y), (q, z) = (calibrated(f, p, a) for f, p, a in zip(layers, params, ways, strict=True))
        return Bidirectional(p, q), join(y, z, lengths)

    calibrate_or_none = calibrate if any(f.calibrate for f in layers) else None
    vocabulary = smallest_vocabulary(layers)
    return passes_params(
        Layer(
            init,
            apply,
            apply_backward,
            calibrate_or_none,
            "bidirectional",
            layers,
            bidirectional,
            vocabulary=vocabulary,
        )
    )


def last() -> Layer:
    """The last position of a sequence: y = x_T, dx_T = dy, dx_t = 0 for t < T.

    After a recurrent layer, it makes one vector of a whole sequence, for example to classify it. If x is a
    pair (x, lengths), T is the length of each sequence, and y = 0 if that is 0. See `fnn.ragged`.

    Returns:
      A Layer without parameters, from x (batch, time, …) or a pair (x, lengths) to y (batch, …).

    Raises:
      ValueError: if x is not (batch, time, …) with at least one position, or a length is not in 0..time.

    >>> last().forward((), jnp.array([[[1.0], [2.0], [3.0]]]))[0]
    Array([[3.]], dtype=float32)
    """
    return _LAST


def _last(params: Params, x: Any, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
    """y = x_T; the first residual has the shape of x, but no examples"""
    x, lengths = positions_and_lengths("last", params, x)
    if lengths is None:
        return x[:, -1], (x[:0], None)
    y = jnp.sum(jnp.where(_is_last(lengths, x), x, 0), axis=1)
    return nan_if_impossible(y, lengths, x.shape[1]), (x[:0], lengths)


def _last_backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Any]:
    """dx_T = dy, dx_t = 0 for t < T"""
    like, lengths = residuals
    if lengths is None:
        before = jnp.zeros((dy.shape[0], like.shape[1] - 1, *like.shape[2:]), dy.dtype)
        return (), jnp.concatenate([before, dy[:, None]], axis=1)
    dx = jnp.broadcast_to(dy[:, None], (dy.shape[0], *like.shape[1:]))
    return (), join_lengths(jnp.where(_is_last(lengths, dx), dx, 0), lengths)


def _is_last(lengths: Array, x: Array) -> Array:
    """Return where a position of x is the last of its sequence, as (batch, time, 1, …, 1)."""
    return in_sequence(lengths, x) & ~in_sequence(lengths - 1, x)


_LAST = Layer(lambda key: (), _last, _last_backward, name="last")
