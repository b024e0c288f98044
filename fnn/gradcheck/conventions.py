"""Conventions at kinks: the elements in which a gradient may differ from the reference.

Where φ has a kink along one element of a leaf, any value between the one-sided slopes L and R is legitimate: 0, 1/2 or
1 for relu at 0. If a kink is composed of several, such as a layer of relus at 0, the sum of their conventions may leave
that interval; then the reference's own value g does too. Hence a value is accepted if it is in the hull of

    L, R, g and L + R - g

which is [L, R] for a single kink. At a jump of φ, L and R are the slopes on both sides of the jump.

Where φ has a derivative or a kink, NaN and infinity are wrong, even if autodiff returns them too. A square root in a
branch of `jnp.where` that is not taken is the usual cause.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from fnn.gradcheck.differences import unit
from fnn.gradcheck.directional import Potential, Slope, along, base_noise, scale, slope
from fnn.gradcheck.kinks import JUMP, KINK, SMOOTH
from fnn.gradcheck.pairs import index_in, part
from fnn.gradcheck.problem import Point, Problem, autodiff, finding, to_numpy
from fnn.gradcheck.report import LeafReport

MOST = 32
"""The number of elements that are tested one by one in each selection."""


class Conventions(NamedTuple):
    """Whether the wrong elements of a leaf are conventions at kinks."""

    accepted: bool
    suspects: np.ndarray
    """Flat positions of the elements that no kink seems to explain, worst first."""
    text: str
    """Why an element at a kink is refused; "" if none is."""


def conventions(
    p: Potential, problem: Problem, point: Point, reference: Callable, leaf: int, g: np.ndarray, expected: np.ndarray,
    wrong: np.ndarray,
) -> Conventions:  # fmt: skip
    """Examine the elements in `wrong`, flat positions with the worst first.

    The reference beside the point, on both sides, shows which elements a kink may explain. Those that it does not
    explain are tested first, then the worst and some evenly spaced. The first that is refused ends the search.
    """
    suspects = _suspects(problem, point, reference, leaf, g, expected, wrong)
    if not problem.differences_decide and not len(suspects):
        return Conventions(True, suspects, "")  # too few digits to see a kink in the differences of φ
    some = [*suspects[:MOST], *wrong[:MOST], *wrong[:: max(1, len(wrong) // MOST)]]
    for flat in dict.fromkeys(map(int, some)):
        s = slope(p, along(p, leaf, unit(g, flat)))
        if s.kind not in (KINK, JUMP):
            return Conventions(False, suspects, "")
        if not accepts(s, float(g.ravel()[flat]), float(expected.ravel()[flat])):
            return Conventions(False, suspects, _refused(s, problem.leaves[leaf], g, flat))
    return Conventions(bool(some), suspects, "")


def outside(problem: Problem, point: Point, p: Potential, leaf: int, g: np.ndarray) -> LeafReport | None:
    """Return a report of an element outside its one-sided slopes at a kink, without a reference; None if there is none.

    Tests all elements of a small leaf, and otherwise the largest of the gradient and some evenly spaced. Autodiff of
    the function, if it has one, only shows whether a kink is composed of several.
    """
    try:
        value = to_numpy(jax.jit(autodiff(problem.fun))(point.x, problem.data, point.ct)[leaf])
    except Exception:
        value = np.zeros(g.shape)
    order = np.argsort(-np.abs(g.ravel()), kind="stable")
    return _first_refused(p, problem, "differences", leaf, g, [*order[:MOST], *order[:: max(1, g.size // MOST)]], value)


def at_undefined(p: Potential, problem: Problem, leaf: int, g: np.ndarray, expected: np.ndarray) -> LeafReport | None:
    """Return a report of an element outside its one-sided slopes among those where the reference is not finite."""
    some = np.flatnonzero(~np.isfinite(expected.ravel()) & np.isfinite(g.ravel()))
    return _first_refused(p, problem, "reference", leaf, g, some, expected)


def not_finite(p: Potential, problem: Problem, leaf: int, g: np.ndarray, expected: np.ndarray) -> LeafReport | None:
    """Return a report of an element that is not finite, neither is the reference there, but the slope of φ is."""
    for flat in np.flatnonzero(~np.isfinite(g.ravel()) & ~np.isfinite(expected.ravel()))[:MOST]:
        line = along(p, leaf, unit(g, int(flat)))
        s = slope(p, line)
        sides = s.sides if s.kind == KINK else (s.value, s.value)
        size = max(*map(abs, sides), abs(p.zero) / scale(p.x[leaf]))
        with np.errstate(all="ignore"):  # the slopes on both sides agree if the function is smooth
            differ = np.nanmin((np.abs(line.second) + base_noise(p, line)) / line.t, initial=np.inf)
        error = s.margin if s.kind == KINK else s.error + differ
        if s.kind in (SMOOTH, KINK) and np.all(np.isfinite(sides)) and error <= 1e-3 * size:
            where, index = (
                f"the slope of fun is {' or '.join(f'{v:.6g}' for v in dict.fromkeys(sides))}",
                index_in(problem.leaves[leaf], int(flat)),
            )
            text = f"differences: {g.ravel()[flat]} at {list(index)}, where {where}"
            hint = "not finite where fun has a slope: the derivative of a branch that is not taken?"
            fields = {"max_error": float("inf"), "tol": 0.0, "worst_index": index}
            return finding(problem, "differences", leaf, "FAIL", text, hint=hint, **fields)
    return None


def accepts(s: Slope, value: float, reference: float) -> bool:
    """Return True if a value is a convention at a kink with these one-sided slopes."""
    hull = list(s.sides)
    if np.isfinite(reference):
        hull += [reference, sum(s.sides) - reference]
    return min(hull) - s.margin <= value <= max(hull) + s.margin


def _first_refused(
    p: Potential, problem: Problem, check: str, leaf: int, g: np.ndarray, some, reference: np.ndarray
) -> LeafReport | None:
    for flat in list(dict.fromkeys(map(int, some)))[: 2 * MOST]:
        s = slope(p, along(p, leaf, unit(g, flat)))
        if s.kind in (KINK, JUMP) and not accepts(s, float(g.ravel()[flat]), float(reference.ravel()[flat])):
            text, index = _refused(s, problem.leaves[leaf], g, flat), index_in(problem.leaves[leaf], flat)
            hint = "outside the one-sided slopes at a kink"
            return finding(problem, check, leaf, "FAIL", f"{check}: {text}", worst_index=index, kink=text, hint=hint)
    return None


def _refused(s: Slope, leaf: LeafReport, g: np.ndarray, flat: int) -> str:
    got, low, high = (part(leaf, flat, float(v)) for v in (g.ravel()[flat], *sorted(s.sides)))
    return f"a {s.kind} at {list(index_in(leaf, flat))}: {got} is outside the one-sided slopes {low} and {high}"


def _suspects(
    problem: Problem, point: Point, reference: Callable, leaf: int, g: np.ndarray, expected: np.ndarray,
    wrong: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the positions among `wrong` outside the hull of the reference here and on both sides, farthest first."""
    shift = np.zeros(g.size)
    shift[wrong] = 2.0**-20 * scale(point.x[leaf])
    beside = []
    for sign in (1.0, -1.0):
        x = list(point.x)
        moved = to_numpy(x[leaf]) + sign * shift.reshape(g.shape)
        x[leaf] = moved.astype(np.asarray(x[leaf]).dtype)
        beside.append(to_numpy(reference(x, problem.data, point.ct)[leaf]).ravel()[wrong])
    here, value = expected.ravel()[wrong], g.ravel()[wrong]
    with np.errstate(all="ignore"):
        hull = np.array([here, *beside, sum(beside) - here])
        low, high = np.nanmin(hull, 0), np.nanmax(hull, 0)
        distance = np.maximum(low - value, value - high) / (high - low)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    order = np.argsort(-distance, kind="stable")
    return wrong[order[distance[order] > 1e-3]]
