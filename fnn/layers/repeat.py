"""Copies of one layer, each with its own parameters, as one `lax.scan`. The backward is under the forward."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.layers.combinators import calibrated
from fnn.split_params import passes_params
from fnn.types import Layer, Params, PRNGKey, Residuals, Stream


def repeat(layer: Layer, n: int, *, unroll: bool = False) -> Layer:
    """Compose n copies of a layer, each with its own parameters, as one `lax.scan`.

    a_0 = x, a_l = f(params_l, a_{l-1}), y = a_n. The time to compile does not grow with n.

    Args:
      layer: the layer f. Its output must have the shape of its input.
      n: the number of copies.
      unroll: if True, the programs of forward and backward have no loop, but one copy of f after the other, as those of
        `fnn.serial` have. The time to compile then grows with n. On a GPU the programs can be faster: a loop copies the
        residuals of each copy into an array of all, and out of it. Calibration and streams keep the loop.

    Returns:
      A Layer. Its parameters, residuals and gradients are those of `layer` with a leading axis of size n.

    Raises:
      ValueError: if f changes the shape of x, or a parameter lacks the leading axis.
      TypeError: if `unroll` is not a bool.

    >>> from fnn.layers.activations import identity
    >>> from fnn.layers.combinators import serial
    >>> from fnn.layers.dense import dense
    >>> deep = repeat(serial(dense(3, 3), identity), 100)
    >>> deep.init(jax.random.key(0))[0].w.shape
    (100, 3, 3)
    """
    layer, n = checks.layer("repeat", "layer", layer), checks.positive_int("repeat", "n", n)
    if not isinstance(unroll, bool):
        raise checks.fail("repeat", "unroll", "a bool", unroll, TypeError)
    unrolled = unroll or None  # None is not part of the description of a training: see fnn.training.description

    def init(key: PRNGKey) -> Params:
        return jax.vmap(lambda k: protocol.init("repeat", "layer", layer, k))(jax.random.split(key, n))

    def check(params: Params, x: Array) -> Array:
        first = _first(params, n)
        return _cast(jax.eval_shape(lambda p, x: protocol.forward("repeat", "layer", layer, p, x)[0], first, x), x)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """a_l = f(params_l, a_{l-1}), a_0 = x"""
        keys = None if key is None else jax.random.split(key, n)

        def step(a: Array, xs):
            return protocol.forward("repeat", "layer", layer, xs[0], a, xs[1])

        y, residuals = jax.lax.scan(step, check(params, x), (params, keys), length=n, unroll=bool(unrolled))
        return y, (residuals, x[:0])

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Array]:
        """da_{l-1} = da_l ∂f/∂a_{l-1}, from the last copy to the first"""
        residuals, like = residuals

        def step(da: Array, xs):
            dp, da = protocol.backward("repeat", "layer", layer, xs[0], xs[1], da)
            return da, dp

        dx, dparams = jax.lax.scan(step, dy, (params, residuals), length=n, reverse=True, unroll=bool(unrolled))
        return dparams, dx.astype(like.dtype)

    def calibrate(params: Params, x: Array) -> tuple[Params, Array]:
        def step(a: Array, p: Params):
            p, a = calibrated(layer, p, a)
            return a, p

        y, params = jax.lax.scan(step, check(params, x), params, length=n)
        return params, y

    calibrate_or_none = calibrate if layer.calibrate else None
    copies, stream = (layer,) * n, _stream(layer, n)
    return passes_params(Layer(init, forward, backward, calibrate_or_none, f"repeat({n})", copies, repeat, stream))


def _first(params: Params, n: int) -> Params:
    """Return the parameters of the first of n copies."""
    return jax.tree.map(lambda leaf: leaf[0], _of_copies(params, n))


def _of_copies(params: Params, n: int) -> Params:
    """Return the parameters if there are n copies of each."""
    wrong = [leaf for leaf in jax.tree.leaves(params) if np.ndim(leaf) < 1 or np.shape(leaf)[0] != n]
    if wrong:
        raise checks.fail("repeat", "params", f"a tree of leaves with a leading axis of {n}", wrong[0])
    return params


def _cast(y: Any, x: Array) -> Array:
    """Return the input of the first copy in the dtype of its output y."""
    if y.shape != x.shape:
        raise checks.fail("repeat", "the layer's output", f"of the shape of its input, {tuple(x.shape)}", y)
    return x.astype(y.dtype)


def _stream(layer: Layer, n: int) -> Stream | None:
    """Return the stream of n copies in one scan, whose memory has a leading axis of size n."""
    if layer.stream is None:
        return None
    stream = layer.stream

    def start(params: Params, batch: int) -> Any:
        return jax.vmap(lambda p: stream.start(p, batch), axis_size=n)(_of_copies(params, n))

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        def step(a: Array, xs: Any) -> tuple[Array, tuple[Residuals, Any]]:
            p, m, k = xs
            a, r, m = stream.advance(p, m, a, k)
            return a, (r, m)

        keys = None if key is None else jax.random.split(key, n)
        first = _first(params, n), jax.tree.map(lambda leaf: leaf[0], memory)
        a = _cast(jax.eval_shape(lambda a: stream.advance(*first, a)[0], x), x)
        y, (residuals, memory) = jax.lax.scan(step, a, (params, memory, keys), length=n)
        return y, (residuals, x[:0]), memory

    return Stream(start, advance)
