"""The points a gradient is checked at: the arguments as given, and others with both signs, inside the domain."""

from collections.abc import Callable

import jax
import numpy as np

from fnn.gradcheck.problem import GIVEN, SAMPLED, Options, Point, Problem, generator, rms, signs, to_jax, to_numpy

SPREADS = ((0.25, True, True), (0.25, True, False), (0.25, False, False), (0.03, False, False), (1e-3, False, False))
"""(σ, flip signs, flip those of leaves with one sign only too), from the widest to the narrowest."""


def given(problem: Problem, options: Options, y: list) -> Point:
    """The arguments as given, with a random cotangent."""
    return Point(problem.x, cotangent(problem, options, y, 0), GIVEN)


def cotangent(problem: Problem, options: Options, y: list, number) -> list:
    """ȳ ~ N(0, 1), or the one that the user gave."""
    if problem.cotangent is not None:
        return problem.cotangent
    rng = generator(options.seed, "cotangent", number)
    return [np.asarray(rng.standard_normal(v.shape), v.dtype) for v in y]


def sampled(problem: Problem, options: Options, finite: Callable, y: list, number: int, loops: bool) -> Point | None:
    """Another point: each element times ±(1 + σ ξ), plus 0.1 σ' ξ for zeros; the widest where all is finite.

    Signs flip at random. If that leaves the domain (the user's predicate, or values or expected gradients that are not
    finite), only leaves that hold both signs are flipped, then none, then σ shrinks. None where nothing stays inside.
    A data-dependent loop (`loops`) might never end far from what it was written for: there no sign is flipped.
    """
    ct = cotangent(problem, options, y, number)
    for attempt, (sigma, flip, flip_all) in enumerate(SPREADS[2 * loops :]):
        x = []
        for path, leaf in zip(problem.paths, problem.x, strict=True):
            rng = generator(options.seed, path, "point", number, attempt)
            x.append(_moved(leaf, rng, sigma, flip, flip_all))
        if finite(x, ct):
            crossed = any(np.any(to_numpy(a) * to_numpy(b) < 0) for a, b in zip(x, problem.x, strict=True))
            return Point(x, ct, f"{SAMPLED}, {'signs flipped, ' if crossed else ''}spread {sigma:g}")
    return None


def jittered(problem: Problem, options: Options, finite: Callable, y: list) -> Point | None:
    """A point beside the given one, off its kinks: x + 0.01 rms(x) ξ."""
    ct = cotangent(problem, options, y, "jitter")
    for attempt, size in enumerate((1e-2, 1e-3, 1e-4)):
        x = []
        for path, leaf in zip(problem.paths, problem.x, strict=True):
            rng = generator(options.seed, path, "jitter", attempt)
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
