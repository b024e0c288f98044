"""Every derivative of a call at every point, by autodiff, by differences and of the exact function: what is wrong.

The points are those of `fnn.gradcheck` with points="edges": as given, sampled, and leaf by leaf zeros, ones, ties,
halves and extreme numbers. Functions with an exact counterpart are also examined at SWEEP, numbers of all magnitudes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.audit import exact
from experiments.audit.call import Call, Programs, programs, vector
from experiments.audit.judge import ERRORS, NOISY, UNRESOLVED, Evidence, Verdict, close, judge
from experiments.audit.measure import Exacts, Jacobians, differences, jacobians
from fnn.gradcheck import CheckedPoint

EXACT_SECONDS = 3.0
"""Time for the exact function of one target."""
SIZES = (
    1e-300,
    1e-38,
    1e-20,
    1e-9,
    1e-5,
    1e-3,
    0.1,
    0.5,
    1,
    2,
    3,
    4,
    6,
    8,
    10,
    15,
    20,
    30,
    50,
    100,
    170,
    700,
    1e4,
    1e8,
)
SWEEP = np.array([*SIZES, 1e16, 1e30, 1e100, 1e300])
SAME = 1e-3


class Finding(NamedTuple):
    """One derivative that is wrong, at the point where it is worst."""

    argument: str
    """The leaf by which the function is differentiated: the argument's position and the path within it."""
    kind: str
    point: str
    """The name of the point."""
    got: float
    expected: tuple[float, ...]
    by: str
    """Who agrees on the expected number."""
    output: int
    """The position of the output's entry among all of them."""
    entry: int
    """The position of the entry in the leaf."""
    checker: bool
    """Whether `fnn.gradcheck` alone calls the leaf wrong at this point."""
    number: int
    """How many derivatives of the leaf have this kind of error at this point."""
    x: np.ndarray
    """The vector of differentiated entries."""
    alone: bool
    """Whether each output depends on the entries of the arguments at its own position only."""


class _Points(NamedTuple):
    names: list[str]
    failed: list[tuple[str, ...]]
    """At each point, the paths of the leaves that the checker calls wrong."""
    x: np.ndarray


def survey(call: Call, checked: Sequence[CheckedPoint]) -> tuple[list[Finding], Counter, int]:
    """Return the findings of a call, how often differences were noisy or unresolved, and the number of points."""
    compiled = programs(call)
    given = vector(call, call.args)
    exacts = Exacts(call, compiled.outputs, EXACT_SECONDS if exact.available() else 0.0)
    names, failed = [p.name for p in checked], [p.failed for p in checked]
    rows = [vector(call, p.args) for p in checked]
    if exacts.pairing is not None and exacts.left > 0:
        more = _sweep(call, compiled, given)
        names, failed, rows = names + ["sweep"] * len(more), failed + [()] * len(more), rows + more
    points = _Points(names, failed, np.array(rows))
    jac = jacobians(call, compiled, points.x)
    evidence = _evidence(call, compiled, jac, points, exacts)
    verdicts = {key: verdict for key, e in evidence.items() if (verdict := judge(e))}
    others = Counter(v.kind for v in verdicts.values() if v.kind in (NOISY, UNRESOLVED))
    found = {key: verdict for key, verdict in verdicts.items() if verdict.kind in ERRORS}
    return _findings(call, jac, points, found), others, len(rows)


def _sweep(call: Call, compiled: Programs, given: np.ndarray) -> list[np.ndarray]:
    """Return points at which the entries of one leaf are numbers of SWEEP, where the function is finite."""
    rows = []
    for leaf in call.leaves:
        if leaf.size == 0 or leaf.complex:
            continue
        values = np.concatenate([SWEEP, -SWEEP])
        good = []
        alone = np.repeat(given[None], len(values), 0)  # one number at a time, to find those in the domain
        alone[:, leaf.start : leaf.start + leaf.size] = values[:, None]
        good = values[np.isfinite(compiled.value(alone)).all(1)]
        for start in range(0, len(good), leaf.size):
            x = given.copy()
            part = good[start : start + leaf.size]
            x[leaf.start : leaf.start + len(part)] = part
            rows.append(x)
    return rows


def _evidence(call: Call, compiled: Programs, jac: Jacobians, points: _Points, exacts: Exacts) -> dict:
    """Return the Evidence of each derivative that is not confirmed at first sight, by (point, output, input)."""
    known = {}
    for p, i, j in np.ndindex(jac.reverse.shape):
        if np.isfinite(jac.value[p, i]):
            reference = exacts.at(points.x[p], int(jac.outputs[i]), int(jac.inputs[j]))
            if reference is not None:
                known[p, i, j] = reference
    doubtful = [key for key, e in known.items() if e.slope is None or not _agrees(jac, points.x, key, e.slope)]
    leaves = [next(leaf for leaf in call.leaves if leaf.start <= j < leaf.start + leaf.size) for j in jac.inputs]
    failed = [
        (p, j)
        for p, paths in enumerate(points.failed)
        for j, leaf in enumerate(leaves)
        if leaf.name in paths or (paths and len(call.args) == 1)
    ]
    rest = [(p, j) for p, name in enumerate(points.names) if name != "sweep" for j in range(len(jac.inputs))]
    columns = dict.fromkeys([*((p, j) for p, _, j in doubtful), *failed, *rest])
    measured = differences(call, compiled, jac, columns)
    found, hidden = {}, _hidden(jac)
    for key in {**dict.fromkeys(doubtful), **measured, **dict.fromkeys(_modes_differ(jac))}:
        p, i, j = key
        if not np.isfinite(jac.value[p, i]) or hidden[key]:
            continue
        natural = _natural(jac, points.x, key)
        forward = float(jac.forward[key]) if jac.forward is not None else None
        e = Evidence(
            float(jac.reverse[key]), forward, measured.get(key), known.get(key), float(jac.value[p, i]), natural
        )
        if e.exact is not None and key in doubtful and e.exact.slope is not None:
            e = e._replace(spread=exacts.spread(points.x[p], int(jac.outputs[i]), int(jac.inputs[j])))
        found[key] = e
    return found


def _natural(jac: Jacobians, x: np.ndarray, key: tuple[int, int, int]) -> float:
    p, i, j = key
    return abs(float(jac.value[p, i])) / max(abs(float(x[p, jac.inputs[j]])), SAME)


def _agrees(jac: Jacobians, x: np.ndarray, key: tuple[int, int, int], slope: float) -> bool:
    return close(float(jac.reverse[key]), slope, _natural(jac, x, key))


def _hidden(jac: Jacobians) -> np.ndarray:
    """Return which derivatives are NaN because autodiff multiplies 0 by an infinite derivative of the same input.

    Where ∂f₁/∂x is infinite, reverse mode with the cotangent of f₂ alone computes 0 · ∞ + ∂f₂/∂x. The infinite
    derivative itself is examined.
    """
    infinite = ~np.isfinite(jac.reverse)
    nan = np.isnan(jac.reverse)
    if jac.forward is not None:
        infinite |= ~np.isfinite(jac.forward)
        nan |= np.isnan(jac.forward)
    proper = infinite & ~nan
    return nan & (proper.any(1, keepdims=True) | proper.any(2, keepdims=True))


def _modes_differ(jac: Jacobians) -> list[tuple[int, int, int]]:
    if jac.forward is None:
        return []
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(jac.forward), np.abs(jac.reverse))
        same = (np.abs(jac.forward - jac.reverse) <= 1e-9 * size) | (np.isnan(jac.forward) & np.isnan(jac.reverse))
    return [(int(p), int(i), int(j)) for p, i, j in np.argwhere(~(same | (jac.forward == jac.reverse)))]


def _findings(call: Call, jac: Jacobians, points: _Points, verdicts: dict[Any, Verdict]) -> list[Finding]:
    """Return one finding per leaf, kind and point: that of the largest relative error."""
    groups: dict[tuple[str, str, str], list] = {}
    alone = _entry_by_entry(call, jac)
    for (p, i, j), verdict in verdicts.items():
        position = int(jac.inputs[j])
        leaf = next(leaf for leaf in call.leaves if leaf.start <= position < leaf.start + leaf.size)
        groups.setdefault((leaf.name, verdict.kind, points.names[p]), []).append((p, i, position - leaf.start, verdict))
    found = []
    for (name, kind, point), members in groups.items():
        p, i, entry, worst = max(members, key=lambda member: _error(member[-1]))
        path = name if len(call.args) > 1 else name.partition("]")[2]
        found.append(
            Finding(
                name,
                kind,
                point,
                worst.got,
                worst.expected,
                worst.by,
                int(jac.outputs[i]),
                entry,
                path in points.failed[p],
                len(members),
                points.x[p],
                alone,
            )
        )
    return sorted(found, key=lambda f: (ERRORS.index(f.kind), f.argument))


def _entry_by_entry(call: Call, jac: Jacobians) -> bool:
    """Return whether the derivative of each output by the other entries of every leaf is 0 at the given arguments."""
    sizes = {leaf.size for leaf in call.leaves}
    if len(sizes) != 1 or sizes != {len(jac.outputs)} or len(jac.inputs) != call.size:
        return False
    blocks = np.split(jac.reverse[0], len(call.leaves), axis=1)
    return all(not np.any(block[~np.eye(len(block), dtype=bool)]) for block in blocks)


def _error(verdict: Verdict) -> float:
    """Return the relative error of a verdict, for choosing the worst."""
    if not np.isfinite(verdict.got):
        return np.inf
    return min(abs(verdict.got - v) / max(abs(v), abs(verdict.got), 1e-300) for v in verdict.expected)
