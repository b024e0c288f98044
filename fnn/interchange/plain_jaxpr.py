"""Functions as JAX traces them, without what only XLA understands."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

_CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}


def plain(function: Callable) -> Callable:
    """Return the same function of arrays, for converters that know few operations of JAX.

    Calls are inlined. Where a function has a branch for each platform, that of the platforms without one of their own
    is taken. Barriers of the optimizer are left out, and paddings of negative width crop.

    >>> import fnn, jax.numpy as jnp
    >>> str(jax.make_jaxpr(plain(lambda x: fnn.relu.forward((), x)[0]))(jnp.ones(3))).count("platform_index")
    0
    """

    def run(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        outs = _evaluate(closed, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return run


def _evaluate(closed: Any, args: Sequence[Any]) -> list[Any]:
    jaxpr = closed.jaxpr
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
    read = lambda variable: variable.val if hasattr(variable, "val") else known[variable]  # a literal has one
    for equation in jaxpr.eqns:
        values = [read(variable) for variable in equation.invars]
        known |= zip(equation.outvars, _apply(equation, values), strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _apply(equation: Any, values: list[Any]) -> Sequence[Any]:
    """Return the results of one operation."""
    name, params = equation.primitive.name, equation.params
    if name == "platform_index":
        return [0]  # for the branches below, which do not read it
    if name == "cond" and params.get("branches_platforms"):
        return _evaluate(params["branches"][-1], values[1:])
    if name in _CALLS:
        return _evaluate(params.get("call_jaxpr") or params["jaxpr"], values)
    if name == "optimization_barrier":
        return values
    if name == "pad" and all(low <= 0 and high <= 0 and not between for low, high, between in params["padding_config"]):
        return [_cropped(values[0], params["padding_config"])]
    if name == "scan":
        params = params | {"jaxpr": _plain_closed(params["jaxpr"])}
    found = equation.primitive.bind(*values, **equation.primitive.get_bind_params(params))
    return found if equation.primitive.multiple_results else [found]


def _cropped(x: Any, widths: Sequence[tuple[int, int, int]]) -> Any:
    for axis, (low, high, _) in enumerate(widths):
        x = jax.lax.slice_in_dim(x, -low, x.shape[axis] + high, axis=axis) if low or high else x
    return x


def _plain_closed(closed: Any) -> Any:
    avals = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in closed.in_avals]
    return jax.make_jaxpr(lambda *args: _evaluate(closed, args))(*avals)
