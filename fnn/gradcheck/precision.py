"""The precision a check runs in, and the roundoff of the narrowest dtype a function computes in."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import jax
import jax.numpy as jnp
import numpy as np


def unit_roundoff(dtype) -> float:
    """u = eps / 2, the largest relative error of rounding to the nearest.

    >>> unit_roundoff("float64") == 2.0**-53
    True
    """
    return float(jnp.finfo(dtype).eps) / 2


def computing(who: str, precision: str) -> AbstractContextManager:
    """The context a check runs in: float64 where asked, and matrix products at full precision."""
    stack = ExitStack()
    stack.enter_context(jax.default_matmul_precision("highest"))
    if precision == "x64":
        enable = getattr(jax, "enable_x64", None)
        if enable is None:
            raise ValueError(
                f"{who}: precision: expected jax.enable_x64 to exist, got jax {jax.__version__} without it"
            )
        stack.enter_context(enable(True))
        got = jnp.zeros((), np.float64).dtype
        if got != np.float64:
            stack.close()
            raise ValueError(
                f"{who}: precision='x64': expected float64 on {jax.default_backend()}, got {got}; "
                "pass precision='native'"
            )
    return stack


def narrowing(function: Callable, *args) -> list[float]:
    """The unit roundoffs of the dtypes to which a function narrows its values, anywhere in its program."""
    return sorted(set(_narrowed(jax.make_jaxpr(function)(*args).jaxpr)))


def primitives(function: Callable, *args) -> set[str]:
    """The names of the primitives in a function's program."""
    return {eqn.primitive.name for eqn in _equations(jax.make_jaxpr(function)(*args).jaxpr)}


def _equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _narrowed(jaxpr):
    for eqn in _equations(jaxpr):
        if eqn.primitive.name == "reduce_precision":
            yield 2.0 ** -(eqn.params["mantissa_bits"] + 1)
        inputs = _roundoffs(eqn.invars)
        yield from (u for u in _roundoffs(eqn.outvars) if inputs and u > min(inputs))


def _roundoffs(variables) -> list[float]:
    dtypes = [getattr(v.aval, "dtype", None) for v in variables]
    return [unit_roundoff(d) for d in dtypes if d is not None and jnp.issubdtype(d, np.floating)]
