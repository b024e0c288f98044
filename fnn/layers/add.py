"""`add`: layers side by side, whose outputs are added."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.dtypes import widest
from fnn.layers.combinators import calibrated, check_entries, each_layer, smallest_vocabulary, split_key
from fnn.layers.equal_layers import init_each
from fnn.layers.streams import add_stream
from fnn.split_params import passes_params
from fnn.types import Layer, Params, PRNGKey, Residuals


def add(*layers: Layer) -> Layer:
    """Add the outputs of layers that read the same input.

    y = Σ_i f_i(x), dx = Σ_i dy ∂f_i/∂x

    With `fnn.dense` beside a network of hidden layers, it is a linear model and a correction to it.

    Args:
      *layers: the layers, at least one. Their outputs must have the same shape; nothing is broadcast.

    Returns:
      A Layer. Its parameters, residuals and gradients are tuples with one entry per layer. Each layer draws from a key
      of its own.

    Raises:
      ValueError: if there is no layer, or the outputs differ in shape.
      TypeError: if an argument is no Layer.

    >>> from fnn.layers.combinators import serial
    >>> from fnn.layers.dense import dense
    >>> network = add(dense(3, 2), serial(dense(3, 4), dense(4, 2)))
    >>> x = jax.random.normal(jax.random.key(1), (5, 3))
    >>> network.forward(network.init(jax.random.key(0)), x)[0].shape
    (5, 2)
    """
    layers = each_layer("add", layers)
    per_layer = functools.partial(check_entries, "add", len(layers))

    def init(key: PRNGKey) -> Params:
        return init_each(layers, key)

    def total(outputs: Sequence[Array]) -> Array:
        for i, y in enumerate(outputs):
            if y.shape != outputs[0].shape:
                expected = f"of the shape of that of layers[0] ({layers[0].name}), {tuple(outputs[0].shape)}"
                raise checks.fail("add", f"the output of layers[{i}] ({layers[i].name})", expected, y)
        dtype = widest(*outputs)
        return functools.reduce(jnp.add, [y.astype(dtype) for y in outputs])

    def join(x: Any, outputs: Sequence[Array], residuals: Sequence[Residuals]) -> tuple[Array, Residuals]:
        return total(outputs), (tuple(residuals), tuple(y[:0] for y in outputs), _no_rows(x))

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        """y = Σ_i f_i(x)"""
        each = enumerate(zip(layers, per_layer(params), split_key(key, len(layers)), strict=True))
        pairs = [protocol.forward("add", f"layers[{i}]", f, p, x, k) for i, (f, p, k) in each]
        return join(x, [y for y, _ in pairs], [r for _, r in pairs])

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Any]:
        """dx = Σ_i dy ∂f_i/∂x"""
        inner, outputs, like = residuals
        each = enumerate(zip(layers, per_layer(params), inner, outputs, strict=True))
        pairs = [protocol.backward("add", f"layers[{i}]", f, p, r, dy.astype(y.dtype)) for i, (f, p, r, y) in each]
        return tuple(dp for dp, _ in pairs), _sum_like(like, [dx for _, dx in pairs])

    def calibrate(params: Params, x: Array) -> tuple[Params, Array]:
        pairs = [calibrated(f, p, x) for f, p in zip(layers, per_layer(params), strict=True)]
        return tuple(p for p, _ in pairs), total([y for _, y in pairs])

    return passes_params(
        Layer(
            init,
            forward,
            backward,
            calibrate if any(f.calibrate for f in layers) else None,
            name="add",
            layers=layers,
            combinator=add,
            stream=add_stream(layers, split_key, per_layer, join),
            vocabulary=smallest_vocabulary(layers),
        )
    )


def _no_rows(x: Any) -> Any:
    """Return the input without its rows: it records the dtype. x may be a pair (x, lengths)."""
    return jax.tree.map(lambda leaf: leaf[:0], x)


def _sum_like(like: Any, gradients: Sequence[Any]) -> Any:
    """Return the sum of the gradients of an input in its dtype; that of ids and lengths has the dtype float0."""

    def of_leaf(like: Array, *leaves: Any) -> Any:
        if leaves[0].dtype == jax.dtypes.float0:
            return leaves[0]
        dtype = widest(*leaves)
        return functools.reduce(jnp.add, [leaf.astype(dtype) for leaf in leaves]).astype(like.dtype)

    return jax.tree.map(of_leaf, like, *gradients)
