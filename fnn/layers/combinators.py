"""Combinators make one layer of several: in sequence, or beside a shortcut."""

import functools
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.dtypes import widest
from fnn.layers.activations import identity
from fnn.layers.equal_layers import init_each
from fnn.layers.streams import residual_stream, serial_stream
from fnn.split_params import for_layer, passes_params, split_like
from fnn.types import Layer, Params, PRNGKey, Residuals


def split_key(key: PRNGKey | None, n: int) -> list[PRNGKey | None]:
    """Derive one key for each of n layers. Without a key, return n times None."""
    return [None] * n if key is None else [jax.random.fold_in(key, i) for i in range(n)]


def calibrated(layer: Layer, params: Params, x: Array) -> tuple[Params, Array]:
    """Return the calibrated parameters of a layer, and its output y."""
    if layer.calibrate is None:
        return params, protocol.forward("calibrate", "layer", layer, params, x)[0]
    params_after, y = layer.calibrate(for_layer(layer, params), x)
    return split_like(params_after, params), y


def smallest_vocabulary(layers: tuple[Layer, ...]) -> int | None:
    """Return V, if all ids in 0..V-1 are ids for each of the layers; None if their input is floating point."""
    return min((layer.vocabulary for layer in layers if layer.vocabulary is not None), default=None)


def each_layer(function: str, layers: tuple) -> tuple[Layer, ...]:
    """Return the arguments of a combinator of any number of layers, at least one."""
    if len(layers) == 1 and type(layers[0]) in (list, tuple):
        expected, advice = "Layers, one argument for each", f"Unpack it: {function}(*layers)."
        raise checks.fail(function, "layers", expected, layers[0], TypeError, advice=advice)
    if not layers:
        raise checks.fail(function, "layers", "at least one Layer", came="none")
    return tuple(checks.layer(function, f"layers[{i}]", layer) for i, layer in enumerate(layers))


def check_entries(function: str, n: int, params: Params) -> Params:
    """Return the parameters of a combinator of n layers, a tuple with one entry per layer."""
    if not isinstance(params, tuple) or len(params) != n:
        got = f"a tuple of {len(params)}" if isinstance(params, tuple) else type(params).__name__
        raise checks.fail(function, "params", f"a tuple of {n}, one entry per layer", came=got)
    return params


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
    layers = each_layer("serial", layers)
    per_layer = functools.partial(check_entries, "serial", len(layers))

    def init(key: PRNGKey) -> Params:
        return init_each(layers, key)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """a_l = f_l(a_{l-1}), a_0 = x"""
        residuals = []
        for i, (layer, p, k) in enumerate(zip(layers, per_layer(params), split_key(key, len(layers)), strict=True)):
            x, r = protocol.forward("serial", f"layers[{i}]", layer, p, x, k)
            residuals.append(r)
        return x, tuple(residuals)

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Any]:
        """da_{l-1} = da_l ∂f_l/∂a_{l-1}, from the last layer to the first"""
        dparams = []
        each = enumerate(zip(layers, per_layer(params), residuals, strict=True))
        for i, (layer, p, r) in reversed([*each]):
            try:
                dp, dy = protocol.backward("serial", f"layers[{i}]", layer, p, r, dy)
            except Exception as error:
                if i + 1 < len(layers):
                    after = f"layers[{i + 1}] ({layers[i + 1].name})"
                    error.add_note(f"serial: the backward of {after} returned as dx {checks.describe(dy)}")
                raise
            dparams.append(dp)
        return tuple(reversed(dparams)), dy

    def calibrate(params: Params, x: Array) -> tuple[Params, Array]:
        out = []
        for layer, p in zip(layers, per_layer(params), strict=True):
            p, x = calibrated(layer, p, x)
            out.append(p)
        return tuple(out), x

    has_statistics = any(layer.calibrate for layer in layers)
    return passes_params(
        Layer(
            init,
            forward,
            backward,
            calibrate if has_statistics else None,
            name="serial",
            layers=layers,
            combinator=serial,
            stream=serial_stream(layers, split_key, per_layer),
            vocabulary=layers[0].vocabulary,
        )
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
        each = zip(Residual._fields, layers, split_key(key, 2), strict=True)
        return Residual(*(protocol.init("residual", name, f, k) for name, f, k in each))

    def check(params: Params) -> Residual:
        return checks.fields("residual", params, Residual)

    def add(y: Array, s: Array) -> Array:
        if y.shape != s.shape:
            expected = f"of the shape of the layer's output, {tuple(y.shape)}"
            raise checks.fail("residual", "the shortcut's output", expected, s)
        dtype = widest(y, s)
        return y.astype(dtype) + s.astype(dtype)

    def forward(params: Residual, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = f(x) + s(x)"""
        (y, r), (s, q) = (
            protocol.forward("residual", name, f, p, x, k)
            for name, f, p, k in zip(Residual._fields, layers, check(params), split_key(key, 2), strict=True)
        )
        return join(x, y, s, r, q)

    def join(x: Array, y: Array, s: Array, r: Residuals, q: Residuals) -> tuple[Array, Residuals]:
        return add(y, s), ((r, y[:0]), (q, s[:0]), x[:0])

    def backward(params: Residual, residuals: Residuals, dy: Array) -> tuple[Residual, Any]:
        """dx = dy ∂f/∂x + dy ∂s/∂x"""
        *branches, like = residuals
        (dp, dx), (dq, ds) = (
            protocol.backward("residual", name, f, p, r, dy.astype(y.dtype))
            for name, f, p, (r, y) in zip(Residual._fields, layers, params, branches, strict=True)
        )
        if dx.dtype == jax.dtypes.float0:  # of ids
            return Residual(dp, dq), dx
        return Residual(dp, dq), (dx + ds).astype(like.dtype)

    def calibrate(params: Residual, x: Array) -> tuple[Residual, Array]:
        (p, y), (q, s) = (calibrated(f, p, x) for f, p in zip(layers, params, strict=True))
        return Residual(p, q), add(y, s)

    has_statistics = any(f.calibrate for f in layers)
    return passes_params(
        Layer(
            init,
            forward,
            backward,
            calibrate if has_statistics else None,
            name="residual",
            layers=layers,
            combinator=residual,
            stream=residual_stream(layers, split_key, check, join),
            vocabulary=smallest_vocabulary(layers),
        )
    )
