"""Bisection by differences, which finds a wrong element without a reference.

If differences contradict the gradient of a leaf, the leaf is halved. Each half is tested along random signs, and the
half in which |D₄ - ⟨ĝ, v⟩| exceeds its tolerance by the larger factor is halved again. One wrong element of a million
takes 20 halvings. Small leaves are tested element by element, which also counts the wrong elements.
"""

import numpy as np

from fnn.gradcheck.differences import tolerance, unit
from fnn.gradcheck.directional import Potential, along, slope
from fnn.gradcheck.hints import explain
from fnn.gradcheck.options import Options
from fnn.gradcheck.pairs import elements, index_in, is_complex, numbers
from fnn.gradcheck.problem import Problem, finding, generator, signs
from fnn.gradcheck.report import LeafReport

SMALL = 64
"""Leaves up to this size are tested element by element."""
FEW = (9, 10, 12, 13, 15, 16, 18, 19)
"""The relative steps are 2^-power for these powers."""


def locate(p: Potential, problem: Problem, options: Options, leaf: int, g: np.ndarray) -> LeafReport | None:
    """Return a report that names the wrong element of a leaf, or None if no part is wrong beyond its tolerance."""
    if g.size <= SMALL:
        return _each(p, problem, options, leaf, g)
    rng = generator(problem.seed, problem.leaves[leaf].path, "bisection")
    low, high = 0, g.size
    while high - low > 1:
        middle = (low + high) // 2
        halves = [(low, middle), (middle, high)]
        scores = [max(_part(p, options, leaf, g, a, b, rng) for _ in range(2)) for a, b in halves]
        if max(scores) <= 1:
            return None
        low, high = halves[int(np.argmax(scores))]
    expected = np.zeros(g.size)
    expected[low], error, tol = _element(p, options, leaf, g, low)
    if not error > tol:
        return None
    if is_complex(problem.leaves[leaf].dtype):  # the other part of the same number
        expected[low ^ 1] = _element(p, options, leaf, g, low ^ 1)[0]
    return _located(problem, leaf, g, expected, low, error, tol, None)


def _each(p: Potential, problem: Problem, options: Options, leaf: int, g: np.ndarray) -> LeafReport | None:
    expected, errors, tols = np.array([_element(p, options, leaf, g, i) for i in range(g.size)]).T
    worst = int(np.argmax(errors / tols))
    if not errors[worst] > tols[worst]:
        return None
    report = problem.leaves[leaf]
    count = int(elements(report, (errors > tols).reshape(g.shape)).sum())
    hint = explain(numbers(report, g), numbers(report, expected.reshape(g.shape)), float(tols.max()), problem.batch)
    return _located(problem, leaf, g, expected, worst, errors[worst], tols[worst], count)._replace(hint=hint)


def _part(p: Potential, options: Options, leaf: int, g: np.ndarray, low: int, high: int, rng) -> float:
    v = np.zeros(g.size)
    v[low:high] = signs(rng, (high - low,))
    _, error, tol = _along(p, options, leaf, g, v.reshape(g.shape))
    return error / tol


def _element(p: Potential, options: Options, leaf: int, g: np.ndarray, flat: int) -> tuple[float, float, float]:
    return _along(p, options, leaf, g, unit(g, flat))


def _along(p: Potential, options: Options, leaf: int, g: np.ndarray, v: np.ndarray) -> tuple[float, float, float]:
    s = slope(p, along(p, leaf, v, FEW))
    terms = g * v
    tol = tolerance(s, terms, float(np.linalg.norm(g)), float(np.linalg.norm(v)), p.u, options)
    return s.value, abs(s.value - float(np.sum(terms))), max(tol, np.finfo(float).tiny)


def _located(
    problem: Problem, leaf: int, g: np.ndarray, expected: np.ndarray, flat: int, error: float, tol: float,
    count: int | None,
) -> LeafReport:  # fmt: skip
    report = problem.leaves[leaf]
    index, got, wanted = index_in(report, flat), numbers(report, g), numbers(report, expected.reshape(g.shape))
    return finding(
        problem,
        "differences",
        leaf,
        "FAIL",
        f"elements by differences: {'one' if count is None else f'{count}/{got.size}'} wrong, worst {list(index)}",
        f"  backward {got[index]:+.6g}  expected {wanted[index]:+.6g}  |diff| {error:.2g} > tol {tol:.2g}",
        max_error=float(error),
        tol=float(tol),
        worst_index=index,
        num_wrong=count,
    )
