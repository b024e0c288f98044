"""The arguments of a function, split into leaves: which are differentiated, cast or skipped, and their gradients."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.gradcheck.layouts import explicit, sharded_like
from fnn.gradcheck.pairs import is_complex, pair, value
from fnn.gradcheck.problem import to_jax
from fnn.gradcheck.report import GradientTreeError, LeafReport

TRACED_SIZE = 4096
"""From this size on, an array that is not differentiated is an argument of the compiled programs, not a constant."""


class Arguments(NamedTuple):
    """Arguments split into leaves by `split`. `cast` converts the floating-point arrays, `join` puts them together."""

    who: str
    args: tuple
    """The arguments as the user passed them."""
    argnums: tuple[int, ...]
    """The differentiated arguments, in the order in which the backward returns their gradients."""
    leaves: tuple[LeafReport, ...]
    """A report for every leaf of the differentiated arguments, in order. Leaves without a gradient are SKIPPED."""
    x: list
    """The differentiated leaves. `cast` makes pairs of complex ones."""
    data: list
    """Large arrays that are not differentiated."""
    small: list
    """Small floating-point arrays that are not differentiated."""
    other: list
    """Leaves that are never cast: integers, keys, Python objects, static arguments."""
    sources: list[tuple[str, int]]
    """For each leaf of `args`, the field of this record that holds it, and its position there."""
    argument: list[int]
    """For each of `x`, the position of its argument."""

    @property
    def differentiated(self) -> list[LeafReport]:
        """The reports of the differentiated leaves."""
        return [leaf for leaf in self.leaves if leaf.status != "SKIPPED"]


def split(who: str, args: tuple, argnums: Sequence[int], static: Sequence[int]) -> Arguments:
    """Split arguments into leaves without casting them. Arguments in `static` are kept whole and never cast."""
    parts = {"x": [], "data": [], "small": [], "other": []}
    leaves, sources, argument = [], [], []
    for number, arg in enumerate(args):
        for path, leaf in jax.tree_util.tree_flatten_with_path(arg)[0]:
            name = (f"[{number}]" if len(args) > 1 else "") + jax.tree_util.keystr(path)
            kind = "other" if number in static else _kind(leaf, number in argnums)
            if number in argnums and number not in static:
                reason = "" if kind == "x" else _reason(leaf)
                status = "SKIPPED" if reason else "INCONCLUSIVE"  # until a check decides
                leaves.append(LeafReport(name, np.shape(leaf), _dtype(leaf), status, hint=reason))
            if kind == "x":
                argument.append(number)
            sources.append((kind, len(parts[kind])))
            parts[kind].append(leaf)
    if not parts["x"]:
        got = ", ".join(f"{leaf.label} {leaf.dtype} ({leaf.hint})" for leaf in leaves) or "no leaf"
        shown = argnums[0] if len(argnums) == 1 else argnums
        raise TypeError(f"{who}: args must contain an inexact leaf to differentiate in argument {shown}, got {got}")
    return Arguments(
        who=who, args=args, argnums=tuple(argnums), leaves=tuple(leaves), sources=sources, argument=argument, **parts
    )  # fmt: skip


def cast(arguments: Arguments, precision: str) -> Arguments:
    """Cast every floating-point array to float64 ("x64"), or convert it to JAX as it is ("native").

    Complex arrays become complex128, and differentiated ones the pairs of their parts.

    Arrays that are not differentiated are cast too, so that the function does not meet float32 beside float64.
    """
    return arguments._replace(
        x=[pair(cast_leaf(leaf, precision)) for leaf in arguments.x],
        data=[cast_leaf(leaf, precision) if is_inexact(leaf) else leaf for leaf in arguments.data],
        small=[_cast_scalar(leaf, precision) for leaf in arguments.small],
    )


def cast_leaf(leaf, precision: str) -> jax.Array:
    """Return an inexact array in float64 or complex128 ("x64"), or as it is ("native")."""
    if precision != "x64":
        return to_jax(leaf)
    return to_jax(leaf, np.complex128 if is_complex(jnp.result_type(leaf)) else np.float64)


def join(arguments: Arguments, x: Sequence, data: Sequence) -> tuple:
    """Return the arguments of the function, with `x` and `data` in the place of their leaves.

    A call that is not traced gets copies, because the function may donate its arguments.
    """
    placed = [sharded_like(v, explicit(given)) for v, given in zip(x, arguments.x, strict=True)]
    leaves = _leaves(arguments, placed, data)
    return _tree(arguments, leaves if any(isinstance(v, Tracer) for v in x) else copies(leaves))


def with_values(arguments: Arguments, x: Sequence) -> tuple:
    """Return the arguments as the user passed them, with NumPy arrays of `x` in the place of the differentiated leaves.

    The other leaves are those of the user, not copies.
    """
    return _tree(arguments, _leaves(arguments, [np.asarray(v) for v in x], arguments.data))


def _leaves(arguments: Arguments, x: Sequence, data: Sequence) -> list:
    """Return all leaves in order, with `x`, whose pairs become complex, and `data` in their places."""
    wanted = [value(v, leaf.dtype) for v, leaf in zip(x, arguments.differentiated, strict=True)]
    parts = {"x": wanted, "data": data, "small": arguments.small, "other": arguments.other}
    return [parts[kind][i] for kind, i in arguments.sources]


def _tree(arguments: Arguments, leaves: list) -> tuple:
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(arguments.args), leaves)


def copies(leaves: Sequence) -> list:
    """Return the leaves with a copy of each JAX array that holds values."""
    return [v.copy() if isinstance(v, jax.Array) and not isinstance(v, Tracer) else v for v in leaves]


def gradients(arguments: Arguments, tree) -> list:
    """Return the gradient of each of `x` from what a backward returned, in their order.

    The backward returns a tuple with a tree per argument of argnums, or the bare tree of a single argument. Whatever it
    returns for leaves that are not inexact is ignored. None for an inexact leaf is kept, for the caller to report.
    """
    order = arguments.argnums
    parts = _per_argument(arguments.who, [arguments.args[n] for n in order], tree)
    return [g for n in sorted(order) for g in parts[order.index(n)]]


def _cast_scalar(leaf, precision: str) -> Any:
    """Cast a leaf, and keep a NumPy scalar, with which a function may decide what to compute."""
    cast = cast_leaf(leaf, precision)
    return np.asarray(cast)[()] if isinstance(leaf, np.generic) else cast


def is_array(leaf) -> bool:
    """Return True if a leaf is an array of JAX or NumPy."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def is_inexact(leaf) -> bool:
    """Return True if a leaf can be differentiated: a floating-point or complex array, or a Python float or complex."""
    return isinstance(leaf, (float, complex)) or (is_array(leaf) and jnp.issubdtype(leaf.dtype, np.inexact))


def _kind(leaf, differentiated: bool) -> str:
    """Return the field of Arguments that holds a leaf."""
    inexact = is_inexact(leaf)
    if differentiated and inexact:
        return "x"
    if is_array(leaf) and (inexact or isinstance(leaf, jax.Array)) and leaf.size >= TRACED_SIZE and not _is_key(leaf):
        return "data"
    return "small" if inexact and is_array(leaf) else "other"


def _per_argument(who: str, wanted: Sequence, tree) -> list[list]:
    if type(tree) in (tuple, list) and len(tree) == len(wanted):
        try:
            return [_matched(arg, part) for arg, part in zip(wanted, tree, strict=True)]
        except ValueError:
            pass
    if len(wanted) == 1:
        try:
            return [_matched(wanted[0], tree)]
        except ValueError:
            pass
    expected = tuple(wanted)
    if len(wanted) == 1 and not (type(tree) in (tuple, list) and len(tree) == 1):
        expected = wanted[0]
    missing, extra = _differences(expected, tree)
    raise GradientTreeError(
        f"{who}: vjp_fun must return gradients with the tree of the arguments, "
        f"{jax.tree_util.tree_structure(expected)}, got {jax.tree_util.tree_structure(tree)}"
        + (f"; missing: {', '.join(missing)}" if missing else "")
        + (f"; not expected: {', '.join(extra)}" if extra else "")
    )


def _matched(arg, tree) -> list:
    """Return the gradients of the inexact leaves of one argument; ValueError if the trees differ."""
    leaves, treedef = jax.tree_util.tree_flatten(arg)
    if not any(map(is_inexact, leaves)):
        return []
    found = treedef.flatten_up_to(tree)
    kept = [g for leaf, g in zip(leaves, found, strict=True) if is_inexact(leaf)]
    for g in kept:
        if g is not None and not (is_array(g) or isinstance(g, (float, int, complex))):
            raise ValueError("not a leaf")
    return kept


def _differences(expected, got) -> tuple[list[str], list[str]]:
    names = [
        [jax.tree_util.keystr(path) or "the leaf" for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
        for tree in (expected, got)
    ]
    return [n for n in names[0] if n not in names[1]], [n for n in names[1] if n not in names[0]]


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _dtype(leaf) -> str:
    if is_inexact(leaf):
        return str(jnp.result_type(leaf))
    return str(leaf.dtype) if is_array(leaf) else type(leaf).__name__


def _reason(leaf) -> str:
    if is_array(leaf) and _is_key(leaf):
        return "a PRNG key has no gradient"
    if is_array(leaf) or isinstance(leaf, (bool, int)):
        return f"{_dtype(leaf)} has no gradient"
    if dataclasses.is_dataclass(leaf):
        return f"{type(leaf).__name__} is not a pytree: register it with jax.tree_util.register_dataclass"
    return f"a {type(leaf).__name__} is not an array"
