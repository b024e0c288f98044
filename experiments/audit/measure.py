"""Derivatives of a call at many points: by autodiff in both modes, by finite differences, and of the exact function."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.audit.call import Call, Leaf, Programs, leaf_of
from experiments.audit.judge import Difference
from fnn.gradcheck import directional, kinks

INPUTS, OUTPUTS = 24, 16
"""The most entries of the vector and of the output that are examined, evenly spaced."""
ROWS = 8000
"""The most evaluations of the function by differences."""
UNIT = 2.0**-53
SMALL = 1e-6
"""A leaf whose entries are smaller is also examined at steps of their scale."""
WHOLE = 2.0**52
"""Beyond this, all floats are whole numbers, so that rounding to them changes nothing."""
Key = tuple[int, int, int]
"""(point, output, input), positions in the Jacobians."""


class Jacobians(NamedTuple):
    """Values and derivatives at each point, of the examined outputs by the examined inputs."""

    points: np.ndarray
    """(points, n)."""
    inputs: np.ndarray
    """The positions of the examined inputs in the vector."""
    outputs: np.ndarray
    value: np.ndarray
    """(points, outputs)."""
    moved: np.ndarray
    """(points, outputs): the largest change of the value when the vector changes in its last bit."""
    reverse: np.ndarray
    """(points, outputs, inputs)."""
    forward: np.ndarray | None
    """(points, outputs, inputs), or None if the function has no forward mode."""


def spaced(count: int, most: int) -> np.ndarray:
    """Return at most `most` positions among `count`, evenly spaced.

    >>> spaced(3, 5), spaced(9, 3)
    (array([0, 1, 2]), array([0, 4, 8]))
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else np.zeros(0, int)


def jacobians(call: Call, compiled: Programs, points: np.ndarray) -> Jacobians:
    """Evaluate the function, its reverse mode and its forward mode at each point."""
    inputs, outputs = spaced(call.size, INPUTS), spaced(compiled.outputs, OUTPUTS)
    count = len(points)
    rng = np.random.default_rng(0)
    shaken = [points * (1 + 2 * UNIT * rng.choice([-1.0, 1.0], points.shape)) for _ in range(2)]
    value = compiled.value(points)
    moved = np.max([np.abs(compiled.value(p) - value) for p in shaken], 0)
    rows = np.repeat(points, len(outputs), 0), np.tile(np.eye(compiled.outputs)[outputs], (count, 1))
    reverse = compiled.reverse(*rows).reshape(count, len(outputs), call.size)[..., inputs]
    rows = np.repeat(points, len(inputs), 0), np.tile(np.eye(call.size)[inputs], (count, 1))
    try:
        forward = compiled.forward(*rows).reshape(count, len(inputs), compiled.outputs)[..., outputs].swapaxes(1, 2)
    except TypeError:  # a custom_vjp or a callback
        forward = None
    return Jacobians(points, inputs, outputs, value[:, outputs], moved[:, outputs], reverse, forward)


def scale_of(x: np.ndarray, leaf: Leaf) -> float:
    """Return the scale of the steps of a leaf."""
    part = x[leaf.start : leaf.start + leaf.size]
    largest = float(np.max(np.abs(part)))
    return largest * directional.scale(part / largest) if largest > 1 else directional.scale(part)


def differences(
    call: Call, compiled: Programs, jac: Jacobians, columns: Iterable[tuple[int, int]], always: Collection[Key]
) -> dict[Key, Difference]:
    """Measure derivatives by finite differences where autodiff seems to disagree with them.

    Args:
      call: the call.
      compiled: its programs.
      jac: what is known at each point.
      columns: pairs (point, position in jac.inputs), most important first. At most ROWS evaluations are made.
      always: derivatives to return even if differences confirm autodiff at first sight.

    Returns:
      The differences that do not confirm autodiff at first sight.
    """
    pairs = list(columns)[: ROWS // (2 * len(directional.FINE))]
    unit, leaves = np.eye(call.size), [leaf_of(call, int(j)) for j in jac.inputs]
    steps = [(p, unit[jac.inputs[j]], scale_of(jac.points[p], leaves[j])) for p, j in pairs]
    # A function such as x/‖x‖ changes at the scale of the leaf, however small.
    small = [(p, j) for p, j in pairs if 0 < _largest(jac.points[p], leaves[j]) < SMALL]
    close = [(p, unit[jac.inputs[j]], _largest(jac.points[p], leaves[j])) for p, j in small]
    near = dict(zip(small, lines(compiled, jac, close), strict=True))
    result = {}
    for (p, j), of_outputs in zip(pairs, lines(compiled, jac, steps), strict=True):
        for i, line in enumerate(of_outputs):
            got, noise = float(jac.reverse[p, i, j]), 2 * float(jac.moved[p, i])
            if (p, j) in near and _resolved(fine := of_line(near[p, j][i], noise, got)):
                result |= {} if _confirmed(near[p, j][i], got) and (p, i, j) not in always else {(p, i, j): fine}
            elif (p, i, j) in always or not _confirmed(line, got):
                result[p, i, j] = of_line(line, noise, got)
    return result


def lines(
    compiled: Programs, jac: Jacobians, steps: Sequence[tuple[int, np.ndarray, float]]
) -> list[list[directional.Line]]:
    """Return the outputs along lines: for each point, direction and scale of the steps, one line per output."""
    if not steps:
        return []
    powers = np.array(directional.FINE)
    rows, sizes = [], []
    for p, direction, size in steps:
        t = 2.0 ** -powers.astype(float) * size
        sizes.append(t)
        rows += [jac.points[p] + sign * t[:, None] * direction for sign in (1.0, -1.0)]
    found = compiled.value(np.concatenate(rows))[:, jac.outputs].reshape(len(steps), 2, len(powers), -1)
    return [
        [directional.Line(powers, t, plus[:, i], minus[:, i], float(jac.value[p, i])) for i in range(len(jac.outputs))]
        for (p, _, _), t, (plus, minus) in zip(steps, sizes, found, strict=True)
    ]


def _largest(x: np.ndarray, leaf: Leaf) -> float:
    return float(np.max(np.abs(x[leaf.start : leaf.start + leaf.size])))


def _resolved(d: Difference) -> bool:
    return d.sides is None and d.error <= 0.01 * abs(d.value)


def _confirmed(line: directional.Line, got: float) -> bool:
    """Return whether three central differences agree with a derivative to 7 digits, or nothing changes and it is 0."""
    if got == 0 and np.all(line.plus == line.zero) and np.all(line.minus == line.zero):
        return True
    with np.errstate(all="ignore"):
        d2 = (line.plus - line.minus) / (2 * line.t)
        return bool(np.sum(np.abs(d2 - got) <= 1e-7 * abs(got)) >= 3)


def of_line(line: directional.Line, noise: float, got: float) -> Difference:
    """Return the derivative along a line, whose values have this noise, to be compared with that by autodiff."""
    noise = noise if np.isfinite(noise) else 0.0
    p = directional.Potential(phi=_nothing, x=[], zero=line.zero, noise=noise, u=UNIT)
    s = directional.slope(p, line, directional.fine_noise(p, [line]))
    with np.errstate(all="ignore"):
        right, left = (line.plus - line.zero) / line.t - got, (line.zero - line.minus) / line.t - got
        both = np.where(right * left > 0, np.minimum(np.abs(right), np.abs(left)), 0.0)
        both -= 2 * directional.base_noise(p, line) / line.t
    sides = None
    if s.kind == kinks.KINK:
        sides = s.sides if np.all(np.isfinite(s.sides)) else (-np.inf, np.inf)
    elif s.kind == kinks.JUMP:
        sides = (-np.inf, np.inf)
    apart = float(np.max(both, initial=0.0, where=np.isfinite(both)))
    best = float(s.step * line.t[0] * 2.0 ** line.powers[0])
    return Difference(
        s.value,
        s.error,
        sides,
        s.margin if np.isfinite(s.margin) else 0.0,
        apart,
        coarse=best > 1 or abs(line.zero) > WHOLE,
    )


def _nothing(x: Any) -> Any:
    raise AssertionError("all values of the line are known")
