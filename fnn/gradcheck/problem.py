"""A function and its backward over flat lists of leaves: what every check works on."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Problem(NamedTuple):
    """y = fun(x) and its backward, as functions of lists of inexact arrays.

    `x` are the differentiated leaves, `data` the other large arrays; `ct` the cotangents ȳ of the inexact outputs.
    """

    paths: list[str]
    dtypes: list[str]
    """The dtypes in which the user gave the leaves."""
    x: list
    data: list
    fun: Callable
    """(x, data) -> y."""
    backward: Callable
    """(x, data, ct) -> gradients: the function under test; None where a gradient is missing."""
    reference: Callable | None
    """(x, data, ct) -> gradients: what is expected."""
    primal: Callable | None
    """(x, data) -> y as the backward's own forward computes it, to compare with fun."""
    inside: Callable
    """(x, data) -> whether the point is in the domain."""
    u: float
    """The unit roundoff of the narrowest dtype that the function or its backward may compute in."""
    u_fun: float
    """The unit roundoff of the narrowest dtype that the function computes in."""
    argument: list[int]
    """The number of the argument that each leaf belongs to."""
    cotangent: list | None = None
    """A cotangent given by the user."""
    fixed: bool = False
    """Whether the backward takes no cotangent (check_grad): then ȳ is `cotangent` everywhere."""


GIVEN, SAMPLED = "as given", "sampled"


class Point(NamedTuple):
    """A point to check at, its cotangent, and where it comes from."""

    x: list
    ct: list
    name: str


class Options(NamedTuple):
    """What the user asked for."""

    who: str
    """The function that the user called, for messages."""
    checks: tuple[str, ...]
    num_directions: int
    num_points: int
    rtol: float | None
    atol: float | None
    kinks: str
    in_axes: Any
    nondet_tol: float
    seed: tuple[int, ...]
    """The words of the key."""
    differences_decide: bool
    """Whether differences can fail a leaf: in float64 arithmetic only."""


class Finding(NamedTuple):
    """What one check says about one leaf."""

    check: str
    leaf: int
    status: str
    lines: tuple[str, ...] = ()
    max_error: float | None = None
    tol: float | None = None
    worst_index: tuple[int, ...] | None = None
    num_wrong: int | None = None
    step: float | None = None
    kink: str | None = None
    min_detectable: float | None = None
    hint: str = ""
    norm: float | None = None
    """‖g‖ of the expected gradient."""


def generator(seed: Sequence[int], *tags) -> np.random.Generator:
    """Random numbers that depend on the key and on what they are for, the leaf's path among it."""
    return np.random.default_rng([*seed, *(zlib.crc32(str(tag).encode()) for tag in tags)])


def inexact_outputs(y) -> list:
    """The inexact leaves of an output."""
    return [leaf for leaf in jax.tree_util.tree_leaves(y) if jnp.issubdtype(jnp.result_type(leaf), np.floating)]


def cotangent_tree(y, ct: Sequence):
    """Cotangents of the inexact leaves of an output -> a tree like the output, float0 at its other leaves."""
    leaves, treedef = jax.tree_util.tree_flatten(y)
    parts = iter(ct)
    filled = [
        next(parts) if jnp.issubdtype(leaf.dtype, np.floating) else np.zeros(leaf.shape, jax.dtypes.float0)
        for leaf in leaves
    ]
    return jax.tree_util.tree_unflatten(treedef, filled)


def autodiff(fun: Callable) -> Callable:
    """The vector-Jacobian product of fun(x, data) by jax.vjp: (x, data, ct) -> gradients."""

    def backward(x, data, ct):
        return jax.vjp(lambda x: fun(x, data), list(x))[1](list(ct))[0]

    return backward


def to_numpy(g) -> np.ndarray:
    """A gradient as float64 on the host."""
    return np.asarray(g).astype(np.float64, copy=False)


def to_jax(v, dtype=None) -> jax.Array:
    """jnp.asarray; what comes from the host is cast there, as each shape would be two programs to compile."""
    if isinstance(v, np.ndarray):
        return jax.device_put(np.array(v, dtype))  # a copy: the device may use the memory of what it is given
    return jnp.asarray(v, dtype)


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random ±1."""
    return 1.0 - 2.0 * rng.integers(0, 2, shape, np.int8)


def rms(x) -> float:
    """The root mean square of an array; 0 for an empty one."""
    x = to_numpy(x)
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0


def index_of(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index that belongs to a position in a flattened array."""
    return tuple(int(i) for i in np.unravel_index(flat, shape))
