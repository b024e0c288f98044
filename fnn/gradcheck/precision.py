"""The precision of a check, and the unit roundoff of the narrowest dtype in which a function computes."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.source_info_util import summarize
from jax.interpreters.partial_eval import dce_jaxpr

FLOOR = 1e-9
"""The relative error that special functions may have. Differences can fail a leaf only if u < FLOOR^1.5."""


def unit_roundoff(dtype) -> float:
    """Return u = eps / 2, the largest relative error of rounding to nearest.

    >>> unit_roundoff("float64") == 2.0**-53
    True
    """
    return float(jnp.finfo(dtype).eps) / 2


@contextlib.contextmanager
def compute_in(who: str, precision: str) -> Iterator[None]:
    """Compute in the precision of a check: full precision for matrix products, and float64 for "x64".

    NaN and infinity raise no error here, whatever `jax_debug_nans` and `jax_debug_infs` are: a check tries points where
    the function may not be finite. An interrupt at any moment leaves JAX's settings as they were.
    """
    with jax.default_matmul_precision("highest"), jax.debug_nans(False), jax.debug_infs(False):
        if precision != "x64":
            yield
            return
        enable = getattr(jax, "enable_x64", None)
        if enable is None:
            raise ValueError(
                f"{who}: precision must be 'native', got 'x64' with jax {jax.__version__}, which has no jax.enable_x64"
            )
        with enable(True):
            got = jnp.zeros((), np.float64).dtype
            if got != np.float64:
                raise ValueError(
                    f"{who}: precision must be 'native' on {jax.default_backend()}, "
                    f"got 'x64', where float64 arrays become {got}"
                )
            yield


class Narrowing(NamedTuple):
    """An operation that rounds values to a narrower dtype."""

    u: float
    """The unit roundoff of the narrower dtype."""
    operation: str
    """The primitive, the dtypes, and where the user's code calls it."""


def narrowing(function: Callable, *args) -> list[Narrowing]:
    """Return the operations of a function that narrow values on which its results depend, the coarsest last.

    Dead code, such as a gradient that the caller drops, cannot make a result less exact, so it does not count.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    live, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), True)
    return sorted(_narrowed(live), key=lambda found: found.u)


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
            bits = eqn.params["mantissa_bits"]
            yield Narrowing(2.0 ** -(bits + 1), f"reduce_precision to {bits} bits at {summarize(eqn.source_info)}")
        inputs = _dtypes(eqn.invars)
        widest = min(inputs, key=unit_roundoff, default=None)
        for dtype in _dtypes(eqn.outvars):
            if widest is not None and unit_roundoff(dtype) > unit_roundoff(widest):
                what = f"{eqn.primitive.name} from {widest} to {dtype} at {summarize(eqn.source_info)}"
                yield Narrowing(unit_roundoff(dtype), what)


def _dtypes(variables) -> list:
    dtypes = [getattr(v.aval, "dtype", None) for v in variables]
    return [d for d in dtypes if d is not None and jnp.issubdtype(d, np.inexact)]
