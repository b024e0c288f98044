"""Comparison with central differences along random directions, with steps chosen by an error estimate.

    φ(t) = ⟨ȳ, f(x + t v)⟩,   t = h max(rms(x_leaf), 1e-3),   h in 2^-{10, 13, 16, 19, 22, 25}
    D₂(h) = [φ(t) - φ(-t)] / 2t,   D₄ = (4 D₂(h) - D₂(2h)) / 3                         (Richardson)
    E(h) = |D₄ - D₂(h)| + noise / t + max over h' < h of (|D₄(h) - D₄(h')| - 2 noise / t')₊
    wrong if |D₄ - ⟨ĝ, v⟩| > 4 E + (64 u + 1e-9) √Σ(ĝᵢvᵢ)²

The step h is the one with the least E. It is chosen from the differences alone, never from the gradient under test.
A leaf of zeros has t = 0.1 h. The noise of φ is the largest of three estimates: 24 u max|φ|, twice the change of φ when
x changes in its last bit, and twice the nonlinearity of φ at the smallest steps, where a smooth φ is linear. The term
1e-9 covers the accuracy of special functions.

Each leaf has K Gaussian directions of its own. If ĝ is off by a vector of norm ‖e‖, then ⟨e, v⟩ ~ N(0, ‖e‖²), and all
K directions miss the error with probability at most (0.80 tol/‖e‖)^K. Hence ρ = 0.80 (tol/‖g‖) δ^(-1/K) is the least
relative error that is detected with probability 1 - δ.

See Nocedal & Wright 2006, Numerical Optimization, section 8.1, for differences, and Ridders 1982 for steps chosen by an
error estimate.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fnn.gradcheck.directional import COARSE, FINE, Line, Potential, Slope, along, fine_noise, scale, slope
from fnn.gradcheck.kinks import JUMP, KINK, SMOOTH
from fnn.gradcheck.options import Options
from fnn.gradcheck.precision import FLOOR
from fnn.gradcheck.problem import SAMPLED, Point, Problem, finding, generator
from fnn.gradcheck.report import MISS, LeafReport


def tolerance(s: Slope, terms: np.ndarray, g_norm: float, v_norm: float, u: float, options: Options) -> float:
    """Return 4 E + (64 u + 1e-9) √Σ(ĝᵢvᵢ)² + rtol ‖g‖ + atol ‖v‖."""
    own = (options.rtol or 0.0) * g_norm + (options.atol or 0.0) * v_norm
    return 4 * s.error + (64 * u + FLOOR) * float(np.sqrt(np.sum(np.square(terms)))) + own


def directions(problem: Problem, options: Options, point: Point, leaf: int) -> list[np.ndarray]:
    """Draw the Gaussian directions of a leaf, seeded from key, path and point: K, or one at a sampled or edge point."""
    rng = generator(problem.seed, problem.leaves[leaf].path, "direction", point.name)
    count = 1 if point.edge is not None or point.name.startswith(SAMPLED) else options.num_directions
    return [rng.standard_normal(problem.x[leaf].shape) for _ in range(count)]


class _Measured(NamedTuple):
    lines: list[Line]
    slopes: list[Slope]
    got: list[float]
    """⟨ĝ, v⟩ for each direction."""
    tols: list[float]
    plain: bool
    """Whether these steps suffice: every direction is smooth and agrees within a tight tolerance."""


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


def check_leaf(p: Potential, problem: Problem, options: Options, point: Point, leaf: int, g: np.ndarray) -> LeafReport:
    """Compare one leaf of a gradient with differences at one point: at few steps, then at all if those do not suffice.

    Without float64, or where the tolerance exceeds 5 % of the gradient, differences cannot fail a leaf.
    """
    vs = directions(problem, options, point, leaf)
    m = _measure(p, problem, options, leaf, g, vs, COARSE, [])
    if not m.plain:
        m = _measure(p, problem, options, leaf, g, vs, FINE, m.lines)
    kinked = [k for k, s in enumerate(m.slopes) if s.kind in (KINK, JUMP)]
    if kinked:
        return _at_kink(problem, leaf, m.slopes[kinked[0]], m.got[kinked[0]])
    g_norm = float(np.linalg.norm(g))
    miss = [
        abs(s.value - d) / tol if np.isfinite(tol) and tol > 0 else np.inf if s.value != d and tol == 0 else 0.0
        for s, d, tol in zip(m.slopes, m.got, m.tols, strict=True)
    ]
    worst = int(np.argmax(miss))
    s = m.slopes[worst]
    text = f"{m.got[worst]:.6g} vs {s.value:.6g} ± {s.error:.1g} (h = 2^{round(np.log2(s.step))}, {s.kind})"
    count = sum(x > 1 for x in miss)
    level = detects(m.tols, g_norm) if len(vs) == options.num_directions else None
    blind = [not np.isfinite(t) or t > 0.05 * max(g_norm, _natural(p, leaf)) for t in m.tols]
    report = functools.partial(finding, problem, "differences", leaf)
    if count and problem.differences_decide and not blind[worst]:
        line = f"differences: {count}/{len(vs)} directions, {text}, {point.name}"
        return report("FAIL", line, step=s.step, min_detectable=level, hint=_ratio(m.got, m.slopes, m.tols))
    if any(blind) or not problem.differences_decide:
        return report("INCONCLUSIVE", f"differences: inconclusive, {text}", step=s.step)
    return report("PASS", f"differences: {text}", step=s.step, min_detectable=level)


def detects(tols: list[float], g_norm: float) -> float | None:
    """Return ρ = 0.80 (tol/‖g‖) δ^(-1/K), with the geometric mean of the K tolerances; None for a zero gradient."""
    if not g_norm or not np.all(np.isfinite(tols)) or min(tols) <= 0:
        return None
    return float(0.8 * np.exp(np.mean(np.log(tols))) / g_norm * MISS ** (-1 / len(tols)))


def _natural(p: Potential, leaf: int) -> float:
    """Return |φ| / scale(x), the size that a gradient of the leaf naturally has."""
    return abs(p.zero) / scale(p.x[leaf])


def _ratio(got: list[float], slopes: list[Slope], tols: list[float]) -> str:
    ratios = [a / s.value for a, s in zip(got, slopes, strict=True) if s.value]
    if len(ratios) < 2 or np.ptp(ratios) > 1e-6 * np.abs(ratios).max() + 2 * max(tols) / max(
        abs(s.value) for s in slopes
    ):
        return ""
    return "zero in every direction" if not any(ratios) else f"{ratios[0]:.6g} × expected in every direction"


def _at_kink(problem: Problem, leaf: int, s: Slope, got: float) -> LeafReport:
    low, high = sorted(s.sides)
    if s.kind == JUMP:
        text = "a jump at the point"
    else:
        between = "between" if low - s.margin <= got <= high + s.margin else "outside"
        text = f"a kink at the point: slope {got:.6g} {between} the one-sided {low:.6g} and {high:.6g}"
    return finding(problem, "differences", leaf, "INCONCLUSIVE", f"differences: {text}", kink=text)


def unit(x, flat: int) -> np.ndarray:
    """Return the unit vector of one element, in the shape of the leaf."""
    v = np.zeros(np.shape(x))
    v.ravel()[flat] = 1.0
    return v
