"""Element by element against a reference, with a tolerance from measured conditioning.

    s = max over 3 draws of ‖g(x∘(1 + 2uξ), ȳ∘(1 + 2uξ')) - g(x, ȳ)‖∞,   ξ, ξ' = ±1, u the unit roundoff
    tol = 16 s + 8 u ‖g‖∞        for each leaf

The gradient cannot be asked to be more exact than it changes when its inputs change in their last bit (Higham,
Accuracy and Stability of Numerical Algorithms, section 1.6). On correct gradients |ĝ - g| stays below 0.06 tol;
one wrong element of a million exceeds it by 1e4 in float32 and 1e13 in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fnn.gradcheck.hints import explain
from fnn.gradcheck.problem import Finding, Options, Point, Problem, generator, index_of, signs, to_numpy

DRAWS = 3


class Expected(NamedTuple):
    """A gradient, per leaf, and the tolerance that its conditioning gives."""

    g: list[np.ndarray]
    tol: list[float]


def perturbed(x: list, u: float, rng: np.random.Generator) -> list:
    """x∘(1 + 2uξ), ξ = ±1: the last bit of every element changed at random."""
    return [np.asarray(to_numpy(v) * (1 + 2 * u * signs(rng, v.shape)), v.dtype) for v in x]


def conditioned(function: Callable, problem: Problem, options: Options, point: Point, tag: str) -> Expected:
    """A backward's value at a point with the tolerance of each leaf: measured, or by rtol and atol where given."""
    g = [to_numpy(v) for v in function(point.x, problem.data, point.ct)]
    if options.rtol is not None or options.atol is not None:
        rtol, atol = options.rtol or 0.0, options.atol or 0.0
        return Expected(g, [atol + rtol * _largest(v) for v in g])
    s = [0.0] * len(g)
    for draw in range(DRAWS):
        rng = generator(options.seed, "conditioning", tag, point.name, draw)
        ct = point.ct if problem.fixed else perturbed(point.ct, problem.u, rng)
        moved = function(perturbed(point.x, problem.u, rng), problem.data, ct)
        s = [max(a, _largest(to_numpy(m) - v)) for a, m, v in zip(s, moved, g, strict=True)]
    return Expected(g, [16 * a + 8 * problem.u * _largest(v) for a, v in zip(s, g, strict=True)])


def compare(
    check: str, leaf: int, got: np.ndarray, expected: np.ndarray, tol: float, where: str = "", batch: int = 0
) -> Finding:
    """One leaf's gradient against the expected one: PASS, FAIL with index, count and hint, or INCONCLUSIVE.

    Elements whose expected value is not finite are left out: there the function has no derivative.
    """
    finite = np.isfinite(expected)
    if not finite.any() and expected.size:
        return Finding(check, leaf, "INCONCLUSIVE", (f"{check}: the expected gradient is not finite{where}",))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(finite, np.abs(got - np.where(finite, expected, 0.0)), 0.0)
        error = np.where(np.isnan(error), np.inf, error)
    worst = int(np.argmax(error)) if error.size else 0
    largest = float(error.ravel()[worst]) if error.size else 0.0
    wrong = error > tol
    if not wrong.any():
        norm = float(np.linalg.norm(expected[finite]))
        return Finding(check, leaf, "PASS", max_error=largest, tol=tol, norm=norm)
    index = index_of(worst, error.shape)
    count = int(wrong.sum())
    lines = (
        f"{check}: {count}/{error.size} elements, worst {list(index)}{where}",
        (
            f"  backward {got.ravel()[worst]:+.6g}  expected {expected.ravel()[worst]:+.6g}  "
            f"|diff| {largest:.2g} > tol {tol:.2g}"
        ),
    )
    return Finding(check, leaf, "FAIL", lines, largest, tol, index, count, hint=explain(got, expected, tol, batch))


def wrong_elements(got: np.ndarray, expected: Expected, leaf: int) -> np.ndarray:
    """The flat positions of the elements beyond the tolerance, the worst first."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got - expected.g[leaf]).ravel()
    error = np.where(np.isnan(error), np.inf, error)
    order = np.argsort(-error, kind="stable")
    return order[error[order] > expected.tol[leaf]]


def _largest(v: np.ndarray) -> float:
    v = np.abs(v[np.isfinite(v)])
    return float(v.max(initial=0.0))
