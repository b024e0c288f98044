"""The verdict of differences on the gradient of one leaf at an edge point: element by element where need be.

A leaf passes if its slope along one random direction agrees. Otherwise its elements are tested one by one, all of a
small leaf. `edge_slopes` says when a slope refutes a gradient. Where none does, and the gradient does not pass either,
the function has a kink or no derivative, or no step resolves its slope: the report is KINK or INCONCLUSIVE, and an
edge point with such a report is listed but says nothing against the gradient.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from fnn.gradcheck.bisection import locate
from fnn.gradcheck.differences import unit
from fnn.gradcheck.directional import Potential
from fnn.gradcheck.edge_compare import (
    AGREES,
    AT_KINK,
    OUTSIDE,
    UNRESOLVED,
    WRONG,
    Tested,
    as_nearby,
    compare_along,
    erratic,
    excess,
    steep,
    strict,
)
from fnn.gradcheck.edge_slopes import adds_up, dense_direction
from fnn.gradcheck.kinks import JUMP, KINK
from fnn.gradcheck.options import Options
from fnn.gradcheck.pairs import index_in, part, positions
from fnn.gradcheck.problem import Point, Problem, finding, generator, to_numpy
from fnn.gradcheck.report import LeafReport

MOST = 16
"""The number of elements that are tested one by one."""
UNEVEN = 100.0
"""From this ratio of sizes on, the elements of a leaf are tested one by one."""


def check_edge(
    p: Potential,
    problem: Problem,
    options: Options,
    point: Point,
    leaf: int,
    g: np.ndarray,
    gradient: Callable[[list], np.ndarray],
) -> LeafReport:
    """Compare the gradient g of one leaf with differences at an edge point; `gradient` computes it at points nearby."""
    rng = generator(problem.seed, problem.leaves[leaf].path, "edge direction", point.name)
    x = to_numpy(p.x[leaf])
    dense = dense_direction(x, rng)
    test = functools.partial(compare_along, p, problem, options, leaf, g)
    whole = None
    if np.isfinite(g).all():
        whole = test(dense)
        own = point.edge == leaf
        if (whole.verdict == AGREES and not (own and _uneven(x))) or (whole.verdict == AT_KINK and not own):
            return finding(problem, "differences", leaf, "PASS", step=whole.s.step)
    tested = [test(unit(g, flat), flat) for flat in _elements(g)]
    if whole and whole.verdict == WRONG and g.size > MOST and not any(t.verdict == WRONG for t in tested):
        exact = locate(p, problem, options, leaf, g)
        if exact and exact.worst_index is not None:
            flats = positions(problem.leaves[leaf], exact.worst_index)
            tested += [test(unit(g, flat), flat) for flat in flats]
    wrong = sorted((t for t in tested if t.verdict == WRONG), key=lambda t: -excess(t))
    no_derivative = False
    for t in wrong[:3]:
        if erratic(p, problem, leaf, t, gradient, rng):
            continue
        if not adds_up(p, leaf, t.v, t.s, rng):
            no_derivative = True
            if np.isfinite(t.got):
                continue
            t = t._replace(verdict=OUTSIDE)
        indices = {index_in(problem.leaves[leaf], t.flat) for t in wrong if t.flat is not None}
        return _failed(problem, point, leaf, g, t, len(indices) if len(tested) == g.size else None)
    for t in sorted((t for t in tested if t.verdict == OUTSIDE), key=lambda t: -excess(t))[:3]:
        if not np.isfinite(t.got) or not (as_nearby(p, leaf, t, rng) or steep(p, leaf, t)):
            return _failed(problem, point, leaf, g, t, None)
    if whole and (no_derivative or any(t.verdict != AGREES for t in tested) or whole.verdict == WRONG):
        for v in [*_groups(x), dense]:
            t = test(v)
            if t.verdict == WRONG and not erratic(p, problem, leaf, t, gradient, rng) and strict(p, leaf, t, rng):
                return _failed(problem, point, leaf, g, t, None)
    return _undecided(problem, leaf, tested, no_derivative or bool(whole and whole.verdict == WRONG))


def _elements(g: np.ndarray) -> list[int]:
    """Return all elements of a small leaf; otherwise those that are not finite, the largest, and some evenly spaced."""
    if g.size <= MOST:
        return list(range(g.size))
    bad = np.flatnonzero(~np.isfinite(g.ravel()))[:4]
    largest = np.argsort(-np.abs(np.nan_to_num(g.ravel())), kind="stable")[:4]
    return list(dict.fromkeys(map(int, [*bad, *largest, *range(0, g.size, -(-g.size // 8))])))


def _uneven(x: np.ndarray) -> bool:
    """Return whether some entries are so small beside others that a wrong gradient there would not show."""
    sizes = np.abs(x[x != 0])
    return bool(sizes.size) and sizes.max() > UNEVEN * sizes.min()


def _groups(x: np.ndarray) -> list[np.ndarray]:
    """Return directions that keep ties: all ones, and ones for each of the first sets of equal entries."""
    values, counts = np.unique(x, return_counts=True)
    tied = [np.where(x == value, 1.0, 0.0) for value in values[counts > 1][:4]]
    return [np.ones(x.shape), *(v for v in tied if not v.all())]


def _failed(problem: Problem, point: Point, leaf: int, g: np.ndarray, t: Tested, count: int | None) -> LeafReport:
    report = problem.leaves[leaf]
    index = None if t.flat is None else index_in(report, t.flat)
    where = "along a direction" if index is None else f"at {list(index)}"
    number_of = lambda v: part(report, t.flat, v)
    number = f"{count}/{math.prod(report.shape)} elements, worst " if count and t.flat is not None else ""
    kink = None
    if t.verdict == OUTSIDE:
        low, high = sorted(t.s.sides) if t.s.kind in (KINK, JUMP) else (t.s.value, t.s.value)
        slopes = f"slopes {number_of(low)} and {number_of(high)}" if low < high else f"slope {number_of(low)}"
        kink = f"a {t.s.kind if low < high else KINK} {where}: {number_of(t.got)} is outside the one-sided {slopes}"
        line, hint = f"differences: {kink}, {point.name}", "outside the one-sided slopes at a kink"
    else:
        slopes = f"{number_of(t.got)} vs {number_of(t.s.value)} ± {t.s.error:.1g}"
        line = f"differences: {number}{where}, {slopes}, {point.name}"
        hint = "right at other points?"
    if not np.isfinite(t.got):
        hint = "not finite where fun has a slope: the derivative of a branch that is not taken?"
    return finding(
        problem, "differences", leaf, "FAIL", line, hint=hint, kink=kink, step=t.s.step, num_wrong=count,
        max_error=abs(t.got - t.s.value) if np.isfinite(t.got) else np.inf, tol=t.tol,
        worst_index=index,
    )  # fmt: skip


def _undecided(problem: Problem, leaf: int, tested: list[Tested], no_derivative: bool) -> LeafReport:
    kinks = [t for t in tested if t.s.kind in (KINK, JUMP)]
    if no_derivative:
        text = "the directional derivatives do not add up: no derivative"
        return finding(problem, "differences", leaf, "KINK", f"differences: {text}", kink=text)
    if kinks:
        low, high = sorted(kinks[0].s.sides)
        text = f"a {kinks[0].s.kind}: slope {kinks[0].got:.6g}, one-sided {low:.6g} and {high:.6g}"
        return finding(problem, "differences", leaf, "KINK", f"differences: {text}", kink=text)
    if all(t.verdict == AGREES for t in tested) and tested:
        return finding(problem, "differences", leaf, "PASS")
    worst = next((t for t in tested if t.verdict == UNRESOLVED), tested[0] if tested else None)
    text = f"{worst.got:.6g} vs {worst.s.value:.6g} ± {worst.s.error:.1g}" if worst else "no element"
    return finding(problem, "differences", leaf, "INCONCLUSIVE", f"differences: not resolved, {text}")
