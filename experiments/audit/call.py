"""One target with arguments drawn: its function of a vector, its values and its derivatives at many points.

The entries of all differentiated arguments form one vector of n numbers, and those of the outputs one of m. A complex
entry is two numbers. Each program runs over CHUNK rows at a time, one after another (`lax.map`), so that all points of
a target share three compiled programs.
"""

import functools
import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.audit.target import Target

CHUNK = 64


class Leaf(NamedTuple):
    """A differentiated array of the arguments."""

    argument: int
    """The position of its argument."""
    path: str
    """`jax.tree_util.keystr` of the leaf within its argument."""
    shape: tuple[int, ...]
    complex: bool
    start: int
    """The position of its first number in the vector."""

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape) * (2 if self.complex else 1)

    @property
    def name(self) -> str:
        """The argument's position and the path within it."""
        return f"[{self.argument}]{self.path}"


class Call(NamedTuple):
    """A target, its function, and one value of each argument."""

    target: Target
    function: Callable
    """(*args) -> the output."""
    args: tuple
    leaves: tuple[Leaf, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The positions of the differentiated arguments."""
        return tuple(dict.fromkeys(leaf.argument for leaf in self.leaves))

    @property
    def size(self) -> int:
        """The number n of entries of the vector."""
        return sum(leaf.size for leaf in self.leaves)


def make_call(target: Target, numbers: Sequence[int] | None = None) -> Call:
    """Import the function and draw its arguments, by a seed that depends on the target's name alone.

    Args:
      target: the target.
      numbers: the positions of the arguments to differentiate. Default: all that have a gradient.
    """
    public, rng = target.function(), np.random.default_rng(zlib.crc32(target.name.encode()))
    called = functools.partial(target.call, public) if target.call else public
    args = tuple(domain.draw(rng) for domain in target.args)
    leaves, start = [], 0
    for number, domain in enumerate(target.args):
        if not domain.differentiated or (numbers is not None and number not in numbers):
            continue
        for path, leaf in jax.tree_util.tree_flatten_with_path(args[number])[0]:
            if not _inexact(leaf):
                continue
            kind = np.iscomplexobj(leaf)
            leaves.append(Leaf(number, jax.tree_util.keystr(path), np.shape(leaf), kind, start))
            start += leaves[-1].size
    options = dict(target.options)
    return Call(target, functools.partial(called, **options) if options else called, args, tuple(leaves))


def inside(call: Call) -> Callable[..., Any] | None:
    """Return the predicate of the arguments that the domains of the target require; None if they require nothing."""
    tests = [(n, domain.inside) for n, domain in enumerate(call.target.args) if domain.inside]
    return (lambda *args: [test(args[n]) for n, test in tests]) if tests else None


def vector(call: Call, args: tuple) -> np.ndarray:
    """Return the differentiated entries of arguments as one vector."""
    flat = [_leaves(args[number]) for number in call.numbers]
    parts = [np.asarray(leaf) for leaf in itertools.chain.from_iterable(flat)]
    parts = [np.ascontiguousarray(p, np.complex128).view(np.float64) if np.iscomplexobj(p) else p for p in parts]
    return np.concatenate([np.ravel(p).astype(np.float64) for p in parts]) if parts else np.zeros(0)


def arguments(call: Call, x: Any) -> tuple:
    """Return the arguments whose differentiated entries are the vector x."""
    args = list(call.args)
    for number in call.numbers:
        here = iter([leaf for leaf in call.leaves if leaf.argument == number])
        flat, treedef = jax.tree_util.tree_flatten(args[number])
        args[number] = treedef.unflatten([_entries(next(here), x) if _inexact(v) else v for v in flat])
    return tuple(args)


def leaf_of(call: Call, position: int) -> Leaf:
    """Return the leaf that holds a position of the vector."""
    return next(leaf for leaf in call.leaves if leaf.start <= position < leaf.start + leaf.size)


def _entries(leaf: Leaf, x: Any) -> Any:
    part = x[leaf.start : leaf.start + leaf.size]
    if leaf.complex:
        pairs = part.reshape(*leaf.shape, 2)
        join = jax.lax.complex if isinstance(x, jax.Array) else lambda re, im: re + 1j * im
        return join(pairs[..., 0], pairs[..., 1])
    return part.reshape(leaf.shape)


def _inexact(leaf: Any) -> bool:
    if isinstance(leaf, bool | int | str) or not (isinstance(leaf, float | complex) or hasattr(leaf, "dtype")):
        return False
    return jnp.issubdtype(jnp.result_type(leaf), np.inexact)


def _leaves(arg: Any) -> list:
    return [leaf for leaf in jax.tree_util.tree_leaves(arg) if _inexact(leaf)]


class Programs(NamedTuple):
    """The compiled functions of a call, over rows of points."""

    value: Callable[[np.ndarray], np.ndarray]
    """(rows, n) -> (rows, m)."""
    reverse: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(rows, n) points and (rows, m) cotangents -> (rows, n), by jax.vjp."""
    forward: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(rows, n) points and (rows, n) tangents -> (rows, m), by jax.jvp."""
    outputs: int
    """The number m of entries of the output."""


def programs(call: Call) -> Programs:
    """Compile the programs of a call when they are first used. The caller enables float64."""

    def value(x):
        return flat_output(call.function(*arguments(call, x)))

    def reverse(pair):
        y, pull = jax.vjp(value, pair[0])
        return pull(pair[1].astype(y.dtype))[0]

    size = jax.eval_shape(value, jnp.zeros(call.size)).shape[0]
    return Programs(
        value=_by_chunks(lambda rows: value(rows[0])),
        reverse=_by_chunks(reverse),
        forward=_by_chunks(lambda pair: jax.jvp(value, (pair[0],), (pair[1],))[1]),
        outputs=size,
    )


def flat_output(y: Any) -> jax.Array:
    """Return the inexact entries of an output as one vector of float64, a complex one as two."""
    parts = [jnp.ravel(jnp.asarray(v)) for v in _leaves(y)]
    parts = [jnp.stack([v.real, v.imag], -1).ravel() if jnp.iscomplexobj(v) else v for v in parts]
    return jnp.concatenate([v.astype(np.float64) for v in parts]) if parts else jnp.zeros(0)


def _by_chunks(function: Callable) -> Callable[..., np.ndarray]:
    compiled = jax.jit(lambda *rows: jax.lax.map(function, rows))

    def run(*rows: np.ndarray) -> np.ndarray:
        count, found = len(rows[0]), []
        for start in range(0, count, CHUNK):
            chunk = [r[start : start + CHUNK] for r in rows]
            padded = [np.concatenate([r, np.repeat(r[-1:], CHUNK - len(r), 0)]) for r in chunk]
            found.append(np.asarray(compiled(*padded))[: len(chunk[0])])
        return np.concatenate(found)

    return run
