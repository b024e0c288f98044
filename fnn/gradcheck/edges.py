"""Points at which a gradient may be wrong although it is right nearby: zeros, ties, ones, halves, extreme numbers.

One leaf at a time takes such values, and the other leaves stay as they were given. The check of a point is that of
`run`, except that only errors count there: the checker has chosen the point, so a kink, or a derivative that is
infinite there, says nothing against the gradient.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.points import cotangent
from fnn.gradcheck.problem import Point, Problem, generator, to_jax, to_numpy
from fnn.gradcheck.reference import perturbed

EDGE = "edge"

DIGITS = 1e-9
"""The relative change of φ at an edge point that a change of the last bit of x may cause."""


class Edges(NamedTuple):
    """The points that can be checked, and the names of those at which the function is not finite."""

    points: list[Point]
    skipped: list[str]


def edges(problem: Problem, phi: Callable, y: list) -> Edges:
    """Return the edge points of all leaves in the domain, at which the function is finite and its value well determined.

    Args:
      problem: the problem.
      phi: (x, ct) -> ⟨ȳ, f(x)⟩, NaN outside the domain.
      y: the outputs at the given point.
    """
    ct, points, skipped, known = cotangent(problem, y, EDGE), [], [], set()
    for i, leaf in enumerate(problem.x):
        for kind, candidates in _values(problem, i):
            name = f"{kind} in {problem.leaves[i].label}"
            found = None
            for values in candidates:
                x = [*problem.x[:i], to_jax(values, leaf.dtype), *problem.x[i + 1 :]]
                if _well_determined(problem, phi, x, ct, name):
                    found = x
                    break
            if found is None:
                skipped.append(name)
            elif (i, to_numpy(found[i]).tobytes()) not in known:
                known.add((i, to_numpy(found[i]).tobytes()))
                points.append(Point(found, ct, name, edge=True))
    return Edges(points, skipped)


def _well_determined(problem: Problem, phi: Callable, x: list, ct: list, name: str) -> bool:
    """Return whether φ is finite, and keeps most of its digits if the last bit of x changes.

    It does not for the sine of a large number, whose slope no difference can resolve.
    """
    value = float(phi(x, ct))
    moved = float(phi(perturbed(x, problem.u_fun, generator(problem.seed, EDGE, name)), ct)) if np.isfinite(value) else value
    return bool(np.isfinite([value, moved]).all()) and abs(moved - value) <= DIGITS * max(abs(value), abs(moved))


def _values(problem: Problem, i: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield the name of each kind of values of leaf i, and candidates for them, best first."""
    x = to_numpy(problem.x[i])
    if not x.size:
        return
    rng = generator(problem.seed, problem.leaves[i].path, EDGE)
    some = rng.permutation(x.size).reshape(x.shape) < max(1, x.size // 2)
    sign, range_ = np.where(x < 0, -1.0, 1.0), jnp.finfo(problem.leaves[i].dtype)
    neighbours = np.take(x.ravel(), np.arange(x.size) // 2 * 2).reshape(x.shape)
    magnitudes = [float(range_.max) ** power for power in (1.0, 0.5, 0.25, 0.125)]
    yield "ones", [sign, np.ones(x.shape)]
    yield "exact halves", [np.floor(x) + 0.5]
    if not problem.loops:  # a loop whose length depends on data might not end
        yield "signs flipped", [-x]
        yield "zeros", [np.zeros(x.shape)]
        yield f"the smallest {range_.dtype} numbers", [sign * float(range_.tiny), np.full(x.shape, float(range_.tiny))]
        yield f"large {range_.dtype} numbers", [s * size for size in magnitudes for s in (sign, np.ones(x.shape))]
    if x.size > 1:
        yield "zeros in some entries", [np.where(some, 0.0, x)]
        yield "ones in some entries", [np.where(some, sign, x), np.where(some, 1.0, x)]
        yield "ties of neighbours", [neighbours]
        yield "all entries equal", [np.full(x.shape, x.ravel()[0])]
