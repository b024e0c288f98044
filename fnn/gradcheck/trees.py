"""Arguments taken apart into leaves: paths, casting to float64, what is skipped, and gradients put beside them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.problem import to_jax
from fnn.gradcheck.report import GradientTreeError

TRACED_SIZE = 4096
"""Arrays that are not differentiated become arguments of the compiled programs from this size on, constants below."""


class Leaf(NamedTuple):
    """One leaf of the differentiated arguments, as the user gave it."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    skipped: str
    """Why it is not differentiated; empty where it is."""


class Arguments(NamedTuple):
    """The arguments of a function taken apart."""

    leaves: tuple[Leaf, ...]
    """Every leaf of the arguments in argnums, in order."""
    diff: list
    """The inexact ones among them, cast."""
    data: list
    """Large arrays that are not differentiated, cast."""
    build: Callable[[Sequence, Sequence], tuple]
    """(diff, data) -> args."""
    gradients: Callable[[Any], list]
    """What a backward returned -> the gradient of each of `diff`."""
    per_argument: dict[int, int]
    """How many of `diff` each argument holds."""

    @property
    def paths(self) -> list[str]:
        """The path of each of `diff`."""
        return [leaf.path for leaf in self.leaves if not leaf.skipped]

    @property
    def dtypes(self) -> list[str]:
        """The dtype in which the user gave each of `diff`."""
        return [leaf.dtype for leaf in self.leaves if not leaf.skipped]


def is_array(leaf) -> bool:
    """Whether a leaf is an array of JAX or NumPy."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def is_inexact(leaf) -> bool:
    """Whether a leaf can be differentiated: floating, or a Python float."""
    return isinstance(leaf, float) or (is_array(leaf) and jnp.issubdtype(leaf.dtype, np.floating))


def is_complex(leaf) -> bool:
    """Whether a leaf is complex: those are refused."""
    return isinstance(leaf, complex) or (is_array(leaf) and jnp.issubdtype(leaf.dtype, np.complexfloating))


def cast(leaf, precision: str):
    """An inexact array in float64 ("x64") or as it is ("native")."""
    return to_jax(leaf, np.float64 if precision == "x64" else None)


def take_apart(who: str, args: tuple, argnums: int | Sequence[int], static: Sequence[int], precision: str) -> Arguments:
    """Arguments -> leaves: inexact ones of `argnums` to differentiate, the rest as data or constants.

    Every inexact array is cast, differentiated or not, so that a function does not meet float32 beside float64.
    Arguments numbered in `static` are left as they are.
    """
    wanted = {argnums} if isinstance(argnums, int) else set(argnums)
    flat = [jax.tree_util.tree_flatten_with_path(arg) for arg in args]
    leaves, diff, data, recipe = [], [], [], []
    count = dict.fromkeys(range(len(args)), 0)
    for number, (paths, _) in enumerate(flat):
        for path, leaf in paths:
            name = (f"[{number}]" if len(args) > 1 else "") + jax.tree_util.keystr(path)
            if number in static:
                recipe.append(("constant", leaf))
                continue
            if is_complex(leaf):
                raise TypeError(
                    f"{who}: args: expected real leaves, got {_describe(leaf)} at {name or '[0]'}: "
                    "complex is not supported"
                )
            inexact = is_inexact(leaf)
            if number in wanted:
                leaves.append(Leaf(name, np.shape(leaf), _dtype(leaf), "" if inexact else _reason(leaf)))
            if number in wanted and inexact:
                recipe.append(("diff", len(diff)))
                diff.append(cast(leaf, precision))
                count[number] += 1
                continue
            value = cast(leaf, precision) if inexact and is_array(leaf) else leaf
            if isinstance(value, jax.Array) and value.size >= TRACED_SIZE and not _is_key(value):
                recipe.append(("data", len(data)))
                data.append(value)
            else:
                recipe.append(("constant", value))
    if not diff:
        got = ", ".join(f"{leaf.path or '[0]'} {leaf.dtype}" for leaf in leaves) or "no leaf"
        raise TypeError(f"{who}: args: expected an inexact leaf to differentiate in argument {argnums}, got {got}")
    treedef = jax.tree_util.tree_structure(tuple(args))

    def build(diff, data):
        source = {"diff": diff, "data": data}
        return jax.tree_util.tree_unflatten(treedef, [source[kind][v] if kind in source else v for kind, v in recipe])

    order = [argnums] if isinstance(argnums, int) else list(argnums)

    def beside(tree):
        parts = gradients(who, [args[n] for n in order], tree)
        return [g for n in sorted(order) for g in parts[order.index(n)]]

    return Arguments(tuple(leaves), diff, data, build, beside, count)


def gradients(who: str, wanted: Sequence, tree) -> list[list]:
    """The gradients of the inexact leaves of each of `wanted`, from a tuple with a tree per argument, or one bare tree.

    Where a leaf is not inexact, anything may stand; None for an inexact leaf is kept, for the caller to report.
    """
    if type(tree) in (tuple, list) and len(tree) == len(wanted):
        try:
            return [_beside(arg, part) for arg, part in zip(wanted, tree, strict=True)]
        except ValueError:
            pass
    if len(wanted) == 1:
        try:
            return [_beside(wanted[0], tree)]
        except ValueError:
            pass
    expected = tuple(wanted)
    if len(wanted) == 1 and not (type(tree) in (tuple, list) and len(tree) == 1):
        expected = wanted[0]
    missing, extra = _differences(expected, tree)
    raise GradientTreeError(
        f"{who}: vjp_fun: expected gradients with the tree of the arguments, {jax.tree_util.tree_structure(expected)}, "
        f"got {jax.tree_util.tree_structure(tree)}"
        + (f"; missing: {', '.join(missing)}" if missing else "")
        + (f"; not expected: {', '.join(extra)}" if extra else "")
    )


def _beside(arg, tree) -> list:
    leaves, treedef = jax.tree_util.tree_flatten(arg)
    if not any(map(is_inexact, leaves)):
        return []
    found = treedef.flatten_up_to(tree)
    kept = [g for leaf, g in zip(leaves, found, strict=True) if is_inexact(leaf)]
    for g in kept:
        if g is not None and not (is_array(g) or isinstance(g, (float, int))):
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
    return f"a {type(leaf).__name__} is not an array"


def _describe(leaf) -> str:
    return f"{_dtype(leaf)} {np.shape(leaf)}"
