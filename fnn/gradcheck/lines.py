"""φ along a line, its derivative with an error estimate, and its noise; `differences` has the formulas."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.kinks import JUMP, KINK, classify, one_sided
from fnn.gradcheck.problem import Options, Point, Problem, generator, rms, to_jax, to_numpy
from fnn.gradcheck.reference import DRAWS, perturbed

COARSE = (12, 13, 18, 19, 24, 25)
FINE = (9, 10, 12, 13, 15, 16, 18, 19, 21, 22, 24, 25)
"""Powers of two of the relative steps: few at first, all of them where those cannot tell."""

axpy = jax.jit(lambda x, t, v: x + t * v)


class Line(NamedTuple):
    """φ at ±t along one direction, t falling, and at 0."""

    powers: np.ndarray
    t: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
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
    x = [to_jax(v) for v in point.x]
    ct = [to_jax(c) for c in point.ct]
    here = lambda x: phi(x, problem.data, ct)  # not waited for: several are under way at once
    zero = float(here(x))
    draws = [perturbed(point.x, problem.u_fun, generator(options.seed, "noise", point.name, d)) for d in range(DRAWS)]
    noise = max([abs(float(here(d)) - zero) for d in draws])
    return Potential(here, x, zero, 2 * noise if np.isfinite(noise) else 0.0, problem.u_fun)


def scale(x) -> float:
    """What steps are relative to: max(rms(x), 1e-3), and 0.1 for a leaf of zeros."""
    return max(rms(x), 1e-3) if np.any(to_numpy(x)) else 0.1


def along(p: Potential, leaf: int, v, powers: Sequence[int] = FINE, known: Line | None = None) -> Line:
    """φ at x ± t v for t = 2^-power scale(x), v a direction of one leaf; what is `known` is not computed again."""
    values = {} if known is None else dict(zip(known.powers, zip(known.plus, known.minus, strict=True), strict=True))
    t = 2.0 ** -np.array(powers, np.float64) * scale(p.x[leaf])
    v = to_jax(v, p.x[leaf].dtype)
    at = lambda s: p.phi([*p.x[:leaf], axpy(p.x[leaf], s, v), *p.x[leaf + 1 :]])
    values |= {power: (at(s), at(-s)) for power, s in zip(powers, t, strict=True) if power not in values}
    plus, minus = np.array([[float(side) for side in values[power]] for power in powers]).T
    return Line(np.array(powers), t, plus, minus, p.zero)


def slope(p: Potential, line: Line, fine: float = 0.0) -> Slope:
    """D₄ at the step of least error estimate; `fine` is noise seen elsewhere."""
    pairs = [k for k in range(1, len(line.powers)) if line.powers[k] == line.powers[k - 1] + 1]
    with np.errstate(all="ignore"):
        d2 = (line.plus - line.minus) / (2 * line.t)
        d4 = np.array([(4 * d2[k] - d2[k - 1]) / 3 for k in pairs])
        noise = max(base_noise(p, line), fine)
        t = line.t[pairs]
        error = np.abs(d4 - d2[pairs]) + noise / t
        error[:-1] += np.maximum(0.0, np.abs(d4[:-1] - d4[1:]) - 2 * noise / t[1:])
        error = np.where(np.isfinite(error), error, np.inf)
    best = int(np.argmin(error))
    kind = kind_of(p, line)
    sides = one_sided(line.t, line.plus, line.minus, line.zero) if kind in (KINK, JUMP) else (np.nan, np.nan)
    return Slope(float(d4[best]), float(error[best]), float(2.0 ** -line.powers[pairs[best]]), kind, sides)


def kind_of(p: Potential, line: Line) -> str:
    """Smooth, a kink, or a jump, by the second differences at every third power of two."""
    steps = np.flatnonzero((line.powers - 1) % 3 == 0)
    return classify(line.t[steps], line.second[steps], base_noise(p, line))


def base_noise(p: Potential, line: Line) -> float:
    """The noise of φ by its size and by its conditioning."""
    sizes = np.abs(np.concatenate([line.plus, line.minus, [line.zero]]))
    return max(24 * p.u * float(sizes[np.isfinite(sizes)].max(initial=0.0)), p.noise)


def fine_noise(p: Potential, lines: list[Line]) -> float:
    """The noise of φ by its second differences at the smallest steps, and by what is odd in it:

    [φ(2t) - φ(-2t)] - 2 [φ(t) - φ(-t)] = O(t³),  which sees roundoff that is symmetric about the point.
    Second differences of lines with a kink at the point are left out.
    """
    found = [0.0]
    for line in lines:
        odd = line.plus - line.minus
        pairs = [k for k in range(1, len(odd)) if line.powers[k] == line.powers[k - 1] + 1 and line.powers[k] >= 25]
        found += [2 * abs(odd[k - 1] - 2 * odd[k]) for k in pairs]
        if kind_of(p, line) not in (KINK, JUMP):
            found += (2 * np.abs(line.second[line.powers >= 24])).tolist()
    return max(v for v in found if np.isfinite(v))
