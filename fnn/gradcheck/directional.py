"""Directional derivatives by finite differences, with estimates of their error and of the noise of φ.

φ(t) = ⟨ȳ, f(x + t v)⟩ is the function along a direction v of one leaf. `differences` has the formulas.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.kinks import JUMP, KINK, Sides, classify, one_sided
from fnn.gradcheck.problem import Point, Problem, generator, rms, to_jax, to_numpy
from fnn.gradcheck.reference import DRAWS, perturbed

COARSE = (12, 13, 18, 19, 24, 25)
FINE = (9, 10, 12, 13, 15, 16, 18, 19, 21, 22, 24, 25)
"""The relative steps are 2^-power: first the few of COARSE, then all of FINE if those do not suffice."""

axpy = jax.jit(lambda x, t, v: x + t * v)


class Line(NamedTuple):
    """φ along one direction: at ±t with t decreasing, and at 0."""

    powers: np.ndarray
    t: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    zero: float

    @property
    def second(self) -> np.ndarray:
        """The second differences φ(t) - 2φ(0) + φ(-t)."""
        with np.errstate(invalid="ignore", over="ignore"):  # φ may be infinite at some steps
            return self.plus - 2 * self.zero + self.minus


class Slope(NamedTuple):
    """A directional derivative with an estimate of its error."""

    value: float
    error: float
    """The estimate; infinite if no step was usable."""
    step: float
    """The relative step h that was chosen."""
    kind: str
    """SMOOTH, NEARBY, KINK or JUMP (see `kinks`)."""
    sides: tuple[float, float]
    """The slopes on the left and on the right of a kink or jump; NaN elsewhere."""
    margin: float
    """The error that the slopes in `sides` may have."""
    finer: tuple[tuple[float, float], ...] = ()
    """D₄ at the smaller steps, each with its noise."""
    secant: float = 0.0
    """|φ(±t) - φ(0)| / t at the largest step, the larger of both sides."""


class Potential(NamedTuple):
    """φ near one point."""

    phi: Callable
    """x -> ⟨ȳ, f(x)⟩, compiled."""
    x: list
    zero: float
    """φ at the point."""
    noise: float
    """Twice the change of φ when x changes in its last bit."""
    u: float
    """The unit roundoff of the function."""


def projection(problem: Problem) -> Callable:
    """Return the compiled function (x, data, ct) -> ⟨ȳ, f(x)⟩. It is NaN outside the domain."""

    def phi(x, data, ct):
        total = sum(jnp.vdot(c, v.astype(c.dtype)) for c, v in zip(ct, problem.fun(x, data), strict=True))
        return jnp.where(problem.inside(x, data), total, jnp.nan)

    return jax.jit(phi)


def potential(phi: Callable, problem: Problem, point: Point) -> Potential:
    """Evaluate φ at a point, and measure its noise by changing x in its last bit."""
    x = [to_jax(v) for v in point.x]
    ct = [to_jax(c) for c in point.ct]
    here = lambda x: phi(x, problem.data, ct)  # dispatched asynchronously, so that several calls overlap
    zero = float(here(x))
    draws = [perturbed(point.x, problem.u_fun, generator(problem.seed, "noise", point.name, d)) for d in range(DRAWS)]
    noise = max([abs(float(here(d)) - zero) for d in draws])
    return Potential(here, x, zero, 2 * noise if np.isfinite(noise) else 0.0, problem.u_fun)


def scale(x) -> float:
    """Return the scale of the steps of a leaf: max(rms(x), 1e-3), or 0.1 for a leaf of zeros."""
    return max(rms(x), 1e-3) if np.any(to_numpy(x)) else 0.1


def along(p: Potential, leaf: int, v, powers: Sequence[int] = FINE, known: Line | None = None) -> Line:
    """Evaluate φ at x ± t v for t = 2^-power scale(x), where v is a direction of one leaf; reuse values of `known`."""
    values = {} if known is None else dict(zip(known.powers, zip(known.plus, known.minus, strict=True), strict=True))
    t = 2.0 ** -np.array(powers, np.float64) * scale(p.x[leaf])
    v = to_jax(v, p.x[leaf].dtype)
    at = lambda s: p.phi([*p.x[:leaf], axpy(p.x[leaf], s, v), *p.x[leaf + 1 :]])
    values |= {power: (at(s), at(-s)) for power, s in zip(powers, t, strict=True) if power not in values}
    plus, minus = np.array([[float(side) for side in values[power]] for power in powers]).T
    return Line(np.array(powers), t, plus, minus, p.zero)


def slope(p: Potential, line: Line, fine: float = 0.0) -> Slope:
    """Return D₄ at the step with the least error estimate. `fine` is a lower bound of the noise (see `fine_noise`)."""
    pairs = [k for k in range(1, len(line.powers)) if line.powers[k] == line.powers[k - 1] + 1]
    with np.errstate(all="ignore"):
        d2 = (line.plus - line.minus) / (2 * line.t)
        d4 = np.array([(4 * d2[k] - d2[k - 1]) / 3 for k in pairs])
        noise = max(base_noise(p, line), fine)
        t = line.t[pairs]
        error = np.abs(d4 - d2[pairs]) + noise / t
        beyond = np.abs(d4[:, None] - d4[None, :]) - 2 * noise / t[None, :]  # row: a step, column: a smaller one
        error += np.maximum(0.0, np.max(np.triu(beyond, 1), axis=1, initial=0.0, where=np.isfinite(beyond)))
        error = np.where(np.isfinite(error), error, np.inf)
    best = int(np.argmin(error))
    kind = kind_of(p, line)
    sides = one_sided(line, kind, base_noise(p, line)) if kind in (KINK, JUMP) else Sides(np.nan, np.nan, np.inf)
    step = float(2.0 ** -line.powers[pairs[best]])
    finer = tuple(zip(d4[best + 1 :].tolist(), (noise / t[best + 1 :]).tolist(), strict=True))
    found = Slope(float(d4[best]), float(error[best]), step, kind, (sides.left, sides.right), sides.margin, finer)
    return found._replace(secant=_secant(line))


def _secant(line: Line) -> float:
    changes = [abs(side[0] - line.zero) for side in (line.plus, line.minus) if np.isfinite(side[0])]
    return float(max(changes, default=0.0) / line.t[0])


def kind_of(p: Potential, line: Line) -> str:
    """Classify the point by the second differences at every third power of two."""
    steps = np.flatnonzero((line.powers - 1) % 3 == 0)
    return classify(line.t[steps], line.second[steps], base_noise(p, line))


def base_noise(p: Potential, line: Line) -> float:
    """Return the noise of φ that follows from its size and its conditioning."""
    sizes = np.abs(np.concatenate([line.plus, line.minus, [line.zero]]))
    return max(24 * p.u * float(sizes[np.isfinite(sizes)].max(initial=0.0)), p.noise)


def fine_noise(p: Potential, lines: list[Line], power: int = 24) -> float:
    """Measure the noise of φ at the smallest steps, from 2^-power on, where a smooth φ is linear.

    Uses second differences, except along lines with a kink at the point, and the odd combination

        [φ(2t) - φ(-2t)] - 2 [φ(t) - φ(-t)] = O(t³)

    which also contains rounding errors that are symmetric about the point.
    """
    found = [0.0]
    for line in lines:
        pairs = [
            k for k in range(1, len(line.t)) if line.powers[k] == line.powers[k - 1] + 1 and line.powers[k] > power
        ]
        with np.errstate(invalid="ignore", over="ignore"):
            odd = line.plus - line.minus
            found += [2 * abs(odd[k - 1] - 2 * odd[k]) for k in pairs]
        if kind_of(p, line) not in (KINK, JUMP):
            found += (2 * np.abs(line.second[line.powers >= power])).tolist()
    return max(v for v in found if np.isfinite(v))
