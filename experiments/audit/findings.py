"""Findings: for each leaf, kind of error and point, the derivative that is worst."""

from typing import NamedTuple

import numpy as np

from experiments.audit.call import Call, leaf_of
from experiments.audit.judge import ERRORS, Verdict
from experiments.audit.measure import Jacobians, Key


class Points(NamedTuple):
    """The points at which a call is examined."""

    names: list[str]
    failed: list[tuple[str, ...]]
    """At each point, the paths of the leaves that the checker calls wrong."""
    x: np.ndarray


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


def findings(call: Call, jac: Jacobians, points: Points, verdicts: dict[Key, Verdict]) -> list[Finding]:
    """Return one finding per leaf, kind and point: that of the largest relative error."""
    groups: dict[tuple[str, str, str], list] = {}
    alone = _entry_by_entry(call, jac)
    for (p, i, j), verdict in verdicts.items():
        position = int(jac.inputs[j])
        leaf = leaf_of(call, position)
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
