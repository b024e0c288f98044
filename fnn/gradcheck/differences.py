"""Central differences along random directions of one leaf, with a step chosen by an error estimate.

    φ(t) = ⟨ȳ, f(x + t v)⟩,   t = h max(rms(x_leaf), 1e-3),   h in 2^-{10, 13, 16, 19, 22, 25}
    D₂(h) = [φ(t) - φ(-t)] / 2t,   D₄ = (4 D₂(h) - D₂(2h)) / 3                         (Richardson)
    E(h) = |D₄ - D₂(h)| + noise / t;    h is the one of least E, chosen from these data alone
    wrong where |D₄ - ⟨ĝ, v⟩| > 4 E + (64 u + 1e-9) √Σ(ĝᵢvᵢ)²

The noise of φ is the largest of 24 u max|φ|, twice its change when x changes in its last bit, and twice its second
differences at the smallest steps, where a smooth φ has none. Directions are Gaussian, per leaf: if ĝ is off by a
vector of norm ‖e‖, ⟨e, v⟩ ~ N(0, ‖e‖²) and P(miss) <= (0.80 tol/‖e‖)^K for K directions, so that
ρ = 0.80 (tol/‖g‖) δ^(-1/K) is the least relative error detected with probability 1 - δ. The 1e-9 is what special
functions are exact to. For differences see Nocedal & Wright, Numerical Optimization, section 8.1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.kinks import JUMP, KINK, classify, one_sided
from fnn.gradcheck.problem import Finding, Options, Point, Problem, generator, rms, to_numpy
from fnn.gradcheck.reference import DRAWS, perturbed
from fnn.gradcheck.report import MISS

STEPS = np.array([10, 13, 16, 19, 22, 25])
FLOOR = 1e-9

axpy = jax.jit(lambda x, t, v: x + t * v)


class Line(NamedTuple):
    """φ along one direction: at ±t for each step, and at ±2t; at 0."""

    t: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    plus2: np.ndarray
    minus2: np.ndarray
    zero: float

    @property
    def second(self) -> np.ndarray:
        """φ(t) - 2φ(0) + φ(-t)."""
        return self.plus - 2 * self.zero + self.minus


class Slope(NamedTuple):
    """A directional derivative with its error estimate; error is inf where no step was usable."""

    value: float
    error: float
    step: float
    kind: str
    sides: tuple[float, float]


class Potential(NamedTuple):
    """φ at one point: the compiled function, its value and its noise there."""

    phi: Callable
    x: list
    zero: float
    noise: float
    u: float


def projection(problem: Problem) -> Callable:
    """(x, data, ct) -> ⟨ȳ, f(x)⟩, compiled; NaN outside the domain."""

    def phi(x, data, ct):
        total = sum(jnp.vdot(c, v.astype(c.dtype)) for c, v in zip(ct, problem.fun(x, data), strict=True))
        return jnp.where(problem.inside(x, data), total, jnp.nan)

    return jax.jit(phi)


def potential(phi: Callable, problem: Problem, options: Options, point: Point) -> Potential:
    """φ at a point, its noise measured by changing x in its last bit."""
    x = [jnp.asarray(v) for v in point.x]
    ct = [jnp.asarray(c) for c in point.ct]
    here = lambda x: float(phi(x, problem.data, ct))
    zero = here(x)
    draws = [perturbed(point.x, problem.u_fun, generator(options.seed, "noise", point.name, d)) for d in range(DRAWS)]
    noise = max([abs(here(d) - zero) for d in draws])
    return Potential(here, x, zero, 2 * noise if np.isfinite(noise) else 0.0, problem.u_fun)


def along(p: Potential, leaf: int, v, steps=STEPS) -> Line:
    """φ at x ± t v and x ± 2t v for each relative step, v a direction of one leaf."""
    t = 2.0**-steps * max(rms(p.x[leaf]), 1e-3)
    v = jnp.asarray(v, p.x[leaf].dtype)
    at = lambda s: p.phi([*p.x[:leaf], axpy(p.x[leaf], s, v), *p.x[leaf + 1 :]])
    values = np.array([[at(f * s) for s in t] for f in (1.0, -1.0, 2.0, -2.0)])
    return Line(t, values[0], values[1], values[2], values[3], p.zero)


def slope(p: Potential, line: Line, fine: float = 0.0, steps=STEPS) -> Slope:
    """D₄ at the step of least error estimate; `fine` is noise seen elsewhere."""
    with np.errstate(all="ignore"):
        d2 = (line.plus - line.minus) / (2 * line.t)
        d4 = (4 * d2 - (line.plus2 - line.minus2) / (4 * line.t)) / 3
        noise = max(base_noise(p, line), fine)
        error = np.abs(d4 - d2) + noise / line.t
        error = np.where(np.isfinite(error), error, np.inf)
    best = int(np.argmin(error))
    kind = classify(line.t, line.second, base_noise(p, line))
    return Slope(float(d4[best]), float(error[best]), float(2.0 ** -steps[best]), kind, _sides(line, kind))


def base_noise(p: Potential, line: Line) -> float:
    """The noise of φ by its size and by its conditioning."""
    sizes = np.abs(np.concatenate([line.plus, line.minus, [line.zero]]))
    return max(24 * p.u * float(sizes[np.isfinite(sizes)].max(initial=0.0)), p.noise)


def fine_noise(p: Potential, lines: list[Line]) -> float:
    """The noise of φ by second differences at the two smallest steps, over the lines without a kink at the point."""
    smooth = [line for line in lines if classify(line.t, line.second, base_noise(p, line)) not in (KINK, JUMP)]
    second = np.abs([[line.second[-1], line.plus2[-1] - 2 * line.zero + line.minus2[-1]] for line in smooth])
    return 2 * float(second[np.isfinite(second)].max(initial=0.0)) if smooth else 0.0


def tolerance(s: Slope, terms: np.ndarray, g_norm: float, v_norm: float, u: float, options: Options) -> float:
    """4 E + (64 u + 1e-9) √Σ(ĝᵢvᵢ)², and what rtol and atol allow on top."""
    own = (options.rtol or 0.0) * g_norm + (options.atol or 0.0) * v_norm
    return 4 * s.error + (64 * u + FLOOR) * float(np.sqrt(np.sum(np.square(terms)))) + own


def directions(problem: Problem, options: Options, point: Point, leaf: int) -> list[np.ndarray]:
    """K Gaussian directions of a leaf, seeded from the key, the leaf's path and the point."""
    rng = generator(options.seed, problem.paths[leaf], "direction", point.name)
    return [rng.standard_normal(problem.x[leaf].shape) for _ in range(options.num_directions)]


def check_leaf(p: Potential, problem: Problem, options: Options, point: Point, leaf: int, g: np.ndarray) -> Finding:
    """One leaf of a backward against differences at one point."""
    vs = directions(problem, options, point, leaf)
    lines = [along(p, leaf, v) for v in vs]
    fine = fine_noise(p, lines)
    slopes = [slope(p, line, fine) for line in lines]
    terms = [g * v for v in vs]
    got = [float(np.sum(term)) for term in terms]
    g_norm = float(np.linalg.norm(g))
    tols = [
        tolerance(s, term, g_norm, float(np.linalg.norm(v)), problem.u, options)
        for s, term, v in zip(slopes, terms, vs, strict=True)
    ]
    kinked = [s for s in slopes if s.kind in (KINK, JUMP)]
    if kinked:
        return _at_kink(leaf, kinked[0], got[slopes.index(kinked[0])])
    miss = [abs(s.value - d) / tol if np.isfinite(tol) else np.nan for s, d, tol in zip(slopes, got, tols, strict=True)]
    worst = int(np.nanargmax(miss)) if np.isfinite(miss).any() else 0
    s = slopes[worst]
    text = f"{got[worst]:.6g} vs {s.value:.6g} ± {s.error:.1g} (h = 2^{round(np.log2(s.step))}, {s.kind})"
    count = sum(m > 1 for m in miss)
    level = detects(tols, g_norm)
    blind = [not np.isfinite(t) or t > 0.05 * max(g_norm, _natural(p, leaf)) for t in tols]
    if count and options.differences_decide and not blind[worst]:
        line = f"differences: {count}/{len(vs)} directions, {text}, {point.name}"
        return Finding("differences", leaf, "FAIL", (line,), step=s.step, min_detectable=level, hint=_ratio(got, slopes, tols))
    if any(blind) or not options.differences_decide:
        return Finding("differences", leaf, "INCONCLUSIVE", (f"differences: inconclusive, {text}",), step=s.step)
    return Finding("differences", leaf, "PASS", (f"differences: {text}",), step=s.step, min_detectable=level)


def detects(tols: list[float], g_norm: float) -> float | None:
    """ρ = 0.80 (tol/‖g‖) δ^(-1/K), tol the geometric mean over the K directions; None for a zero gradient."""
    if not g_norm or not np.all(np.isfinite(tols)) or min(tols) <= 0:
        return None
    return float(0.8 * np.exp(np.mean(np.log(tols))) / g_norm * MISS ** (-1 / len(tols)))


def _natural(p: Potential, leaf: int) -> float:
    return abs(p.zero) / max(rms(p.x[leaf]), 1e-3)


def _ratio(got: list[float], slopes: list[Slope], tols: list[float]) -> str:
    ratios = [a / s.value for a, s in zip(got, slopes, strict=True) if s.value]
    if len(ratios) < 2 or np.ptp(ratios) > 1e-6 * np.abs(ratios).max() + 2 * max(tols) / max(abs(s.value) for s in slopes):
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


def _sides(line: Line, kind: str) -> tuple[float, float]:
    return one_sided(line.t, line.plus, line.minus, line.zero) if kind in (KINK, JUMP) else (np.nan, np.nan)


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
    return bool(some) and all(classify(line.t, line.second, base_noise(p, line)) in (KINK, JUMP) for line in lines)
