"""The problem that every check works on: a function and its backward, over flat lists of leaves."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.layouts import explicit, sharded_like, unsharded
from fnn.gradcheck.pairs import covector, pair
from fnn.gradcheck.report import LeafReport


class Problem(NamedTuple):
    """y = fun(x) and its backward, as functions of lists of floating-point arrays.

    `x` are the differentiated leaves, `data` the other large arrays, `ct` the cotangents ȳ of the inexact outputs.
    A complex array is the pair of its real and imaginary parts (see `pairs`), except in `data`.
    """

    who: str
    """The function that the user called, for error messages."""
    leaves: list[LeafReport]
    """For each of `x`, a report with its path, its shape and the dtype in which the user passed it: a complex one if
    `x` is a pair."""
    x: list
    data: list
    fun: Callable
    """(x, data) -> y."""
    backward: Callable
    """(x, data, ct) -> gradients, the function under test. A missing gradient is None."""
    reference: Callable | None
    """(x, data, ct) -> the expected gradients."""
    primal: Callable | None
    """(x, data) -> y as the forward rule of the backward computes it, to be compared with `fun`."""
    inside: Callable
    """(x, data) -> whether the point is in the domain."""
    u: float
    """The unit roundoff of the narrowest dtype in which `fun` or `backward` may compute."""
    narrowed: str
    """The operation that sets `u`, if one narrows values; "" if `u` is that of the check's precision."""
    u_fun: float
    """The unit roundoff of the narrowest dtype in which `fun` computes."""
    differences_decide: bool
    """Whether differences can fail a leaf: only if `fun` computes in float64."""
    argument: list[int]
    """For each of `x`, the position of its argument."""
    cotangent: list | None
    """The cotangent that the user passed."""
    fixed: bool
    """Whether the backward takes no cotangent (check_grad). Then `cotangent` is used everywhere."""
    declared: list | None
    """The gradients' shapes and dtypes at the arguments as the user passed them; None if they cannot be traced."""
    native: list | None
    """The gradients in the dtypes of the arguments as the user passed them; None if they were not computed."""
    outputs: list
    """The shapes and dtypes of the inexact outputs, complex ones among them."""
    loops: bool
    """Whether `fun` contains a loop whose length depends on data."""
    batch: int
    """The candidate for the batch size m: the leading dimension of the output, or of a constant argument."""
    seed: tuple[int, ...]
    """The words of the key."""


GIVEN, SAMPLED = "as given", "sampled"
LARGE = 1e150
"""The squares of larger numbers may overflow."""


class Point(NamedTuple):
    """A point at which the gradient is checked, with a cotangent and a description."""

    x: list
    ct: list
    name: str
    edge: int | None = None
    """At a point of `edges`, the leaf that has special values."""
    tied: int | None = None
    """The leaf whose values it has, if it has those of another leaf."""


def finding(problem: Problem, check: str, leaf: int, status: str, *evidence: str, **fields: Any) -> LeafReport:
    """Return the report of one check about one leaf; `fields` are further fields of LeafReport."""
    return problem.leaves[leaf]._replace(check=check, status=status, evidence=evidence, **fields)


def generator(seed: Sequence[int], *tags) -> np.random.Generator:
    """Return a random generator that depends on the key and on tags, such as the purpose and the leaf's path."""
    return np.random.default_rng([*seed, *(zlib.crc32(str(tag).encode()) for tag in tags)])


def inexact_outputs(y) -> list:
    """Return the floating-point leaves of an output, and the pairs of its complex leaves."""
    leaves = [leaf for leaf in jax.tree_util.tree_leaves(y) if jnp.issubdtype(jnp.result_type(leaf), np.inexact)]
    return [unsharded(pair(leaf)) for leaf in leaves]


def cotangent_tree(y, ct: Sequence):
    """Return cotangents of `inexact_outputs` as a tree like the output, with float0 at leaves that are not inexact."""
    leaves, treedef = jax.tree_util.tree_flatten(y)
    parts = iter(ct)
    filled = [
        sharded_like(covector(next(parts), leaf.dtype), explicit(leaf))
        if jnp.issubdtype(leaf.dtype, np.inexact)
        else np.zeros(leaf.shape, jax.dtypes.float0)
        for leaf in leaves
    ]
    return jax.tree_util.tree_unflatten(treedef, filled)


def autodiff(fun: Callable) -> Callable:
    """Return the vector-Jacobian product of fun(x, data) by jax.vjp, as a function (x, data, ct) -> gradients."""

    def backward(x, data, ct):
        y, pull = jax.vjp(lambda x: fun(x, data), list(x))
        return pull([c.astype(v.dtype) for c, v in zip(ct, y, strict=True)])[0]

    return backward


def to_numpy(g) -> np.ndarray:
    """Copy an array to the host as float64. A complex gradient of a real leaf is NaN where it is not real."""
    g = np.asarray(g)
    g = np.where(np.imag(g) == 0, np.real(g), np.nan) if np.iscomplexobj(g) else g
    return g.astype(np.float64, copy=False)


def to_jax(v, dtype=None) -> jax.Array:
    """Convert to a JAX array. NumPy arrays are cast on the host: jnp.asarray compiles per shape."""
    if isinstance(v, np.ndarray):
        return jax.device_put(np.array(v, dtype))  # copied, because the device may reuse the memory it is given
    return jnp.asarray(v, dtype)


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw random ±1."""
    return 1.0 - 2.0 * rng.integers(0, 2, shape, np.int8)


def rms(x) -> float:
    """Return the root mean square of an array, without overflow; 0 if it is empty."""
    x = to_numpy(x)
    largest = float(np.abs(x).max(initial=0.0))
    unit = largest if np.isfinite(largest) and largest > LARGE else 1.0
    return unit * float(np.sqrt(np.mean(np.square(x / unit)))) if x.size else 0.0
