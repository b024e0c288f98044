"""From findings to a report: one status per leaf, one line per check."""

import numpy as np

from fnn.gradcheck.problem import Finding, Options, Problem
from fnn.gradcheck.report import LeafReport
from fnn.gradcheck.run import Outcome
from fnn.gradcheck.trees import Leaf

DECIDE = ("reference", "differences", "adjoint")


def leaf_reports(
    leaves: tuple[Leaf, ...], problem: Problem, options: Options, outcome: Outcome
) -> tuple[LeafReport, ...]:
    """A report per leaf of the arguments, in their order; then the cotangents that only a second order has."""
    reports, number = [], 0
    for leaf in leaves:
        if leaf.skipped:
            reports.append(LeafReport(leaf.path, leaf.shape, leaf.dtype, "SKIPPED", hint=leaf.skipped))
            continue
        mine = [f for f in outcome.findings if f.leaf == number]
        reports.append(_leaf_report(leaf, problem, number, options, mine))
        number += 1
    return tuple(reports)


def check_lines(options: Options, outcome: Outcome) -> dict[str, str]:
    """One verdict per check: that of its leaves, or why it was skipped."""
    lines = dict(outcome.checks)
    for name in lines:
        if lines[name] != "PASS":
            continue
        found = [f for f in outcome.findings if f.check == name]
        failed = {f.leaf for f in found if f.status == "FAIL"}
        if failed:
            lines[name] = f"FAIL: {len(failed)} {'leaf' if len(failed) == 1 else 'leaves'}"
        elif found and all(f.status == "INCONCLUSIVE" for f in found):
            why = "" if options.differences_decide else ": not in float64 arithmetic"
            lines[name] = f"INCONCLUSIVE{why}"
        elif any(f.status == "KINK" for f in found):
            lines[name] = "KINK"
    return lines


def _leaf_report(leaf: Leaf, problem: Problem, number: int, options: Options, found: list[Finding]) -> LeafReport:
    status, kink = _status(options, found)
    failing = [
        f for f in found if f.status == ("FAIL" if status == "FAIL" else "KINK" if status == "KINK" else "INCONCLUSIVE")
    ]
    measured = [f for f in failing if f.max_error is not None] or [
        f for f in found if f.check == "reference" and f.max_error is not None
    ]
    worst = max(measured, key=lambda f: (f.worst_index is not None, _ratio(f)), default=None)
    levels = [f.min_detectable for f in found if f.min_detectable is not None]
    steps = [f.step for f in found if f.step is not None]
    lines, seen = [], set()
    for f in failing + [f for f in found if f.check == "differences" and f.lines and status == "FAIL"]:
        if f.check not in seen:
            seen.add(f.check)
            lines += f.lines
    hints = [f.hint for f in [*failing, *found] if f.hint] if status != "PASS" else [f.hint for f in found if f.hint]
    if status == "FAIL" and not failing:
        lines, hints = [f"kink: {kink}"], [*hints, "kinks='fail'"]
    return LeafReport(
        leaf.path,
        leaf.shape,
        leaf.dtype,
        status,
        worst.max_error if worst else None,
        worst.tol if worst else None,
        next((f.worst_index for f in [worst, *failing] if f and f.worst_index is not None), None),
        worst.num_wrong if worst and worst.num_wrong is not None else 0 if status == "PASS" else None,
        steps[0] if steps else None,
        kink,
        max(levels) if levels else _elementwise_level(problem, number, found),
        hints[0] if hints else "",
        tuple(lines),
    )


def _status(options: Options, found: list[Finding]) -> tuple[str, str | None]:
    kink = next((f.kink for f in found if f.kink), None)
    if any(f.status == "FAIL" for f in found) or (kink and options.kinks == "fail"):
        return "FAIL", kink
    decided = {f.check for f in found if f.status == "PASS" and f.check in DECIDE}
    if any(f.status == "KINK" for f in found):
        return ("KINK" if decided else "INCONCLUSIVE"), kink
    if not decided:
        return "INCONCLUSIVE", kink
    return ("KINK" if kink and "reference" not in decided else "PASS"), kink


def _ratio(f: Finding) -> float:
    return (f.max_error or 0.0) / f.tol if f.tol else float(bool(f.max_error)) * np.inf if f.max_error else 0.0


def _elementwise_level(problem: Problem, number: int, found: list[Finding]) -> float | None:
    """tol √n / ‖g‖: an error of that norm has an element beyond the tolerance; None without the gradient's norm."""
    norms = [f.norm for f in found if f.check == "reference" and f.norm]
    tols = [f.tol for f in found if f.check == "reference" and f.tol is not None]
    if not norms or not tols:
        return None
    return float(max(tols) * np.sqrt(problem.x[number].size) / min(norms))
