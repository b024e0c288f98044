"""Comparison with a reference element by element, at a tolerance derived from measured conditioning.

    s = max over 3 draws of ‖g(x∘(1 + 2uξ), ȳ∘(1 + 2uξ')) - g(x, ȳ)‖∞,   ξ, ξ' = ±1, u the unit roundoff
    tol = 16 s + 8 u ‖g‖∞        for each leaf

No gradient can be more exact than the amount by which it changes when the last bits of its inputs change (Higham 2002,
Accuracy and Stability of Numerical Algorithms, section 1.6). On correct gradients, |ĝ - g| stayed below 0.06 tol. One
wrong element of a million exceeds tol by a factor of 1e4 in float32 and of 1e13 in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fnn.gradcheck.hints import explain
from fnn.gradcheck.options import Options
from fnn.gradcheck.pairs import elements, index_in, numbers
from fnn.gradcheck.problem import Point, Problem, finding, generator, signs, to_numpy
from fnn.gradcheck.report import LeafReport

DRAWS = 3


class Expected(NamedTuple):
    """The expected gradient of each leaf, and its tolerance."""

    g: list[np.ndarray]
    tol: list[float]


def perturbed(x: list, u: float, rng: np.random.Generator) -> list:
    """Return x∘(1 + 2uξ) with ξ = ±1: change the last bit of every element at random."""
    return [np.asarray(to_numpy(v) * (1 + 2 * u * signs(rng, v.shape)), v.dtype) for v in x]


def conditioned(function: Callable, problem: Problem, options: Options, point: Point, tag: str) -> Expected:
    """Evaluate a backward at a point, with a tolerance per leaf: measured, or from rtol and atol if given."""
    g = [to_numpy(v) for v in function(point.x, problem.data, point.ct)]
    if options.rtol is not None or options.atol is not None:
        rtol, atol = options.rtol or 0.0, options.atol or 0.0
        return Expected(g, [atol + rtol * _largest(v) for v in g])
    s = [0.0] * len(g)
    for draw in range(DRAWS):
        rng = generator(problem.seed, "conditioning", tag, point.name, draw)
        ct = point.ct if problem.fixed else perturbed(point.ct, problem.u, rng)
        moved = function(perturbed(point.x, problem.u, rng), problem.data, ct)
        with np.errstate(invalid="ignore"):  # infinite minus infinite
            s = [max(a, _largest(to_numpy(m) - v)) for a, m, v in zip(s, moved, g, strict=True)]
    return Expected(g, [16 * a + 8 * problem.u * _largest(v) for a, v in zip(s, g, strict=True)])


def compare(
    problem: Problem,
    check: str,
    leaf: int,
    got: np.ndarray,
    expected: np.ndarray,
    tol: float,
    *,
    where: str = "",
    batch: int = 0,
) -> LeafReport:
    """Compare the gradient of one leaf with the expected one. A failure names the worst index and the likely cause.

    Elements whose expected value is not finite are ignored, because the function has no derivative there.
    """
    finite = np.isfinite(expected)
    if not finite.any() and expected.size:
        return finding(problem, check, leaf, "INCONCLUSIVE", f"{check}: the expected gradient is not finite{where}")
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(finite, np.abs(got - np.where(finite, expected, 0.0)), 0.0)
        error = np.where(np.isnan(error), np.inf, error)
    worst = int(np.argmax(error)) if error.size else 0
    largest = float(error.ravel()[worst]) if error.size else 0.0
    wrong = error > tol
    if not wrong.any():
        norm = float(np.linalg.norm(expected[finite]))
        return finding(problem, check, leaf, "PASS", max_error=largest, tol=tol, norm=norm)
    report = problem.leaves[leaf]
    index, wrong = index_in(report, worst), elements(report, wrong)
    count, got, expected = int(wrong.sum()), numbers(report, got), numbers(report, expected)
    return finding(
        problem,
        check,
        leaf,
        "FAIL",
        f"{check}: {count}/{wrong.size} elements, worst {list(index)}{where}",
        f"  backward {got[index]:+.6g}  expected {expected[index]:+.6g}  |diff| {largest:.2g} > tol {tol:.2g}",
        max_error=largest,
        tol=tol,
        worst_index=index,
        num_wrong=count,
        hint=explain(got, expected, tol, batch),
    )


def wrong_elements(got: np.ndarray, expected: Expected, leaf: int) -> np.ndarray:
    """Return the flat positions of the elements whose error exceeds the tolerance, worst first."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got - expected.g[leaf]).ravel()
    error = np.where(np.isnan(error), np.inf, error)
    order = np.argsort(-error, kind="stable")
    return order[error[order] > expected.tol[leaf]]


def _largest(v: np.ndarray) -> float:
    v = np.abs(v[np.isfinite(v)])
    return float(v.max(initial=0.0))
