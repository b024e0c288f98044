"""Layers that users might write themselves, which know nothing of split parameters."""

from typing import Any

import jax
import jax.numpy as jnp

import fnn


def scaled_dense(n: int) -> fnn.Layer:
    """Return a combinator of a user's own: it computes with its parameters, and calls a layer without any check."""
    inner = fnn.dense(n, n)

    def forward(params: Any, x: jax.Array, key: Any = None) -> tuple[jax.Array, Any]:
        y, residuals = inner.forward(params["inner"], x * params["scale"][None])
        return y, (residuals, x)

    def backward(params: Any, residuals: Any, dy: jax.Array) -> tuple[Any, jax.Array]:
        residuals, x = residuals
        dinner, dx = inner.backward(params["inner"], residuals, dy)
        return {"inner": dinner, "scale": jnp.sum(dx * x, 0)}, dx * params["scale"][None]

    return fnn.Layer(lambda key: {"inner": inner.init(key), "scale": jnp.ones(n)}, forward, backward, layers=(inner,))


def decayed(network: fnn.Layer) -> fnn.Layer:
    """Return a network whose backward a user has replaced by one that computes with the parameters."""

    def backward(params: Any, residuals: Any, dy: jax.Array) -> tuple[Any, jax.Array]:
        dparams, dx = network.backward(params, residuals, dy)
        return jax.tree.map(lambda d, p: d + 0.1 * p, dparams, params), dx

    return network._replace(backward=backward)
