"""Points at which a gradient may be wrong although it is right nearby: zeros, ties, ones, halves, extreme numbers.

One leaf at a time takes such values, and the other leaves stay as they were given. `edge_verdict` judges the gradient
there. A point is skipped by name if the function is not finite there, or if the last bits of x decide its value, as it
does for the sine of a large number, whose slope no difference can resolve.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.points import cotangent
from fnn.gradcheck.precision import primitives
from fnn.gradcheck.problem import Point, Problem, generator, to_jax, to_numpy

EDGE = "edge"
NOT_FINITE = "fun is not finite there or its domain excludes it"
NOT_DETERMINED = "the last bits of x decide fun's value there"

LAST = 64
"""The last bits of x are changed by up to this many units of roundoff."""
DIGITS = 1e-6
"""That may change φ by this fraction of what a change of x by 1 % does; a smooth φ needs 1e-12."""
INTEGERS = {"floor", "ceil", "round", "rem", "lgamma", "digamma", "polygamma"}
"""Primitives that have jumps or poles at integers."""
RESOLVED = 1e6
"""The largest numbers for functions with jumps or poles at all integers."""


class Edges(NamedTuple):
    """The points that can be checked, and the names of the others by the reason for which they are skipped."""

    points: list[Point]
    skipped: Mapping[str, list[str]]


def edges(problem: Problem, phi: Callable, y: list) -> Edges:
    """Return the edge points of all leaves in the domain where the function is finite and its value well determined.

    Args:
      problem: the problem.
      phi: (x, ct) -> ⟨ȳ, f(x)⟩, NaN outside the domain.
      y: the outputs at the given point.
    """
    ct, points, skipped, known = cotangent(problem, y, EDGE), [], {}, set()
    integers = _at_integers(problem)
    for i, leaf in enumerate(problem.x):
        for kind, candidates, tied in _values(problem, i, integers):
            name, why, x = f"{kind} in {problem.leaves[i].label}", "", problem.x
            for values in candidates:
                x = [*problem.x[:i], to_jax(values.astype(np.asarray(leaf).dtype)), *problem.x[i + 1 :]]
                why = _unusable(problem, phi, x, ct, name)
                if not why:
                    break
            if why:
                skipped.setdefault(why, []).append(name)
            elif (i, tied, to_numpy(x[i]).tobytes()) not in known:
                known.add((i, tied, to_numpy(x[i]).tobytes()))
                points.append(Point(x, ct, name, i, tied))
    return Edges(points, skipped)


def _unusable(problem: Problem, phi: Callable, x: list, ct: list, name: str) -> str:
    """Return why φ cannot be checked at a point; "" if it can be."""
    if not problem.inside(x, problem.data):  # outside its domain, fun may not end
        return NOT_FINITE
    value = float(phi(x, ct))
    if not np.isfinite(value):
        return NOT_FINITE
    last, percent = 0.0, 0.0
    for draw in range(2):
        rng = generator(problem.seed, EDGE, name, draw)
        xi = [rng.uniform(-1.0, 1.0, v.shape) for v in x]
        for bits in (-LAST, LAST):
            last = max(last, abs(float(phi(_moved(x, xi, bits * problem.u_fun), ct)) - value))
        change = abs(float(phi(_moved(x, xi, 1e-2), ct)) - value)
        percent = max(percent, change if np.isfinite(change) else 0.0)
    return NOT_DETERMINED if last > DIGITS * max(percent, 1e-2 * abs(value)) else ""


def _moved(x: list, xi: list[np.ndarray], size: float) -> list:
    return [np.asarray(to_numpy(v) * (1 + size * r), v.dtype) for v, r in zip(x, xi, strict=True)]


def _at_integers(problem: Problem) -> bool:
    """Return whether a function may have jumps or poles at all integers: no step sees those of large numbers."""
    return bool(INTEGERS & primitives(problem.fun, problem.x, problem.data))


def _values(problem: Problem, i: int, integers: bool) -> Iterator[tuple[str, list[np.ndarray], int | None]]:
    """Yield kinds of values of leaf i: the name, candidates with the best first, and the leaf that has the same."""
    x = to_numpy(problem.x[i])
    if x.size:
        yield from ((name, candidates, None) for name, candidates in _special(problem, i, x, integers))
        for j in range(i):
            if problem.x[j].shape == x.shape:
                yield f"values of {problem.leaves[j].label}", [to_numpy(problem.x[j])], j


def _special(problem: Problem, i: int, x: np.ndarray, integers: bool) -> Iterator[tuple[str, list[np.ndarray]]]:
    rng = generator(problem.seed, problem.leaves[i].path, EDGE)
    some = rng.permutation(x.size).reshape(x.shape) < max(1, x.size // 2)
    sign, range_ = np.where(x < 0, -1.0, 1.0), jnp.finfo(problem.leaves[i].dtype)
    ones, turns = np.ones(x.shape), 1.0 - 2.0 * (np.arange(x.size) % 2).reshape(x.shape)
    neighbours = np.take(x.ravel(), np.arange(x.size) // 2 * 2).reshape(x.shape)
    magnitudes = [float(range_.max) ** power for power in (1.0, 0.5, 0.25, 0.125)]
    if integers:
        magnitudes = [RESOLVED, *[size for size in magnitudes if size < RESOLVED]]
    yield "ones", [sign, ones]
    yield "exact halves", [np.floor(x) + 0.5]
    if not problem.loops:  # a loop whose length depends on data might not end
        yield "signs flipped", [-x]
        yield "zeros", [np.zeros(x.shape)]
        tiny = float(range_.tiny)
        yield f"the smallest {range_.dtype} numbers", [sign * tiny, ones * tiny, -ones * tiny]
        for name, order in (("large", (turns, sign, ones)), ("large negative", (-turns, -ones))):
            yield f"{name} {range_.dtype} numbers", [s * size for size in magnitudes for s in order]
    if x.size > 1:
        spread = rng.permutation(np.linspace(-1.0, 1.0, x.size)).reshape(x.shape)
        if not problem.loops:
            sizes = [10.0 ** (decades * spread) for decades in (4, 2, 1)]
            yield "many magnitudes", [s * size for size in sizes for s in (turns, sign, ones)]
        yield "zeros in some entries", [np.where(some, 0.0, x)]
        yield "ones in some entries", [np.where(some, sign, x), np.where(some, 1.0, x)]
        yield "ties of neighbours", [neighbours]
        yield "all entries equal", [np.full(x.shape, x.ravel()[0])]
