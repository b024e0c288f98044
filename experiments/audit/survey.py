"""Every derivative of a call at every point, by autodiff, by differences and of the exact function: what is wrong.

The points are those of `fnn.gradcheck` with points="edges": as given, sampled, and leaf by leaf zeros, ones, ties,
halves and extreme numbers. Functions with an exact counterpart are also examined at SWEEP, numbers of all magnitudes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from experiments.audit import exact
from experiments.audit.call import Call, Leaf, Programs, leaf_of, programs, vector
from experiments.audit.corners import additive, attained
from experiments.audit.exact_entries import Exacts
from experiments.audit.findings import Finding, Points, findings
from experiments.audit.judge import (
    CONVENTION,
    DIFFERENCES,
    ERRORS,
    INEXACT,
    NOISY,
    NONE,
    NOT_FINITE,
    OUTSIDE,
    RELATIVE,
    UNRESOLVED,
    WRONG,
    Difference,
    Evidence,
    Verdict,
    close,
    judge,
)
from experiments.audit.measure import Jacobians, Key, differences, jacobians
from fnn.gradcheck import CheckedPoint

EXACT_SECONDS = 3.0
"""Time for the exact function of one target."""
SMALL_SIZES = (1e-38, 1e-20, 1e-9, 1e-5, 1e-3, 0.1, 0.5)
LARGE_SIZES = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 50, 100, 170, 700, 1e4, 1e8, 1e16, 1e30, 1e100)
SWEEP = np.array([*SMALL_SIZES, *LARGE_SIZES])
SMALL = 1e-3
"""Numbers below this count as of this size, as in the steps of differences."""


def survey(call: Call, checked: Sequence[CheckedPoint], narrow: bool) -> tuple[list[Finding], Counter, int]:
    """Return the findings of a call, how often differences decided nothing, and the number of points.

    Args:
      call: the call.
      checked: the points of the checker.
      narrow: whether the function computes in less than float64. Then its differences are noise, and only derivatives
        that are not finite are findings.
    """
    compiled = programs(call)
    given = vector(call, call.args)
    exacts = Exacts(call, compiled.outputs, EXACT_SECONDS if exact.available() else 0.0)
    names, failed = [p.name for p in checked], [p.failed for p in checked]
    rows = [vector(call, p.args) for p in checked]
    if exacts.pairing is not None and exacts.left > 0:
        more = _sweep(call, compiled, given)
        names, failed, rows = names + ["sweep"] * len(more), failed + [()] * len(more), rows + more
    points = Points(names, failed, np.array(rows))
    jac = jacobians(call, compiled, points.x)
    evidence, measured = _evidence(call, compiled, jac, points, exacts)
    verdicts = {key: verdict for key, e in evidence.items() if (verdict := judge(e))}
    verdicts |= _without_derivative(call, compiled, jac, measured, verdicts)
    verdicts |= _doubted(call, jac, points, verdicts)
    others = Counter(v.kind for v in verdicts.values() if v.kind in (NOISY, UNRESOLVED, CONVENTION))
    found = {key: v for key, v in verdicts.items() if v.kind in ((NOT_FINITE, NONE) if narrow else ERRORS)}
    return findings(call, jac, points, found), others, len(rows)


def _without_derivative(
    call: Call, compiled: Programs, jac: Jacobians, measured: dict[Key, Difference], verdicts: dict[Key, Verdict]
) -> dict[Key, Verdict]:
    """Return new verdicts for errors that differences alone have found, where the function has no derivative."""
    groups: dict[tuple[int, Leaf, bool], list[Key]] = {}
    for (p, i, j), verdict in verdicts.items():
        kink = verdict.kind == OUTSIDE
        if verdict.by == DIFFERENCES and (kink or verdict.kind in (WRONG, INEXACT, NOT_FINITE)):
            groups.setdefault((p, leaf_of(call, int(jac.inputs[j])), kink), []).append((p, i, j))
    changed = {}
    for (p, leaf, kink), keys in groups.items():
        right = attained(compiled, jac, p, leaf) if kink else ~additive(call, compiled, jac, measured, p, leaf)
        for _, i, j in keys:
            if right[i, j] if kink else right[i]:
                verdict = verdicts[p, i, j]
                changed[p, i, j] = verdict._replace(kind=CONVENTION if np.isfinite(verdict.got) else NONE)
    return changed


def _doubted(call: Call, jac: Jacobians, points: Points, verdicts: dict[Key, Verdict]) -> dict[Key, Verdict]:
    """Return new verdicts for errors without an exact function that only the differences of one entry show.

    The checker, which compares more steps and directions, does not call the leaf wrong at this point, or the error is
    below the rounding of the largest derivative of this output.
    """
    changed = {}
    for (p, i, j), verdict in verdicts.items():
        if "exact" in verdict.by or not np.isfinite(verdict.got):
            continue
        leaf, paths, row = leaf_of(call, int(jac.inputs[j])), points.failed[p], np.abs(jac.reverse[p, i])
        agreed = leaf.name in paths or (bool(paths) and len(call.args) == 1)
        error = min(abs(verdict.got - expected) for expected in verdict.expected)
        alone = verdict.by == DIFFERENCES and verdict.kind in (WRONG, INEXACT, OUTSIDE) and not agreed
        if alone or error <= RELATIVE * np.max(row, initial=0.0, where=np.isfinite(row)):
            changed[p, i, j] = verdict._replace(kind=UNRESOLVED)
    return changed


def _sweep(call: Call, compiled: Programs, given: np.ndarray) -> list[np.ndarray]:
    """Return points at which the entries of one leaf are numbers of SWEEP, where the function is finite."""
    rows = []
    for leaf in call.leaves:
        if leaf.size == 0 or leaf.complex:
            continue
        values = _in_domain(call, leaf, np.concatenate([SWEEP, -SWEEP]))
        if not len(values):
            continue
        alone = np.repeat(given[None], len(values), 0)  # one number at a time, to find those in the domain
        alone[:, leaf.start : leaf.start + leaf.size] = values[:, None]
        good = values[np.isfinite(compiled.value(alone)).all(1)]
        for start in range(0, len(good), leaf.size):
            x = given.copy()
            part = good[start : start + leaf.size]
            x[leaf.start : leaf.start + len(part)] = part
            rows.append(x)
    return rows


def _in_domain(call: Call, leaf: Leaf, values: np.ndarray) -> np.ndarray:
    """Return the numbers that the domain of a leaf allows. Outside, the function may not end."""
    inside = call.target.args[leaf.argument].inside
    return values if inside is None or leaf.path else values[np.broadcast_to(inside(values), values.shape)]


def _evidence(
    call: Call, compiled: Programs, jac: Jacobians, points: Points, exacts: Exacts
) -> tuple[dict[Key, Evidence], dict[Key, Difference]]:
    """Return the evidence about each derivative that is not confirmed at first sight, and all differences."""
    known = {}
    for p, i, j in np.ndindex(jac.reverse.shape):
        if np.isfinite(jac.value[p, i]):
            reference = exacts.at(points.x[p], int(jac.outputs[i]), int(jac.inputs[j]))
            if reference is not None:
                known[p, i, j] = reference
    doubtful = [key for key, e in known.items() if e.slope is None or not _agrees(jac, points.x, key, e.slope)]
    leaves = [leaf_of(call, int(j)) for j in jac.inputs]
    failed = [
        (p, j)
        for p, paths in enumerate(points.failed)
        for j, leaf in enumerate(leaves)
        if leaf.name in paths or (paths and len(call.args) == 1)
    ]
    rest = [(p, j) for p, name in enumerate(points.names) if name != "sweep" for j in range(len(jac.inputs))]
    modes = _modes_differ(jac)
    columns = dict.fromkeys([*((p, j) for p, _, j in doubtful), *failed, *((p, j) for p, _, j in modes), *rest])
    measured = differences(call, compiled, jac, columns, {*doubtful, *modes})
    found, hidden = {}, _hidden(jac)
    typical = float(np.max(np.abs(jac.reverse[0]), initial=0.0, where=np.isfinite(jac.reverse[0])))
    for key in {**dict.fromkeys(doubtful), **measured, **dict.fromkeys(modes)}:
        p, i, j = key
        if not np.isfinite(jac.value[p, i]) or hidden[key]:
            continue
        e = Evidence(
            reverse=float(jac.reverse[key]),
            forward=float(jac.forward[key]) if jac.forward is not None else None,
            difference=measured.get(key),
            exact=known.get(key),
            value=float(jac.value[p, i]),
            natural=_natural(jac, points.x, key),
            rough=_natural(jac, points.x, key, floor=0.0),
            typical=typical,
        )
        if e.exact is not None and key in doubtful and e.exact.slope is not None:
            e = e._replace(spread=exacts.spread(points.x[p], int(jac.outputs[i]), int(jac.inputs[j])))
        found[key] = e
    return found, measured


def _natural(jac: Jacobians, x: np.ndarray, key: Key, floor: float = SMALL) -> float:
    """Return |f| / max(|x|, floor), and 0 if x is 0 without a floor."""
    p, i, j = key
    size = max(abs(float(x[p, jac.inputs[j]])), floor)
    return abs(float(jac.value[p, i])) / size if size else 0.0


def _agrees(jac: Jacobians, x: np.ndarray, key: Key, slope: float) -> bool:
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


def _modes_differ(jac: Jacobians) -> list[Key]:
    if jac.forward is None:
        return []
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(jac.forward), np.abs(jac.reverse))
        same = (np.abs(jac.forward - jac.reverse) <= 1e-9 * size) | (np.isnan(jac.forward) & np.isnan(jac.reverse))
    return [(int(p), int(i), int(j)) for p, i, j in np.argwhere(~(same | (jac.forward == jac.reverse)))]
