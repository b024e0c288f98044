"""Central differences along random directions of a leaf, with a step chosen by an error estimate.

    φ(t) = ⟨ȳ, f(x + t v)⟩,   t = h max(rms(x_leaf), 1e-3),   h in 2^-{10, 13, 16, 19, 22, 25}
    D₂(h) = [φ(t) - φ(-t)] / 2t,   D₄ = (4 D₂(h) - D₂(2h)) / 3                         (Richardson)
    E(h) = |D₄ - D₂(h)| + noise / t + (|D₄(h) - D₄(h/8)| - 16 noise / t)₊
    wrong where |D₄ - ⟨ĝ, v⟩| > 4 E + (64 u + 1e-9) √Σ(ĝᵢvᵢ)²,   at the h of least E, chosen from these data alone

A leaf of zeros has t = 0.1 h. The noise of φ is the largest of 24 u max|φ|, twice its change when x changes in its
last bit, and twice what its differences at the smallest steps leave of it, where a smooth φ is linear.

Directions are Gaussian, per leaf: if ĝ is off by a
vector of norm ‖e‖, ⟨e, v⟩ ~ N(0, ‖e‖²) and P(miss) <= (0.80 tol/‖e‖)^K for K directions, so that
ρ = 0.80 (tol/‖g‖) δ^(-1/K) is the least relative error detected with probability 1 - δ. The 1e-9 is what special
functions are exact to. For differences see Nocedal & Wright, Numerical Optimization, section 8.1.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fnn.gradcheck.kinks import JUMP, KINK, SMOOTH
from fnn.gradcheck.lines import COARSE, FINE, Line, Potential, Slope, along, fine_noise, kind_of, scale, slope
from fnn.gradcheck.problem import SAMPLED, Finding, Options, Point, Problem, generator, to_numpy
from fnn.gradcheck.report import MISS

FLOOR = 1e-9


def tolerance(s: Slope, terms: np.ndarray, g_norm: float, v_norm: float, u: float, options: Options) -> float:
    """4 E + (64 u + 1e-9) √Σ(ĝᵢvᵢ)², and what rtol and atol allow on top."""
    own = (options.rtol or 0.0) * g_norm + (options.atol or 0.0) * v_norm
    return 4 * s.error + (64 * u + FLOOR) * float(np.sqrt(np.sum(np.square(terms)))) + own


def directions(problem: Problem, options: Options, point: Point, leaf: int) -> list[np.ndarray]:
    """Gaussian directions of a leaf, seeded from the key, its path and the point: K, one where sampled."""
    rng = generator(options.seed, problem.paths[leaf], "direction", point.name)
    count = 1 if point.name.startswith(SAMPLED) else options.num_directions
    return [rng.standard_normal(problem.x[leaf].shape) for _ in range(count)]


class _Measured(NamedTuple):
    lines: list[Line]
    slopes: list[Slope]
    got: list[float]
    tols: list[float]
    plain: bool
    """Whether nothing calls for another look: no kink, no disagreement, a tight tolerance."""


def _measure(
    p: Potential, problem: Problem, options: Options, leaf: int, g: np.ndarray, vs, powers, known: Sequence[Line]
) -> _Measured:
    lines = [along(p, leaf, v, powers, line) for v, line in itertools.zip_longest(vs, known)]
    fine = fine_noise(p, lines)
    slopes = [slope(p, line, fine) for line in lines]
    terms = [g * v for v in vs]
    got = [float(np.sum(term)) for term in terms]
    g_norm = float(np.linalg.norm(g))
    tols = [
        tolerance(s, term, g_norm, float(np.linalg.norm(v)), problem.u, options)
        for s, term, v in zip(slopes, terms, vs, strict=True)
    ]
    tight = 1e-6 * max(g_norm, _natural(p, leaf))
    plain = all(
        abs(s.value - d) <= tol <= tight and s.kind == SMOOTH for s, d, tol in zip(slopes, got, tols, strict=True)
    )
    return _Measured(lines, slopes, got, tols, plain)


def check_leaf(p: Potential, problem: Problem, options: Options, point: Point, leaf: int, g: np.ndarray) -> Finding:
    """One leaf of a backward against differences at one point: few steps first, all of them where those cannot tell."""
    vs = directions(problem, options, point, leaf)
    m = _measure(p, problem, options, leaf, g, vs, COARSE, [])
    if not m.plain:
        m = _measure(p, problem, options, leaf, g, vs, FINE, m.lines)
    kinked = [k for k, s in enumerate(m.slopes) if s.kind in (KINK, JUMP)]
    if kinked:
        return _at_kink(leaf, m.slopes[kinked[0]], m.got[kinked[0]])
    g_norm = float(np.linalg.norm(g))
    miss = [
        abs(s.value - d) / tol if np.isfinite(tol) else 0.0 for s, d, tol in zip(m.slopes, m.got, m.tols, strict=True)
    ]
    worst = int(np.argmax(miss))
    s = m.slopes[worst]
    text = f"{m.got[worst]:.6g} vs {s.value:.6g} ± {s.error:.1g} (h = 2^{round(np.log2(s.step))}, {s.kind})"
    count = sum(x > 1 for x in miss)
    level = detects(m.tols, g_norm) if len(vs) == options.num_directions else None
    blind = [not np.isfinite(t) or t > 0.05 * max(g_norm, _natural(p, leaf)) for t in m.tols]
    if count and options.differences_decide and not blind[worst]:
        line = f"differences: {count}/{len(vs)} directions, {text}, {point.name}"
        hint = _ratio(m.got, m.slopes, m.tols)
        return Finding("differences", leaf, "FAIL", (line,), step=s.step, min_detectable=level, hint=hint)
    if any(blind) or not options.differences_decide:
        return Finding("differences", leaf, "INCONCLUSIVE", (f"differences: inconclusive, {text}",), step=s.step)
    return Finding("differences", leaf, "PASS", (f"differences: {text}",), step=s.step, min_detectable=level)


def detects(tols: list[float], g_norm: float) -> float | None:
    """ρ = 0.80 (tol/‖g‖) δ^(-1/K), tol the geometric mean over the K directions; None for a zero gradient."""
    if not g_norm or not np.all(np.isfinite(tols)) or min(tols) <= 0:
        return None
    return float(0.8 * np.exp(np.mean(np.log(tols))) / g_norm * MISS ** (-1 / len(tols)))


def _natural(p: Potential, leaf: int) -> float:
    return abs(p.zero) / scale(p.x[leaf])


def _ratio(got: list[float], slopes: list[Slope], tols: list[float]) -> str:
    ratios = [a / s.value for a, s in zip(got, slopes, strict=True) if s.value]
    if len(ratios) < 2 or np.ptp(ratios) > 1e-6 * np.abs(ratios).max() + 2 * max(tols) / max(
        abs(s.value) for s in slopes
    ):
        return ""
    return "zero in every direction" if not any(ratios) else f"{ratios[0]:.6g} × expected in every direction"


def _at_kink(leaf: int, s: Slope, got: float) -> Finding:
    low, high = sorted(s.sides)
    margin = 1e-5 * max(abs(low), abs(high))
    if s.kind == JUMP:
        text = "a jump at the point"
    else:
        between = "between" if low - margin <= got <= high + margin else "outside"
        text = f"a kink at the point: slope {got:.6g} {between} the one-sided {low:.6g} and {high:.6g}"
    return Finding("differences", leaf, "INCONCLUSIVE", (f"differences: {text}",), kink=text)


def unit(x, flat: int) -> np.ndarray:
    """The direction of one element, scaled by nothing."""
    v = np.zeros(np.shape(x))
    v.ravel()[flat] = 1.0
    return v


def kinked_elements(p: Potential, leaf: int, wrong: np.ndarray, most: int = 8) -> bool:
    """Whether φ has a kink or a jump along every wrong element: the worst few, and a few others at even spacing."""
    some = {int(i) for i in [*wrong[:most], *wrong[:: max(1, len(wrong) // most)]]}
    x = to_numpy(p.x[leaf])
    lines = (along(p, leaf, unit(x, i)) for i in some)
    return bool(some) and all(kind_of(p, line) in (KINK, JUMP) for line in lines)
