"""A layer's backward exchanged: autodiff's in its place, or its own inside `jax.grad`."""

from collections.abc import Callable

import jax
from jaxtyping import Array

from fnn import checks
from fnn.types import Layer, Params, PRNGKey, Residuals


def autodiff(layer: Layer) -> Layer:
    """The same layer with autodiff's backward: the oracle as a value, to swap in anywhere.

    >>> import jax.numpy as jnp, fnn
    >>> sine = fnn.elementwise(jnp.sin, jnp.sin)  # wrong: the derivative is cos
    >>> x, dy = jnp.array([[0.5]]), jnp.array([[1.0]])
    >>> for layer in (sine, autodiff(sine)):
    ...     _, residuals = layer.forward((), x)
    ...     print(layer.backward((), residuals, dy)[1])
    [[0.47942555]]
    [[0.87758255]]
    """
    checks.layer("autodiff", "layer", layer)

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        return jax.vjp(lambda params, x: layer.forward(params, x, key)[0], params, x)

    def backward(params: Params, vjp: Residuals, dy: Array) -> tuple[Params, Array]:
        return vjp(dy)

    return layer._replace(forward=forward, backward=backward, name=f"autodiff({layer.name})")


def as_custom_vjp(layer: Layer) -> Callable[..., Array]:
    """f(params, x, key=None) -> y whose derivative under `jax.grad` is the layer's hand-written backward.

    >>> import jax.numpy as jnp, fnn
    >>> f = as_custom_vjp(fnn.tanh)
    >>> jax.grad(lambda x: f((), x).sum())(jnp.zeros(2))
    Array([1., 1.], dtype=float32)
    """
    checks.layer("as_custom_vjp", "layer", layer)

    @jax.custom_vjp
    def f(params: Params, x: Array, key: PRNGKey | None = None) -> Array:
        return layer.forward(params, x, key)[0]

    def forward(params: Params, x: Array, key: PRNGKey | None = None) -> tuple[Array, Residuals]:
        y, residuals = layer.forward(params, x, key)
        return y, (params, residuals)

    def backward(residuals: Residuals, dy: Array) -> tuple[Params, Array, None]:
        params, residuals = residuals
        return *layer.backward(params, residuals, dy), None

    f.defvjp(forward, backward)
    return f
