"""Layers on whole sequences: both directions, the last position. Each backward is under its forward."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.dtypes import widest
from fnn.layers.activations import parameterless
from fnn.layers.combinators import calibrated, split_key
from fnn.types import Layer, Params, PRNGKey, Residuals


class Bidirectional(NamedTuple):
    """The parameters of `bidirectional`."""

    forward: Params
    backward: Params


def _reverse(x: Array) -> Array:
    """Return (batch, time, …) with the last position first."""
    return jnp.flip(x, axis=1)


def bidirectional(forward: Layer, backward: Layer) -> Layer:
    """Read a sequence in both directions (Schuster and Paliwal 1997).

    With R the reversal of time: Y = [f(X), R g(R X)], side by side in the last axis

    [dY_f, dY_g] = dY, dX = dY_f ∂f/∂X + R (R dY_g ∂g/∂X)

    Each output knows the whole sequence, so this layer cannot read it in pieces. Sequences that are padded at their end
    are read from the padding in the second direction.

    Args:
      forward: f, which reads from the first position to the last, such as `fnn.lstm(n_in, n)`.
      backward: g, which reads from the last position to the first.

    Returns:
      A Layer with parameters `Bidirectional(forward, backward)`, from x (batch, time, …) to y (batch, time, n_f + n_g).

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

    def both_ways(params: Bidirectional, x: Array) -> Array:
        checks.fields("bidirectional", params, Bidirectional)
        x = checks.array("bidirectional", "x", x)
        if x.ndim < 2:
            raise checks.fail("bidirectional", "x", "of shape (batch, time, ...)", x)
        return x

    def join(y: Array, z: Array) -> Array:
        if y.ndim < 3 or y.shape[:-1] != z.shape[:-1]:
            expected = (
                f"of shape ({', '.join(map(str, y.shape[:-1]))}, n)" if y.ndim >= 3 else "of shape (batch, time, n)"
            )
            raise checks.fail("bidirectional", "the output of the layers", expected, y if y.ndim < 3 else z)
        dtype = widest(y, z)
        return jnp.concatenate([y.astype(dtype), _reverse(z).astype(dtype)], axis=-1)

    def apply(params: Bidirectional, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """Y = [f(X), R g(R X)]"""
        x = both_ways(params, x)
        (y, r), (z, q) = (
            protocol.forward("bidirectional", name, f, p, a, k)
            for name, f, p, a, k in zip(names, layers, params, (x, _reverse(x)), split_key(key, 2), strict=True)
        )
        return join(y, z), ((r, y[:0]), (q, z[:0]))

    def apply_backward(params: Bidirectional, residuals: Residuals, dy: Array) -> tuple[Bidirectional, Array]:
        """dX = dY_f ∂f/∂X + R (R dY_g ∂g/∂X)"""
        (_, y), _ = residuals
        parts = dy[..., : y.shape[-1]], _reverse(dy[..., y.shape[-1] :])
        (dp, dx), (dq, dz) = (
            protocol.backward("bidirectional", name, f, p, r, d.astype(like.dtype))
            for name, f, p, (r, like), d in zip(names, layers, params, residuals, parts, strict=True)
        )
        return Bidirectional(dp, dq), dx + _reverse(dz)

    def calibrate(params: Bidirectional, x: Array) -> tuple[Bidirectional, Array]:
        x = both_ways(params, x)
        (p, y), (q, z) = (calibrated(f, p, a) for f, p, a in zip(layers, params, (x, _reverse(x)), strict=True))
        return Bidirectional(p, q), join(y, z)

    calibrate_or_none = calibrate if any(f.calibrate for f in layers) else None
    return Layer(init, apply, apply_backward, calibrate_or_none, "bidirectional", layers, bidirectional)


def last() -> Layer:
    """The last position of a sequence: y = x_T, dx_T = dy, dx_t = 0 for t < T.

    After a recurrent layer, it makes one vector of a whole sequence, for example to classify it.

    Returns:
      A Layer without parameters, from x (batch, time, …) to y (batch, …).

    Raises:
      ValueError: if x is not (batch, time, …) with at least one position.

    >>> last().forward((), jnp.array([[[1.0], [2.0], [3.0]]]))[0]
    Array([[3.]], dtype=float32)
    """
    return _LAST


def _last(x: Array) -> tuple[Array, Array]:
    """y = x_T; the residual has the shape of x, but no examples"""
    if x.ndim < 2 or x.shape[1] < 1:
        raise checks.fail("last", "x", "of shape (batch, time, ...), of at least one position", x)
    return x[:, -1], x[:0]


def _last_backward(like: Array, dy: Array) -> Array:
    """dx_T = dy, dx_t = 0 for t < T"""
    before = jnp.zeros((dy.shape[0], like.shape[1] - 1, *like.shape[2:]), dy.dtype)
    return jnp.concatenate([before, dy[:, None]], axis=1)


_LAST = parameterless("last", _last, _last_backward)
