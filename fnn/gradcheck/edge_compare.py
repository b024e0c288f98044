"""What the slope along one direction at an edge point says about a gradient.

`edge_slopes` has the slopes. A value that differs from the slope is still no error if the function has a kink that is
composed of several, or if the gradient changes within the smallest step, as that of the sine of a large number does.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.differences import tolerance
from fnn.gradcheck.directional import COARSE, Potential, Slope, scale
from fnn.gradcheck.edge_slopes import SMALLEST, at_scale, factors, nearby
from fnn.gradcheck.kinks import JUMP, KINK
from fnn.gradcheck.options import Options
from fnn.gradcheck.problem import Problem, to_jax, to_numpy

TIGHT = 1e-6
"""The relative tolerance within which a slope of few steps may agree."""
AGREES, AT_KINK, UNRESOLVED, OUTSIDE, WRONG = range(5)


class Tested(NamedTuple):
    """The slope along one direction, and what it says about a gradient."""

    verdict: int
    v: np.ndarray
    got: float
    s: Slope
    tol: float
    flat: int | None
    """The element, if the direction is that of one element."""


def compare_along(
    p: Potential, problem: Problem, options: Options, leaf: int, g: np.ndarray, v: np.ndarray, flat: int | None = None
) -> Tested:
    """Compare a slope with that of the gradient: by the usual steps, then by smaller ones until one agrees."""
    s = at_scale(p, leaf, v, 1.0, COARSE)
    quick, secant = _compare(p, problem, options, leaf, g, v, flat, s), s.secant
    if quick.verdict == AGREES and quick.tol <= TIGHT * max(_norm(g), abs(p.zero) / scale(p.x[leaf])):
        return quick
    found = []
    for factor in factors(to_numpy(p.x[leaf]), v):
        s = at_scale(p, leaf, v, factor)._replace(secant=secant)
        t = _compare(p, problem, options, leaf, g, v, flat, s)
        if t.verdict == AGREES and found and t.tol > 0.1 * abs(found[0].s.value - t.got):
            t = t._replace(verdict=UNRESOLVED)  # too inexact to contradict the usual steps
        stairs = np.isfinite(t.got) and abs(quick.s.value - t.got) <= 0.05 * abs(t.s.value - t.got)
        if t.verdict == WRONG and stairs:
            t = t._replace(verdict=UNRESOLVED)  # rounding makes stairs of φ, on which the smallest steps see no slope
        if t.verdict in (AGREES, AT_KINK):
            return t
        found.append(t)
    return max(found, key=lambda t: t.verdict)


def _compare(
    p: Potential,
    problem: Problem,
    options: Options,
    leaf: int,
    g: np.ndarray,
    v: np.ndarray,
    flat: int | None,
    s: Slope,
) -> Tested:
    terms = np.where(v != 0, g, 0.0) * v
    got, size = float(np.sum(terms)), abs(p.zero) / scale(p.x[leaf])
    if s.kind in (KINK, JUMP):
        low, high = sorted(s.sides)
        inside = np.isfinite(s.margin) and low - s.margin <= got <= high + s.margin
        if not np.isfinite(s.margin) or (
            not np.isfinite(got) and (s.kind == JUMP or s.margin > 1e-3 * max(abs(low), abs(high)))
        ):
            return Tested(UNRESOLVED, v, got, s, np.inf, flat)
        return Tested(AT_KINK if inside else OUTSIDE, v, got, s, s.margin, flat)
    if not np.isfinite(got):
        known = np.isfinite(s.error) and s.error <= max(1e-3 * max(abs(s.value), s.secant), 1e-8 * size)
        return Tested(WRONG if known else UNRESOLVED, v, got, s, 0.0, flat)
    g_norm = _norm(g)
    with np.errstate(over="ignore"):
        tol = tolerance(s, terms, g_norm, float(np.linalg.norm(v)), p.u, options)
    tiny = float(jnp.finfo(problem.leaves[leaf].dtype).tiny)  # smaller gradients are 0 in the dtype of the leaf
    tol += tiny
    if abs(got - s.value) <= tol:
        known = tol <= max(0.05 * max(g_norm, abs(s.value), size, s.secant), 2 * tiny)
        return Tested(AGREES if known else UNRESOLVED, v, got, s, tol, flat)
    supported = any(max(abs(value - got), error) <= 0.1 * abs(s.value - got) for value, error in s.finer)
    blind = not np.isfinite(tol) or tol > 0.05 * max(abs(got), abs(s.value)) or supported
    return Tested(UNRESOLVED if blind else WRONG, v, got, s, tol, flat)


def _norm(g: np.ndarray) -> float:
    """Return the norm of the finite entries, without overflow."""
    g = np.abs(g[np.isfinite(g)])
    largest = float(g.max(initial=0.0))
    return largest * float(np.linalg.norm(g / largest)) if largest else 0.0


def excess(t: Tested) -> float:
    """Return the error of the gradient relative to its tolerance; infinite if it is not finite."""
    return abs(t.got - t.s.value) / max(t.tol, np.finfo(float).tiny) if np.isfinite(t.got) else np.inf


def as_nearby(p: Potential, leaf: int, t: Tested, rng: np.random.Generator) -> bool:
    """Return whether a value outside the one-sided slopes may be a convention at a kink that is composed of several.

    That is so if it is among the slopes nearby, or if these are not only the two one-sided ones.
    """
    low, high = sorted(t.s.sides)
    slopes = nearby(p, leaf, t.v, rng)
    if not len(slopes):
        return True
    margin = t.s.margin + 1e-2 * max(high - low, float(np.ptp(slopes)))
    if min(low, slopes.min()) - margin <= t.got <= max(high, slopes.max()) + margin:
        return True
    other = np.minimum(np.abs(slopes - low), np.abs(slopes - high)) > margin + 0.02 * np.abs(slopes)
    return bool(other.any())


def steep(p: Potential, leaf: int, t: Tested) -> bool:
    """Return whether a jump may be a slope that is too steep to be seen: |g| times the smallest step spans it."""
    if t.s.kind != JUMP:
        return False
    smallest = SMALLEST * scale(p.x[leaf])
    ends = [float(p.phi([*p.x[:leaf], p.x[leaf] + sign * smallest * t.v, *p.x[leaf + 1 :]])) for sign in (-1.0, 1.0)]
    return abs(t.got) * smallest >= 0.1 * abs(ends[1] - ends[0])


def strict(p: Potential, leaf: int, t: Tested, rng: np.random.Generator) -> bool:
    """Return whether the slopes along v are the same at all points nearby, compared with the error of the gradient."""
    slopes = nearby(p, leaf, t.v, rng)
    return len(slopes) > 2 and 10 * float(np.abs(slopes - t.s.value).max()) < abs(t.got - t.s.value)


def erratic(p: Potential, problem: Problem, leaf: int, t: Tested, gradient: Callable[[list], np.ndarray], rng) -> bool:
    """Return whether the gradient changes within the smallest step as much as it differs from the slope.

    It does for the sine of a large number, whose oscillations no step sees. A gradient that is wrong at one point only
    does not: it is the same at all points beside it.
    """
    found = []
    for _ in range(4):
        g = gradient([_shaken(v, rng) for v in p.x])
        found.append(float(np.sum(np.where(t.v != 0, g, 0.0) * t.v)))
    found = [value for value in found if np.isfinite(value)]
    return len(found) > 1 and float(np.ptp(found)) > 0.1 * abs(t.got - t.s.value)  # False if g is not finite


def _shaken(v, rng: np.random.Generator):
    """Move all entries but zeros within the smallest step."""
    x = to_numpy(v)
    step = np.where(x == 0, 0.0, SMALLEST * np.maximum(np.abs(x), scale(v)))
    return to_jax((x + step * rng.uniform(-1.0, 1.0, x.shape)).astype(np.asarray(v).dtype))
