"""The verdict on a gradient: run all checks, then merge their findings into one report per leaf, one line per check."""

import math

import jax
import numpy as np

from fnn.gradcheck.arguments import Arguments, with_values
from fnn.gradcheck.build import Request, build, declare, split_request
from fnn.gradcheck.interrupts import raise_interrupts
from fnn.gradcheck.layouts import mesh_of
from fnn.gradcheck.options import Keywords, Options, make_options, resolve_key
from fnn.gradcheck.pairs import is_complex
from fnn.gradcheck.points import given
from fnn.gradcheck.precision import compute_in
from fnn.gradcheck.problem import Point, Problem
from fnn.gradcheck.report import CheckedPoint, GradReport, LeafReport
from fnn.gradcheck.run import Outcome, run
from fnn.gradcheck.second_order import add_second_order

DECIDE = ("reference", "differences", "adjoint")
"""The checks of which at least one must pass before a leaf passes."""


@raise_interrupts()
def make_report(request: Request, keywords: Keywords) -> GradReport:
    """Check a gradient with the options given as keyword arguments."""
    who = request.who
    options = make_options(who, keywords, len(request.args))
    arguments = split_request(request)
    key, seed = resolve_key(who, options.key)
    declared = declare(request, arguments)
    native = _as_given(request, options, arguments, seed)
    with compute_in(who, options.precision), mesh_of(arguments.x):
        problem = build(request, options, arguments, declared, seed)._replace(native=native)
        outcome = run(problem, options)
        if options.order == 2:
            outcome = add_second_order(problem, options, outcome)
        leaves = tuple(
            leaf if leaf.status == "SKIPPED" else _merge(leaf, options, outcome) for leaf in arguments.leaves
        )
        checks = _check_lines(problem, outcome)
    good = all(leaf.status in ("PASS", "KINK", "SKIPPED") for leaf in leaves)
    ok = good and not any(line.startswith("FAIL") for line in checks.values())
    dtypes = sorted({leaf.dtype for leaf in arguments.differentiated})
    precision = "float64" if options.precision == "x64" else "/".join(dtypes)
    notes = ["Points: " + "; ".join(point.name for point in outcome.points) + "."]
    notes += [f"Skipped, because {why}: {'; '.join(names)}." for why, names in outcome.skipped.items()]
    for status, text in (("KINK", "Kinks, or no derivative"), ("INCONCLUSIVE", "No step resolves the slope")):
        names = dict.fromkeys(f"{f.label} at {f.point}" for f in outcome.at_edges if f.status == status)
        notes += [f"{text}: {'; '.join(names)}."] if names else []
    if problem.narrowed:
        notes.append(f"Tolerances are those of a unit roundoff of {problem.u:.0e}, set by {problem.narrowed}.")
    points = tuple(_checked(arguments, outcome, point) for point in outcome.points)
    return GradReport(ok, leaves, checks, key, who, precision, tuple(notes), outcome.at_edges, points)


def _checked(arguments: Arguments, outcome: Outcome, point: Point) -> CheckedPoint:
    """Return a point with the arguments of the function there."""
    failed = [f.path for f in outcome.findings if f.status == "FAIL" and f.point == point.name]
    return CheckedPoint(point.name, with_values(arguments, point.x), tuple(dict.fromkeys(failed)))


def _as_given(request: Request, options: Options, arguments: Arguments, seed: tuple[int, ...]) -> list | None:
    """Return the gradients at the given arguments in their own dtypes; None if all compute in the check's precision."""
    dtypes = {leaf.dtype for leaf in arguments.differentiated}
    if options.precision == "native" or "structure" not in options.checks or dtypes == {"float64"}:
        return None
    try:
        with compute_in(request.who, "native"), mesh_of(arguments.x):
            problem = build(request, options._replace(precision="native"), arguments, None, seed)
            point = given(problem, [np.asarray(v) for v in problem.fun(problem.x, problem.data)])
            inputs = (point.x, problem.data, point.ct)
            try:
                return jax.jit(problem.backward)(*inputs)
            except Exception:
                return problem.backward(*inputs)
    except Exception:
        return None  # `declare` and the jit check report why


def _check_lines(problem: Problem, outcome: Outcome) -> dict[str, str]:
    """Return one verdict per check: that of its leaves, or why it was skipped."""
    lines = dict(outcome.checks)
    for name in lines:
        if lines[name] != "PASS":
            continue
        found = [f for f in outcome.findings if f.check == name]
        failed = {f.path for f in found if f.status == "FAIL"}
        if failed:
            lines[name] = f"FAIL: {len(failed)} {'leaf' if len(failed) == 1 else 'leaves'}"
        elif found and all(f.status == "INCONCLUSIVE" for f in found):
            why = "" if problem.differences_decide else ": fun does not compute in float64"
            lines[name] = f"INCONCLUSIVE{why}"
        elif any(f.status == "KINK" for f in found):
            lines[name] = "KINK"
    return lines


def _merge(leaf: LeafReport, options: Options, outcome: Outcome) -> LeafReport:
    """Merge the findings about one leaf. Numbers come from the finding with the largest error relative to its tol."""
    found = [f for f in outcome.findings if f.path == leaf.path]
    status, kink = _status(options, found)
    deciding = [f for f in found if f.status == (status if status in ("FAIL", "KINK") else "INCONCLUSIVE")]
    measured = [f for f in deciding if f.max_error is not None] or [
        f for f in found if f.check == "reference" and f.max_error is not None
    ]
    worst = max(measured, key=lambda f: (f.worst_index is not None, _ratio(f)), default=None)
    levels = [f.min_detectable for f in found if f.min_detectable is not None]
    steps = [f.step for f in found if f.step is not None]
    evidence, seen = [], set()
    for f in deciding + [f for f in found if f.check == "differences" and f.evidence and status == "FAIL"]:
        if f.check not in seen:
            seen.add(f.check)
            evidence += f.evidence
    hints = [f.hint for f in ([*deciding, *found] if status != "PASS" else found) if f.hint]
    if status == "FAIL" and not deciding:
        evidence, hints = [f"kink: {kink}"], [*hints, "kinks='fail'"]
    return leaf._replace(
        status=status,
        max_error=worst.max_error if worst else None,
        tol=worst.tol if worst else None,
        worst_index=next((f.worst_index for f in [worst, *deciding] if f and f.worst_index is not None), None),
        num_wrong=worst.num_wrong if worst and worst.num_wrong is not None else 0 if status == "PASS" else None,
        step=steps[0] if steps else None,
        kink=kink,
        min_detectable=max(levels) if levels else _elementwise_level(leaf, found),
        hint=hints[0] if hints else "",
        evidence=tuple(evidence),
        point=next((f.point for f in [worst, *deciding] if f and f.point), "") if status != "PASS" else "",
    )


def _status(options: Options, found: list[LeafReport]) -> tuple[str, str | None]:
    """Return the status of a leaf, and the kink of the function there, if any."""
    kink = next((f.kink for f in found if f.kink), None)
    if any(f.status == "FAIL" for f in found) or (kink and options.kinks == "fail"):
        return "FAIL", kink
    decided = {f.check for f in found if f.status == "PASS" and f.check in DECIDE}
    if any(f.status == "KINK" for f in found):
        return ("KINK" if decided else "INCONCLUSIVE"), kink
    if not decided:
        return "INCONCLUSIVE", kink
    return ("KINK" if kink and "reference" not in decided else "PASS"), kink


def _ratio(f: LeafReport) -> float:
    """Return max_error / tol; infinite for an error at a tolerance of 0."""
    return (f.max_error or 0.0) / f.tol if f.tol else np.inf if f.max_error else 0.0


def _elementwise_level(leaf: LeafReport, found: list[LeafReport]) -> float | None:
    """Return tol √n / ‖g‖: an error of that norm has an element beyond tol. None if the norm is not known."""
    norms = [f.norm for f in found if f.check == "reference" and f.norm]
    tols = [f.tol for f in found if f.check == "reference" and f.tol is not None]
    if not norms or not tols:
        return None
    parts = 2 if is_complex(leaf.dtype) else 1
    return float(max(tols) * np.sqrt(parts * math.prod(leaf.shape)) / min(norms))
