"""The verdict of differences on the gradient of one leaf at an edge point: element by element where need be.

A leaf passes if its slope along one random direction agrees. Otherwise its elements are tested one by one, all of a
small leaf. `edge_slopes` says when a slope refutes a gradient. Where none does, and the gradient does not pass either,
the function has a kink or no derivative, or no step resolves its slope: the report is KINK or INCONCLUSIVE, and an
edge point with such a report is listed but says nothing against the gradient.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.bisection import locate
from fnn.gradcheck.differences import tolerance, unit
from fnn.gradcheck.directional import COARSE, Potential, Slope, scale
from fnn.gradcheck.edge_slopes import FINEST, adds_up, at_scale, dense_direction, factors, nearby
from fnn.gradcheck.kinks import JUMP, KINK
from fnn.gradcheck.options import Options
from fnn.gradcheck.pairs import index_in
from fnn.gradcheck.problem import Point, Problem, finding, generator, to_numpy
from fnn.gradcheck.report import LeafReport

MOST = 16
"""The number of elements that are tested one by one."""
UNEVEN = 100.0
"""From this ratio of sizes on, the elements of a leaf are tested one by one."""
TIGHT = 1e-6
"""The relative tolerance within which a slope of few steps may agree."""
AGREES, AT_KINK, UNRESOLVED, OUTSIDE, WRONG = range(5)


class _Tested(NamedTuple):
    """The slope along one direction, and what it says about a gradient."""

    verdict: int
    v: np.ndarray
    got: float
    s: Slope
    tol: float
    flat: int | None
    """The element, if the direction is that of one element."""


def check_edge(p: Potential, problem: Problem, options: Options, point: Point, leaf: int, g: np.ndarray) -> LeafReport:
    """Compare one leaf of a gradient with differences at an edge point."""
    rng = generator(problem.seed, problem.leaves[leaf].path, "edge direction", point.name)
    x = to_numpy(p.x[leaf])
    dense = dense_direction(x, rng)
    test = functools.partial(_test, p, problem, options, leaf, g)
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
            flat = int(np.ravel_multi_index(exact.worst_index, g.shape))
            tested.append(test(unit(g, flat), flat))
    wrong = sorted((t for t in tested if t.verdict == WRONG), key=lambda t: -_excess(t))
    no_derivative = False
    for t in wrong[:3]:
        if not adds_up(p, leaf, t.v, t.s, rng):
            no_derivative = True
            if np.isfinite(t.got):
                continue
            t = t._replace(verdict=OUTSIDE)
        return _failed(problem, point, leaf, g, t, len(wrong) if len(tested) == g.size else None)
    for t in sorted((t for t in tested if t.verdict == OUTSIDE), key=lambda t: -_excess(t))[:3]:
        if not np.isfinite(t.got) or not (_as_nearby(p, leaf, t, rng) or _steep(p, leaf, t)):
            return _failed(problem, point, leaf, g, t, None)
    if whole and (no_derivative or any(t.verdict != AGREES for t in tested) or whole.verdict == WRONG):
        for v in [*_groups(x), dense]:
            t = test(v)
            if t.verdict == WRONG and _strict(p, leaf, t, rng):
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


def _test(
    p: Potential, problem: Problem, options: Options, leaf: int, g: np.ndarray, v: np.ndarray, flat: int | None = None
) -> _Tested:
    """Compare a slope with that of the gradient: by the usual steps, then by smaller ones until one agrees."""
    s = at_scale(p, leaf, v, 1.0, COARSE)
    quick, secant = _compare(p, problem, options, leaf, g, v, flat, s), s.secant
    if quick.verdict == AGREES and quick.tol <= TIGHT * max(_norm(g), abs(p.zero) / scale(p.x[leaf])):
        return quick
    found = []
    for factor in factors(to_numpy(p.x[leaf]), v):
        found.append(
            _compare(p, problem, options, leaf, g, v, flat, at_scale(p, leaf, v, factor)._replace(secant=secant))
        )
        if found[-1].verdict in (AGREES, AT_KINK):
            return found[-1]
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
) -> _Tested:
    terms = np.where(v != 0, g, 0.0) * v
    got, size = float(np.sum(terms)), abs(p.zero) / scale(p.x[leaf])
    if s.kind in (KINK, JUMP):
        low, high = sorted(s.sides)
        inside = np.isfinite(s.margin) and low - s.margin <= got <= high + s.margin
        if not np.isfinite(s.margin) or (
            not np.isfinite(got) and (s.kind == JUMP or s.margin > 1e-3 * max(abs(low), abs(high)))
        ):
            return _Tested(UNRESOLVED, v, got, s, np.inf, flat)
        return _Tested(AT_KINK if inside else OUTSIDE, v, got, s, s.margin, flat)
    if not np.isfinite(got):
        known = np.isfinite(s.error) and s.error <= max(1e-3 * max(abs(s.value), s.secant), 1e-8 * size)
        return _Tested(WRONG if known else UNRESOLVED, v, got, s, 0.0, flat)
    g_norm = _norm(g)
    with np.errstate(over="ignore"):
        tol = tolerance(s, terms, g_norm, float(np.linalg.norm(v)), p.u, options)
    tiny = float(jnp.finfo(problem.leaves[leaf].dtype).tiny)  # smaller gradients are 0 in the dtype of the leaf
    tol += tiny
    if abs(got - s.value) <= tol:
        known = tol <= max(0.05 * max(g_norm, abs(s.value), size, s.secant), 2 * tiny)
        return _Tested(AGREES if known else UNRESOLVED, v, got, s, tol, flat)
    supported = any(abs(value - got) <= 0.1 * abs(s.value - got) for value in s.finer)
    blind = not np.isfinite(tol) or tol > 0.05 * max(abs(got), abs(s.value)) or supported
    return _Tested(UNRESOLVED if blind else WRONG, v, got, s, tol, flat)


def _norm(g: np.ndarray) -> float:
    """Return the norm of the finite entries, without overflow."""
    g = np.abs(g[np.isfinite(g)])
    largest = float(g.max(initial=0.0))
    return largest * float(np.linalg.norm(g / largest)) if largest else 0.0


def _excess(t: _Tested) -> float:
    return abs(t.got - t.s.value) / max(t.tol, np.finfo(float).tiny) if np.isfinite(t.got) else np.inf


def _as_nearby(p: Potential, leaf: int, t: _Tested, rng: np.random.Generator) -> bool:
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


def _steep(p: Potential, leaf: int, t: _Tested) -> bool:
    """Return whether a jump may be a slope that is too steep to be seen: |g| times the smallest step spans it."""
    if t.s.kind != JUMP:
        return False
    smallest = 2.0 ** -max(FINEST) * scale(p.x[leaf])
    ends = [float(p.phi([*p.x[:leaf], p.x[leaf] + sign * smallest * t.v, *p.x[leaf + 1 :]])) for sign in (-1.0, 1.0)]
    return abs(t.got) * smallest >= 0.1 * abs(ends[1] - ends[0])


def _groups(x: np.ndarray) -> list[np.ndarray]:
    """Return directions that keep ties: all ones, and ones for each of the first sets of equal entries."""
    values, counts = np.unique(x, return_counts=True)
    tied = [np.where(x == value, 1.0, 0.0) for value in values[counts > 1][:4]]
    return [np.ones(x.shape), *(v for v in tied if not v.all())]


def _strict(p: Potential, leaf: int, t: _Tested, rng: np.random.Generator) -> bool:
    """Return whether the slopes along v are the same at all points nearby, compared with the error of the gradient."""
    slopes = nearby(p, leaf, t.v, rng)
    return len(slopes) > 2 and 10 * float(np.abs(slopes - t.s.value).max()) < abs(t.got - t.s.value)


def _failed(problem: Problem, point: Point, leaf: int, g: np.ndarray, t: _Tested, count: int | None) -> LeafReport:
    where = "along a direction" if t.flat is None else f"at {list(index_in(problem.leaves[leaf], t.flat))}"
    number = f"{count}/{g.size} elements, worst " if count and t.flat is not None else ""
    kink = None
    if t.verdict == OUTSIDE:
        low, high = sorted(t.s.sides) if t.s.kind in (KINK, JUMP) else (t.s.value, t.s.value)
        slopes = f"slopes {low:.6g} and {high:.6g}" if low < high else f"slope {low:.6g}"
        kink = f"a {t.s.kind if low < high else KINK} {where}: {t.got:.6g} is outside the one-sided {slopes}"
        line, hint = f"differences: {kink}, {point.name}", "outside the one-sided slopes at a kink"
    else:
        line = f"differences: {number}{where}, {t.got:.6g} vs {t.s.value:.6g} ± {t.s.error:.1g}, {point.name}"
        hint = "right at other points?"
    if not np.isfinite(t.got):
        hint = "not finite where fun has a slope: the derivative of a branch that is not taken?"
    return finding(
        problem, "differences", leaf, "FAIL", line, hint=hint, kink=kink, step=t.s.step, num_wrong=count,
        max_error=abs(t.got - t.s.value) if np.isfinite(t.got) else np.inf, tol=t.tol,
        worst_index=None if t.flat is None else index_in(problem.leaves[leaf], t.flat),
    )  # fmt: skip


def _undecided(problem: Problem, leaf: int, tested: list[_Tested], no_derivative: bool) -> LeafReport:
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
