"""Finding a wrong element without a reference: finite differences over ever smaller parts of a leaf.

A leaf in which differences contradict the backward is halved; the half in which |D₄ - ⟨ĝ, v⟩| exceeds its tolerance by
more, along random signs, is halved again: one wrong element of a million in 20 halvings. Small leaves are tested
element by element, which also counts the wrong ones.
"""

import numpy as np

from fnn.gradcheck.differences import tolerance, unit
from fnn.gradcheck.lines import Potential, along, slope
from fnn.gradcheck.problem import Finding, Options, Problem, generator, index_of, signs

SMALL = 64
FEW = (9, 10, 12, 13, 15, 16, 18, 19)


def locate(p: Potential, problem: Problem, options: Options, leaf: int, g: np.ndarray) -> Finding | None:
    """The wrong element of a leaf, or None where no part of it can be told to be wrong."""
    if g.size <= SMALL:
        return _each(p, options, leaf, g)
    rng = generator(options.seed, problem.paths[leaf], "bisection")
    low, high = 0, g.size
    while high - low > 1:
        middle = (low + high) // 2
        halves = [(low, middle), (middle, high)]
        scores = [max(_part(p, options, leaf, g, a, b, rng) for _ in range(2)) for a, b in halves]
        if max(scores) <= 1:
            return None
        low, high = halves[int(np.argmax(scores))]
    expected, error, tol = _element(p, options, leaf, g, low)
    return _finding(leaf, g, low, expected, error, tol, None) if error > tol else None


def _each(p: Potential, options: Options, leaf: int, g: np.ndarray) -> Finding | None:
    expected, errors, tols = np.array([_element(p, options, leaf, g, i) for i in range(g.size)]).T
    worst = int(np.argmax(errors / tols))
    if not errors[worst] > tols[worst]:
        return None
    return _finding(leaf, g, worst, expected[worst], errors[worst], tols[worst], int((errors > tols).sum()))


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


def _finding(
    leaf: int, g: np.ndarray, flat: int, expected: float, error: float, tol: float, count: int | None
) -> Finding:
    index = index_of(flat, g.shape)
    lines = (
        f"elements by differences: {'one' if count is None else f'{count}/{g.size}'} wrong, worst {list(index)}",
        f"  backward {g.ravel()[flat]:+.6g}  expected {expected:+.6g}  |diff| {error:.2g} > tol {tol:.2g}",
    )
    return Finding("differences", leaf, "FAIL", lines, float(error), float(tol), index, count)
