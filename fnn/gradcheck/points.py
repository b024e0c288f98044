"""The points at which a gradient is checked: the given arguments, and random ones near them inside the domain."""

from collections.abc import Callable

import jax
import numpy as np

from fnn.gradcheck.problem import GIVEN, SAMPLED, Point, Problem, generator, rms, signs, to_jax, to_numpy

SPREADS = ((0.25, True, True), (0.25, True, False), (0.25, False, False), (0.03, False, False), (1e-3, False, False))
"""(σ, whether to flip signs, whether to flip them also in leaves of one sign), widest first."""


def given(problem: Problem, y: list) -> Point:
    """Return the arguments as given, with a random cotangent."""
    return Point(problem.x, cotangent(problem, y, 0), GIVEN)


def cotangent(problem: Problem, y: list, number) -> list:
    """Draw ȳ ~ N(0, 1), or return the cotangent that the user passed."""
    if problem.cotangent is not None:
        return problem.cotangent
    rng = generator(problem.seed, "cotangent", number)
    return [np.asarray(rng.standard_normal(v.shape), v.dtype) for v in y]


def sampled(problem: Problem, finite: Callable, y: list, number: int) -> Point | None:
    """Sample another point, x (±1)(1 + σ ξ) with random signs; zeros become 0.4 σ rms(x) ξ'.

    A point is used if it is in the user's domain and the function and the expected gradient are finite there. If not,
    try again: flip signs only in leaves that hold both signs, then flip none, then reduce σ. Return None if every try
    fails. If the function has a data-dependent loop, no sign is flipped, because the loop might not end.
    """
    ct = cotangent(problem, y, number)
    for attempt, (sigma, flip, flip_all) in enumerate(SPREADS[2 * problem.loops :]):
        x = []
        for report, leaf in zip(problem.leaves, problem.x, strict=True):
            rng = generator(problem.seed, report.path, "point", number, attempt)
            x.append(_moved(leaf, rng, sigma, flip, flip_all))
        if finite(x, ct):
            crossed = any(np.any(to_numpy(a) * to_numpy(b) < 0) for a, b in zip(x, problem.x, strict=True))
            return Point(x, ct, f"{SAMPLED}, {'signs flipped, ' if crossed else ''}spread {sigma:g}")
    return None


def jittered(problem: Problem, finite: Callable, y: list) -> Point | None:
    """Sample a point close to the given one but not at its kinks: x + 0.01 rms(x) ξ."""
    ct = cotangent(problem, y, "jitter")
    for attempt, size in enumerate((1e-2, 1e-3, 1e-4)):
        x = []
        for report, leaf in zip(problem.leaves, problem.x, strict=True):
            rng = generator(problem.seed, report.path, "jitter", attempt)
            moved = to_numpy(leaf) + size * (rms(leaf) or 0.1) * rng.standard_normal(leaf.shape)
            x.append(to_jax(moved, leaf.dtype))
        if finite(x, ct):
            return Point(x, ct, f"jittered by {size:g}")
    return None


def _moved(leaf, rng, sigma: float, flip: bool, flip_all: bool) -> jax.Array:
    x = to_numpy(leaf)
    flipped = signs(rng, x.shape)
    if not flip or not (flip_all or (x.min(initial=0.0) < 0 < x.max(initial=0.0))):
        flipped = np.ones(x.shape)
    moved = x * flipped * (1 + sigma * rng.uniform(-1.7, 1.7, x.shape))
    moved = np.where(x == 0, 0.4 * sigma * (rms(x) or 1.0) * rng.standard_normal(x.shape), moved)
    return to_jax(moved, leaf.dtype)
