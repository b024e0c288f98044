"""The precision of a check, and the unit roundoff of the narrowest dtype in which a function computes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import jax
import jax.numpy as jnp
import numpy as np

FLOOR = 1e-9
"""The relative error that special functions may have. Differences can fail a leaf only if u < FLOOR^1.5."""


def unit_roundoff(dtype) -> float:
    """Return u = eps / 2, the largest relative error of rounding to nearest.

    >>> unit_roundoff("float64") == 2.0**-53
    True
    """
    return float(jnp.finfo(dtype).eps) / 2


def compute_in(who: str, precision: str) -> AbstractContextManager:
    """Return the context of a check: full precision for matrix products, and float64 for "x64"."""
    stack = ExitStack()
    stack.enter_context(jax.default_matmul_precision("highest"))
    if precision == "x64":
        enable = getattr(jax, "enable_x64", None)
        if enable is None:
            raise ValueError(
                f"{who}: precision must be 'native', got 'x64' with jax {jax.__version__}, which has no jax.enable_x64"
            )
        stack.enter_context(enable(True))
        got = jnp.zeros((), np.float64).dtype
        if got != np.float64:
            stack.close()
            raise ValueError(
                f"{who}: precision must be 'native' on {jax.default_backend()}, "
                f"got 'x64', where float64 arrays become {got}"
            )
    return stack


def narrowing(function: Callable, *args) -> list[float]:
    """Return the unit roundoffs of all dtypes to which a function narrows values, anywhere in its program."""
    return sorted(set(_narrowed(jax.make_jaxpr(function)(*args).jaxpr)))


def primitives(function: Callable, *args) -> set[str]:
    """Return the names of the primitives in a function's program."""
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
