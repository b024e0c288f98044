"""Points without a derivative: what tells them from wrong derivatives.

Where arguments are tied, the median has the partial derivatives 0, but the slope 1 along (1, …, 1). A function has a
derivative only if its slope along any v is Σ vᵢ ∂f/∂xᵢ. At a kink, a derivative that the function has beside the point
is a legitimate convention, even if the kinks of several entries meet and no one-sided slope shows it.
"""

import numpy as np

from experiments.audit.call import Call, Leaf, Programs
from experiments.audit.judge import Difference
from experiments.audit.measure import Jacobians, Key, lines, of_line, scale_of

DIRECTIONS = 2
"""The number of random directions that test additivity."""
BESIDE = 16
"""The number of points beside a kink."""
DISTANCE = 2.0**-20
"""Their distance, relative to the scale of the leaf."""


def additive(
    call: Call, compiled: Programs, jac: Jacobians, measured: dict[Key, Difference], p: int, leaf: Leaf
) -> np.ndarray:
    """Return for each output whether its slopes along random directions of a leaf are the sums of its partial slopes.

    Args:
      call: the call.
      compiled: its programs.
      jac: what is known at each point.
      measured: the differences where they do not confirm autodiff; elsewhere the derivative is that by autodiff.
      p: the number of the point.
      leaf: the leaf.
    """
    columns = [j for j, position in enumerate(jac.inputs) if leaf.start <= position < leaf.start + leaf.size]
    outputs = range(len(jac.outputs))
    slopes = np.array([[_slope(jac, measured, (p, i, j)) for j in columns] for i in outputs])
    errors = np.array([[_error(measured, (p, i, j)) for j in columns] for i in outputs])
    rng = np.random.default_rng(leaf.start)
    steps = []
    for _ in range(DIRECTIONS):
        v = np.zeros(call.size)
        v[jac.inputs[columns]] = rng.standard_normal(len(columns))
        steps.append((p, v, scale_of(jac.points[p], leaf)))
    holds = np.ones(len(outputs), bool)
    for (_, v, _), of_outputs in zip(steps, lines(compiled, jac, steps), strict=True):
        part = v[jac.inputs[columns]]
        for i, line in enumerate(of_outputs):
            expected, terms = float(slopes[i] @ part), float(np.abs(slopes[i]) @ np.abs(part))
            along = of_line(line, 2 * float(jac.moved[p, i]), expected)
            allowed = 4 * (along.error + float(errors[i] @ np.abs(part))) + 1e-4 * terms
            holds[i] &= along.sides is None and abs(along.value - expected) <= allowed
    return holds


def attained(compiled: Programs, jac: Jacobians, p: int, leaf: Leaf) -> np.ndarray:
    """Return for each output and input whether its derivative lies among those at random points beside point p."""
    rng, count = np.random.default_rng(leaf.start), len(jac.outputs)
    beside = np.repeat(jac.points[p][None], BESIDE, 0)
    moves = DISTANCE * scale_of(jac.points[p], leaf) * rng.standard_normal((BESIDE, leaf.size))
    beside[:, leaf.start : leaf.start + leaf.size] += moves
    rows = np.repeat(beside, count, 0), np.tile(np.eye(compiled.outputs)[jac.outputs], (BESIDE, 1))
    near = compiled.reverse(*rows).reshape(BESIDE, count, -1)[..., jac.inputs]
    margin = 1e-4 * np.max(np.abs(near), 0)  # derivatives change between the points
    with np.errstate(invalid="ignore"):
        return (np.min(near, 0) - margin <= jac.reverse[p]) & (jac.reverse[p] <= np.max(near, 0) + margin)


def _slope(jac: Jacobians, measured: dict[Key, Difference], key: Key) -> float:
    return measured[key].value if key in measured else float(jac.reverse[key])


def _error(measured: dict[Key, Difference], key: Key) -> float:
    return measured[key].error if key in measured else 0.0
