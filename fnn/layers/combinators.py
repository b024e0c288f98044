"""Combinators make one layer of several: in sequence, residual, or repeated."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.dtypes import widest
from fnn.layers.activations import identity
from fnn.layers.streams import repeat_stream, residual_stream, serial_stream
from fnn.types import Layer, Params, PRNGKey, Residuals


def split_key(key: PRNGKey | None, n: int) -> list[PRNGKey | None]:
    """Derive one key for each of n layers. Without a key, return n times None."""
    return [None] * n if key is None else [jax.random.fold_in(key, i) for i in range(n)]


def calibrated(layer: Layer, params: Params, x: Array) -> tuple[Params, Array]:
    """Return the calibrated parameters of a layer, and its output y."""
    if layer.calibrate is None:
        return params, protocol.forward("calibrate", "layer", layer, params, x)[0]
    return layer.calibrate(params, x)


def serial(*layers: Layer) -> Layer:
    """Compose layers in sequence: y = f_L(… f_2(f_1(x))).

    With a_0 = x and a_l = f_l(a_{l-1}), the backward pass is da_{l-1} = da_l ∂f_l/∂a_{l-1}, from the last layer to
    the first: backpropagation (Rumelhart, Hinton and Williams 1986).

    Args:
      *layers: the layers, in the order in which they are applied; at least one.

    Returns:
      A Layer. Its parameters, residuals and gradients are tuples with one entry per layer.

    >>> from fnn.layers.dense import dense
    >>> network = serial(dense(3, 4), identity, dense(4, 2))
    >>> len(network.init(jax.random.key(0)))
    3
    """
    if len(layers) == 1 and type(layers[0]) in (list, tuple):
        expected = "Layers, one argument for each"
        raise checks.fail("serial", "layers", expected, layers[0], TypeError, advice="Unpack it: serial(*layers).")
    layers = tuple(checks.layer("serial", f"layers[{i}]", layer) for i, layer in enumerate(layers))
    if not layers:
        raise checks.fail("serial", "layers", "at least one Layer", came="none")

    def per_layer(params: Params) -> Params:
        if not isinstance(params, tuple) or len(params) != len(layers):
            got = f"a tuple of {len(params)}" if isinstance(params, tuple) else type(params).__name__
            raise checks.fail("serial", "params", f"a tuple of {len(layers)}, one entry per layer", came=got)
        return params

    def init(key: PRNGKey) -> Params:
        return tuple(layer.init(k) for layer, k in zip(layers, split_key(key, len(layers)), strict=True))

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """a_l = f_l(a_{l-1}), a_0 = x"""
        residuals = []
        for i, (layer, p, k) in enumerate(zip(layers, per_layer(params), split_key(key, len(layers)), strict=True)):
            x, r = protocol.forward("serial", f"layers[{i}]", layer, p, x, k)
            residuals.append(r)
        return x, tuple(residuals)

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Array]:
        """da_{l-1} = da_l ∂f_l/∂a_{l-1}, from the last layer to the first"""
        dparams = []
        each = enumerate(zip(layers, per_layer(params), residuals, strict=True))
        for i, (layer, p, r) in reversed([*each]):
            dp, dy = protocol.backward("serial", f"layers[{i}]", layer, p, r, dy)
            dparams.append(dp)
        return tuple(reversed(dparams)), dy

    def calibrate(params: Params, x: Array) -> tuple[Params, Array]:
        out = []
        for layer, p in zip(layers, per_layer(params), strict=True):
            p, x = calibrated(layer, p, x)
            out.append(p)
        return tuple(out), x

    has_statistics = any(layer.calibrate for layer in layers)
    return Layer(
        init,
        forward,
        backward,
        calibrate if has_statistics else None,
        name="serial",
        layers=layers,
        combinator=serial,
        stream=serial_stream(layers, split_key),
        vocabulary=layers[0].vocabulary,
    )


class Residual(NamedTuple):
    """The parameters of `residual`."""

    layer: Params
    shortcut: Params


def residual(layer: Layer, shortcut: Layer = identity) -> Layer:
    """Add a shortcut around a layer (He et al. 2016).

    y = f(x) + s(x), dx = dy ∂f/∂x + dy ∂s/∂x

    Args:
      layer: the layer f.
      shortcut: the layer s, by default the identity. A projection such as `fnn.dense(n_in, n_out)` makes the shapes
        agree where f changes them.

    Returns:
      A Layer with parameters `Residual(layer, shortcut)`.

    Raises:
      ValueError: if f(x) and s(x) differ in shape.

    >>> import jax.numpy as jnp
    >>> from fnn.layers.dense import dense
    >>> block = residual(serial(dense(3, 3), identity))
    >>> block.forward(block.init(jax.random.key(0)), jnp.ones((5, 3)))[0].shape
    (5, 3)
    """
    layers = checks.layer("residual", "layer", layer), checks.layer("residual", "shortcut", shortcut)

    def init(key: PRNGKey) -> Residual:
        return Residual(*(f.init(k) for f, k in zip(layers, split_key(key, 2), strict=True)))

    def add(y: Array, s: Array) -> Array:
        if y.shape != s.shape:
            expected = f"of the shape of the layer's output, {tuple(y.shape)}"
            raise checks.fail("residual", "the shortcut's output", expected, s)
        dtype = widest(y, s)
        return y.astype(dtype) + s.astype(dtype)

    def forward(params: Residual, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = f(x) + s(x)"""
        params = checks.fields("residual", params, Residual)
        (y, r), (s, q) = (
            protocol.forward("residual", name, f, p, x, k)
            for name, f, p, k in zip(Residual._fields, layers, params, split_key(key, 2), strict=True)
        )
        return join(x, y, s, r, q)

    def join(x: Array, y: Array, s: Array, r: Residuals, q: Residuals) -> tuple[Array, Residuals]:
        return add(y, s), ((r, y[:0]), (q, s[:0]), x[:0])

    def backward(params: Residual, residuals: Residuals, dy: Array) -> tuple[Residual, Array]:
        """dx = dy ∂f/∂x + dy ∂s/∂x"""
        *branches, like = residuals
        (dp, dx), (dq, ds) = (
            protocol.backward("residual", name, f, p, r, dy.astype(y.dtype))
            for name, f, p, (r, y) in zip(Residual._fields, layers, params, branches, strict=True)
        )
        return Residual(dp, dq), (dx + ds).astype(like.dtype)

    def calibrate(params: Residual, x: Array) -> tuple[Residual, Array]:
        (p, y), (q, s) = (calibrated(f, p, x) for f, p in zip(layers, params, strict=True))
        return Residual(p, q), add(y, s)

    has_statistics = any(f.calibrate for f in layers)
    return Layer(
        init,
        forward,
        backward,
        calibrate if has_statistics else None,
        name="residual",
        layers=layers,
        combinator=residual,
        stream=residual_stream(layers, split_key, join),
    )


def repeat(layer: Layer, n: int) -> Layer:
    """Compose n copies of a layer, each with its own parameters, as one `lax.scan`.

    a_0 = x, a_l = f(params_l, a_{l-1}), y = a_n. The time to compile does not grow with n.

    Args:
      layer: the layer f. Its output must have the shape of its input.
      n: the number of copies.

    Returns:
      A Layer. Its parameters, residuals and gradients are those of `layer` with a leading axis of size n.

    Raises:
      ValueError: if f changes the shape of x, or a parameter lacks the leading axis.

    >>> from fnn.layers.dense import dense
    >>> deep = repeat(serial(dense(3, 3), identity), 100)
    >>> deep.init(jax.random.key(0))[0].w.shape
    (100, 3, 3)
    """
    layer, n = checks.layer("repeat", "layer", layer), checks.positive_int("repeat", "n", n)

    def init(key: PRNGKey) -> Params:
        return jax.vmap(layer.init)(jax.random.split(key, n))

    def check(params: Params, x: Array) -> Array:
        wrong = [leaf for leaf in jax.tree.leaves(params) if np.ndim(leaf) < 1 or np.shape(leaf)[0] != n]
        if wrong:
            raise checks.fail("repeat", "params", f"a tree of leaves with a leading axis of {n}", wrong[0])
        first = jax.tree.map(lambda leaf: leaf[0], params)
        y = jax.eval_shape(lambda p, x: protocol.forward("repeat", "layer", layer, p, x)[0], first, x)
        if y.shape != x.shape:
            raise checks.fail("repeat", "the layer's output", f"of the shape of its input, {tuple(x.shape)}", y)
        return x.astype(y.dtype)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """a_l = f(params_l, a_{l-1}), a_0 = x"""
        keys = None if key is None else jax.random.split(key, n)

        def step(a: Array, xs):
            return protocol.forward("repeat", "layer", layer, xs[0], a, xs[1])

        y, residuals = jax.lax.scan(step, check(params, x), (params, keys), length=n)
        return y, (residuals, x[:0])

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Array]:
        """da_{l-1} = da_l ∂f/∂a_{l-1}, from the last copy to the first"""
        residuals, like = residuals

        def step(da: Array, xs):
            dp, da = protocol.backward("repeat", "layer", layer, xs[0], xs[1], da)
            return da, dp

        dx, dparams = jax.lax.scan(step, dy, (params, residuals), length=n, reverse=True)
        return dparams, dx.astype(like.dtype)

    def calibrate(params: Params, x: Array) -> tuple[Params, Array]:
        def step(a: Array, p: Params):
            p, a = calibrated(layer, p, a)
            return a, p

        y, params = jax.lax.scan(step, check(params, x), params, length=n)
        return params, y

    calibrate_or_none = calibrate if layer.calibrate else None
    copies, stream = (layer,) * n, repeat_stream(layer, n)
    return Layer(init, forward, backward, calibrate_or_none, f"repeat({n})", copies, repeat, stream)
