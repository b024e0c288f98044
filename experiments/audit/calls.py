"""Ways to call a function whose arguments or outputs need a form of their own, for the field `call` of a target.

>>> import numpy as np
>>> import jax.numpy as jnp
>>> of_symmetric(jnp.trace, np.array([[1.0, 2.0], [0.0, 3.0]])).item()
4.0
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def of_symmetric(f: Callable, a: jax.Array, *rest: Any, **options: Any) -> Any:
    """Return f at the symmetric part of the matrix a, so that every direction of a stays in the domain."""
    return f((a + jnp.swapaxes(a, -1, -2)) / 2, *rest, **options)


def of_definite(f: Callable, a: jax.Array, *rest: Any, **options: Any) -> Any:
    """Return f at a aᵀ + I, which is positive definite for every a."""
    return f(a @ jnp.swapaxes(a, -1, -2) + jnp.eye(a.shape[-1], dtype=a.dtype), *rest, **options)


def parts(f: Callable, *args: Any, **options: Any) -> Any:
    """Return the real and the imaginary part of the outputs of f(*args)."""
    return jax.tree.map(lambda y: (jnp.real(y), jnp.imag(y)), f(*args, **options))


def of_parts(f: Callable, re: jax.Array, im: jax.Array, *rest: Any, **options: Any) -> Any:
    """Return the real and the imaginary part of f(re + i im)."""
    return parts(f, jax.lax.complex(re, im), *rest, **options)


def of_list(f: Callable, *arrays: Any, **options: Any) -> Any:
    """Return f of the list of arrays."""
    return f(list(arrays), **options)


def first(f: Callable, *args: Any, **options: Any) -> Any:
    """Return the first output of f."""
    return f(*args, **options)[0]


def of_log_softmax(f: Callable, x: jax.Array, *rest: Any, **options: Any) -> Any:
    """Return f of log-probabilities, those of the logits x."""
    return f(jax.nn.log_softmax(x), *rest, **options)


def of_softmax(f: Callable, x: jax.Array, *rest: Any, **options: Any) -> Any:
    """Return f of probabilities, those of the logits x."""
    return f(jax.nn.softmax(x), *rest, **options)


def with_static(*static: Any) -> Callable:
    """Return a call with fixed positional arguments after the others, such as an axis or a shape."""
    return lambda f, *args, **options: f(*args, *static, **options)


def with_keywords(*names: str) -> Callable:
    """Return a call that passes the last arguments by keyword, such as `where` or `initial`."""

    def call(f: Callable, *args: Any, **options: Any) -> Any:
        positional = len(args) - len(names)
        return f(*args[:positional], **dict(zip(names, args[positional:], strict=True)), **options)

    return call


def drawn(f: Callable, *parameters: Any, **options: Any) -> Any:
    """Return a sample of f(key, *parameters) with a fixed key: a function of the parameters."""
    return f(jax.random.key(3), *parameters, **options)


def updates(f: Callable, *args: Any, **options: Any) -> Any:
    """Return the updates of the optax transformation f(**options), as a function of gradients and parameters."""
    gradients, params = args if len(args) == 2 else (args[0], args[0])
    transformation = f(**options)
    return transformation.update(gradients, transformation.init(params), params)[0]


def log_prob(names: Sequence[str]) -> Callable:
    """Return a call of a distribution's class: (class, *parameters by name, x) -> log_prob(x)."""

    def call(f: Callable, *args: Any, **options: Any) -> Any:
        return f(**dict(zip(names, args[:-1], strict=True)), **options).log_prob(args[-1])

    return call


def beside_nan(f: Callable, x: jax.Array, **options: Any) -> Any:
    """Return f of the vector x with a NaN in front."""
    return f(jnp.concatenate([jnp.full((1,), jnp.nan, x.dtype), x]), **options)
