"""The outputs of a function: their shapes, the errors for those that have no gradient, and their cotangents."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.arguments import Arguments, cast_leaf, join
from fnn.gradcheck.pairs import gradient_pair, is_complex
from fnn.gradcheck.report import GradientTreeError
from fnn.gradcheck.signatures import check_call
from fnn.gradcheck.text import first_line


def inexact(struct) -> list:
    """Return the shapes of the floating-point and complex leaves of an output."""
    return [v for v in jax.tree_util.tree_leaves(struct) if jnp.issubdtype(v.dtype, np.inexact)]


def output(fun: Callable, arguments: Arguments, precision: str) -> Any:
    """Return the shapes of fun's output; TypeError if none of it is inexact."""
    who = arguments.who
    try:
        struct = jax.eval_shape(lambda x, data: fun(*join(arguments, x, data)), arguments.x, arguments.data)
    except Exception as error:
        _explain(who, fun, arguments, error)
        if precision != "x64":
            raise
        error.add_note(
            f"{who}: fun was traced with its floating-point arguments in float64; precision='native' keeps their dtypes"
        )
        raise
    if not inexact(struct):
        leaves = jax.tree_util.tree_leaves(struct)
        raise TypeError(f"{who}: fun must return an inexact output, got {[str(v.dtype) for v in leaves]}")
    return struct


def _explain(who: str, fun: Callable, arguments: Arguments, error: Exception) -> None:
    """Raise a TypeError that says what a function must be like, if an error from tracing it is of a known kind."""
    first = first_line(error)
    if isinstance(error, (jax.errors.JAXTypeError, jax.errors.JAXIndexError)):
        raise TypeError(
            f"{who}: fun must be a function that JAX can trace, got {type(error).__name__}: {first} Leave arguments "
            "that must be concrete out of argnums, and call NumPy code by jax.pure_callback."
        ) from error
    if isinstance(error, TypeError) and "not a valid JAX type" in first:
        got = first.partition("returned a value of type ")[2] or first
        raise TypeError(f"{who}: fun must return arrays or a tree of arrays, got a value of type {got}") from error
    if isinstance(error, TypeError):
        check_call(who, "fun", fun, arguments.args, error)


def check_forward_rule(arguments: Arguments, rule: Callable, struct) -> None:
    """Raise GradientTreeError unless a forward rule returns the shapes and dtypes of the output of its function."""
    try:
        found = jax.eval_shape(lambda x, data: rule(*join(arguments, x, data)), arguments.x, arguments.data)
    except Exception:
        return  # the jit check reports a rule that cannot be traced
    described = lambda struct: ", ".join(f"{v.dtype} {v.shape}" for v in inexact(struct))
    if described(found) != described(struct):
        raise GradientTreeError(
            f"{arguments.who}: the forward rule must return what fun returns, {described(struct)}, "
            f"got {described(found)}"
        )


def cotangents(who: str, cotangent: Any, struct, precision: str) -> list:
    """Return the user's cotangents of the inexact outputs, cast and as pairs. ValueError if they do not fit."""
    wanted, got = jax.tree_util.tree_structure(struct), jax.tree_util.tree_structure(cotangent)
    if wanted != got:
        raise ValueError(f"{who}: cotangent must have the tree of the output, {wanted}, got {got}")
    both = zip(jax.tree_util.tree_leaves(cotangent), jax.tree_util.tree_leaves(struct), strict=True)
    kept = [(c, v) for c, v in both if jnp.issubdtype(v.dtype, np.inexact)]
    for c, v in kept:
        if np.shape(c) != v.shape:
            raise ValueError(f"{who}: cotangent must have shape {v.shape}, got {np.shape(c)}")
        if is_complex(jnp.result_type(c)) and not is_complex(v.dtype):
            raise ValueError(f"{who}: cotangent must be real for a {v.dtype} output, got {jnp.result_type(c)}")
    return [np.asarray(gradient_pair(np.asarray(cast_leaf(c, precision)).astype(v.dtype), v.dtype)) for c, v in kept]


def one(who: str, struct, dtypes: Sequence[str]) -> Any:
    """Return the cotangent 1 of a scalar function of leaves with these dtypes. Raises an error for any other function.

    A complex scalar has a gradient only by complex arguments: that of a holomorphic function, its derivative.
    """
    leaves = jax.tree_util.tree_leaves(struct)
    if len(leaves) != 1 or leaves[0].shape != ():
        raise ValueError(f"{who}: fun must return a scalar, got shapes {[v.shape for v in leaves]}")
    if is_complex(leaves[0].dtype) and not all(map(is_complex, dtypes)):
        raise TypeError(
            f"{who}: fun must return a real scalar, got {leaves[0].dtype}; only a holomorphic function of complex "
            "arguments has a complex gradient"
        )
    return jax.tree_util.tree_map(lambda v: np.ones(v.shape, v.dtype), struct)
