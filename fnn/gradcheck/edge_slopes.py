"""Directional derivatives at edge points: with finer steps, on one side only, at other scales, and whether they add up.

At an edge point, a function may have no derivative, or structure that is finer than the usual steps. Hence a gradient
is refused there only if

- the slope that refutes it is resolved: it agrees with the slopes at all smaller steps, down to 2^-37 of the scale;
- directional derivatives add up, D⁺(v + w) = D(v) + D⁺(w), as they do if the function has a derivative along v.
  The median of zeros, for example, has a slope along every axis, and all of them are 0, but its slope along ones is 1;
- or, if they do not add up, the slope along v is the same at all points nearby. Then every limit of gradients has that
  slope: ∂max/∂x at ties is not determined, but its entries sum to 1.

See Clarke 1990, Optimization and Nonsmooth Analysis, chapter 2, for derivatives at kinks as limits of gradients nearby.
"""

from collections.abc import Sequence

import numpy as np

from fnn.gradcheck.directional import COARSE, FINE, Line, Potential, Slope, along, base_noise, fine_noise, scale, slope
from fnn.gradcheck.kinks import JUMP, KINK, SMOOTH
from fnn.gradcheck.problem import rms, to_jax, to_numpy

FINEST = (*FINE, 27, 28, 30, 31, 33, 34, 36, 37)
"""The steps along one direction at an edge point are 2^-power for these powers."""
SMALLEST = 2.0 ** -max(FINEST)
LEAST = 1e-6
"""Steps along small entries are smaller by their size relative to the leaf, but not below this."""
DEEP = 2.0**-60
"""The factor of steps at zeros, which show structure much finer than the usual steps."""
NEAR, WITHIN = 2.0**-10, 2.0**-14
"""The relative distance of points nearby, and the factor of the steps there."""
AROUND = 12
"""The number of points nearby."""


def factors(x: np.ndarray, v: np.ndarray) -> list[float]:
    """Return the factors of the usual steps along v: 1, smaller ones along small entries, a very small one at zeros."""
    size, usual = rms(x[v != 0]), scale(x)
    if not size:
        return [1.0, DEEP]
    return [1.0] + [max(size / usual, LEAST)] * (size < usual / 2) + [size / usual] * (size / usual < LEAST)


def at_scale(p: Potential, leaf: int, v: np.ndarray, factor: float, powers: Sequence[int] = FINEST) -> Slope:
    """Return the slope of φ along v from steps that are smaller than the usual ones by a factor."""
    line = along(p, leaf, factor * v, powers)
    s = slope(p, line, fine_noise(p, [line], max(powers) - 1))
    if _grows(p, line):
        s = s._replace(error=np.inf)
    elif not np.isfinite(s.error):
        s = _one_sided(p, line)._replace(secant=s.secant)
    sides = (s.sides[0] / factor, s.sides[1] / factor)
    finer = tuple((value / factor, error / factor) for value, error in s.finer)
    return Slope(s.value / factor, s.error / factor, s.step, s.kind, sides, s.margin / factor, finer, s.secant / factor)


def derivative(p: Potential, leaf: int, v: np.ndarray) -> Slope:
    """Return the slope of φ along v, from the usual steps or, where these do not resolve it, smaller ones.

    If φ is finite on one side only, the slope is that of this side, at h → 0.
    """
    found = (at_scale(p, leaf, v, factor) for factor in factors(to_numpy(p.x[leaf]), v))
    first = next(found)
    return first if resolved(first) else next(filter(resolved, found), first)


def dense_direction(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a Gaussian direction, with smaller components for entries that are small beside the others."""
    size = rms(x)
    return rng.standard_normal(x.shape) * np.where(x == 0, 1.0, np.clip(np.abs(x) / (size or 1.0), LEAST, 1.0))


def resolved(s: Slope) -> bool:
    """Return whether a slope, or both slopes at a kink, are known to 1 % of their size."""
    if s.kind in (KINK, JUMP):
        return bool(np.isfinite(s.margin))
    return bool(np.isfinite(s.error)) and s.error <= 1e-2 * abs(s.value)


def right(s: Slope) -> float:
    """Return the slope on the right, D⁺(v); NaN at a jump."""
    return s.value if s.kind not in (KINK, JUMP) else s.sides[1] if s.kind == KINK else np.nan


def error_of(s: Slope) -> float:
    """Return the error that `right` may have."""
    return s.margin if s.kind == KINK else s.error


def adds_up(p: Potential, leaf: int, v: np.ndarray, s: Slope, rng: np.random.Generator) -> bool:
    """Return whether D⁺(v + w) = D(v) + D⁺(w) along random directions w of the other elements of the leaf."""
    if np.count_nonzero(v) == v.size:
        return True
    compared = 0
    for number in range(6):
        w = dense_direction(to_numpy(p.x[leaf]), rng)
        w = np.where(v != 0, 0.0, np.abs(w) if number % 2 else w)
        alone, both = derivative(p, leaf, w), derivative(p, leaf, v + w)
        parts = (right(both), s.value, right(alone))
        if not np.all(np.isfinite(parts)):
            continue
        size = max(*map(abs, parts), alone.secant, both.secant, s.secant)
        error = 4 * (error_of(alone) + error_of(both) + s.error) + 1e-8 * size
        if error > 0.05 * max(size, 1e-6 * abs(p.zero) / scale(p.x[leaf])):
            continue
        if abs(parts[0] - parts[1] - parts[2]) > error:
            return False
        compared += 1
    return compared >= 2


def nearby(p: Potential, leaf: int, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the slopes along v at points around x, which differ from x in all elements of the leaf."""
    found = []
    for _ in range(AROUND):
        x = to_numpy(p.x[leaf]) + NEAR * scale(p.x[leaf]) * rng.uniform(-1, 1, p.x[leaf].shape)
        beside = [*p.x[:leaf], to_jax(x.astype(np.asarray(p.x[leaf]).dtype)), *p.x[leaf + 1 :]]
        zero = float(p.phi(beside))
        if np.isfinite(zero):
            q = p._replace(x=beside, zero=zero)
            line = along(q, leaf, WITHIN * v, COARSE)
            found.append(slope(q, line, fine_noise(q, [line])).value / WITHIN)
    found = np.array(found)
    return found[np.isfinite(found)]


def _grows(p: Potential, line: Line) -> bool:
    """Return whether φ(t) - φ(-t) is not halved with t at the smallest steps: an infinite slope, or a jump."""
    with np.errstate(invalid="ignore", over="ignore"):
        before, last = np.abs(line.plus - line.minus)[-2:]
    return bool(last > 0.6 * before and last > 8 * base_noise(p, line))


def _one_sided(p: Potential, line: Line) -> Slope:
    """Return the slope of the side on which φ is finite: 2 D₁(h) - D₁(2h), where D₁(h) = ±[φ(±t) - φ(0)] / t."""
    pairs = [k for k in range(1, len(line.powers)) if line.powers[k] == line.powers[k - 1] + 1]
    noise, t = 4 * base_noise(p, line), line.t[pairs]
    best = Slope(np.nan, np.inf, np.nan, SMOOTH, (np.nan, np.nan), np.inf)
    for sign, side in ((1.0, line.plus), (-1.0, line.minus)):
        with np.errstate(all="ignore"):
            d1 = sign * (side - line.zero) / line.t
            d2 = np.array([2 * d1[k] - d1[k - 1] for k in pairs])
            beyond = np.abs(d2[:, None] - d2[None, :]) - 2 * noise / t[None, :]
            error = np.abs(d2 - d1[pairs]) + noise / t
            error += np.maximum(0.0, np.max(np.triu(beyond, 1), axis=1, initial=0.0, where=np.isfinite(beyond)))
            error = np.where(np.isfinite(error), error, np.inf)[:-1]  # the last has no smaller step to agree with
        k = int(np.argmin(error))
        if error[k] < best.error:
            step, finer = (
                float(2.0 ** -line.powers[pairs[k]]),
                tuple(zip(d2[k + 1 :].tolist(), (noise / t[k + 1 :]).tolist(), strict=True)),
            )
            best = best._replace(value=float(d2[k]), error=float(error[k]), step=step, finer=finer)
    return best
