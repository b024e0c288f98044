"""Wrappers take a layer and return a layer: autodiff, custom_vjp, remat."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from fnn import checks
from fnn.checks import protocol
from fnn.split_params import gathered, passes_params
from fnn.types import Layer, Params, PRNGKey, Residuals, Stream


def autodiff(layer: Layer) -> Layer:
    """Replace the backward of a layer by that of JAX's automatic differentiation.

    The result is a reference for the hand-written backward, and can take its place anywhere.

    Args:
      layer: the layer, or a whole network. Its `backward` is not used.

    Returns:
      A Layer with the same parameters and the same forward pass.

    >>> import jax.numpy as jnp, fnn
    >>> sine = fnn.elementwise(jnp.sin, jnp.sin)  # wrong: the derivative is cos
    >>> x, dy = jnp.array([[0.5]]), jnp.array([[1.0]])
    >>> for layer in (sine, autodiff(sine)):
    ...     _, residuals = layer.forward((), x)
    ...     print(layer.backward((), residuals, dy)[1])
    [[0.47942555]]
    [[0.87758255]]
    """
    stream = checks.layer("autodiff", "layer", layer).stream

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        run = lambda params, x: protocol.forward("autodiff", "layer", layer, params, x, key)[0]
        return jax.vjp(run, params, x)

    def backward(params: Params, vjp: Residuals, dy: Array) -> tuple[Params, Any]:
        return vjp(dy)

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        assert stream is not None
        inner = stream.advance

        def run(params: Params, x: Array) -> tuple[Array, Any]:
            y, _, after = inner(params, memory, x, key)
            return y, after

        return jax.vjp(run, params, x, has_aux=True)

    name = f"autodiff({layer.name})"
    both = None if stream is None else Stream(stream.start, advance)
    return passes_params(layer._replace(forward=forward, backward=backward, name=name, combinator=None, stream=both))


def as_custom_vjp(layer: Layer) -> Callable[..., Array]:
    """Return the forward pass as a function with a `jax.custom_vjp` rule.

    `jax.grad` then uses the layer's hand-written backward.

    Args:
      layer: the layer, or a whole network.

    Returns:
      f(params, x, key=None) -> y.

    >>> import jax.numpy as jnp, fnn
    >>> f = as_custom_vjp(fnn.tanh)
    >>> jax.grad(lambda x: f((), x).sum())(jnp.zeros(2))
    Array([1., 1.], dtype=float32)
    """
    checks.layer("as_custom_vjp", "layer", layer)

    @jax.custom_vjp
    def f(params: Params, x: Array, key: PRNGKey | None = None) -> Array:
        return protocol.forward("as_custom_vjp", "layer", layer, params, x, key)[0]

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        y, residuals = protocol.forward("as_custom_vjp", "layer", layer, params, x, key)
        return y, (params, residuals)

    def backward(residuals: Residuals, dy: Array) -> tuple[Params, Array, None]:
        params, residuals = residuals
        return *protocol.backward("as_custom_vjp", "layer", layer, params, residuals, dy), None

    f.defvjp(forward, backward)
    return f


def remat(layer: Layer) -> Layer:
    """Keep only the input of a layer, and recompute its residuals in backward.

    This trades time for memory (Chen et al. 2016).

    On the CPU this saves memory only across a scan, `repeat(remat(layer), n)`. In a `serial`, XLA frees the residuals
    in the same order anyway (jax 0.10).

    Args:
      layer: the layer, or a whole network.

    Returns:
      A Layer with the same parameters, outputs and gradients, bit for bit.

    >>> import jax.numpy as jnp, fnn
    >>> layer = remat(fnn.mlp([3, 4, 2]))
    >>> y, residuals = layer.forward(layer.init(jax.random.key(0)), jnp.ones((5, 3)))
    >>> [leaf.shape for leaf in jax.tree.leaves(residuals)]
    [(5, 3)]
    """
    stream = checks.layer("remat", "layer", layer).stream

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        return protocol.forward("remat", "layer", layer, params, x, key)[0], (x, key)

    def backward(params: Params, residuals: Residuals, dy: Array) -> tuple[Params, Any]:
        x, key, *memory = residuals
        # without the barrier XLA would merge this forward with the first one, and keep its residuals (jax 0.10)
        x, dy = jax.lax.optimization_barrier((x, dy))
        if memory and stream is not None:
            _, residuals, _ = stream.advance(gathered(params), memory[0], x, key)
        else:
            _, residuals = protocol.forward("remat", "layer", layer, params, x, key)
        return protocol.backward("remat", "layer", layer, params, residuals, dy)

    def advance(params: Params, memory: Any, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals, Any]:
        assert stream is not None
        y, _, after = stream.advance(params, memory, x, key)
        return y, (x, key, memory), after

    both = None if stream is None else Stream(stream.start, advance)
    name = f"remat({layer.name})"
    return passes_params(layer._replace(forward=forward, backward=backward, name=name, combinator=None, stream=both))
