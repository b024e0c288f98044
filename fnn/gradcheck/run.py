"""All checks of a problem in order: structure, reference and differences at each point, then identities."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from fnn.gradcheck import differences, directional, identities, structure, transformations
from fnn.gradcheck.at_edge import at_edge
from fnn.gradcheck.bisection import locate
from fnn.gradcheck.by_reference import compare_with_reference, refuted
from fnn.gradcheck.conventions import not_finite, outside
from fnn.gradcheck.edges import Edges, edges
from fnn.gradcheck.options import Options
from fnn.gradcheck.points import given, jittered, sampled
from fnn.gradcheck.problem import Point, Problem, to_numpy
from fnn.gradcheck.programs import (
    Programs,
    compiled_backward,
    compiled_reference,
    evaluate,
    finite_or_raise,
)  # fmt: skip
from fnn.gradcheck.reference import Expected, conditioned
from fnn.gradcheck.report import LeafReport
from fnn.gradcheck.text import first_line


class Outcome(NamedTuple):
    """What the checks found."""

    findings: list[LeafReport]
    """The reports of each check about each leaf."""
    checks: dict[str, str]
    """From the name of a check to "PASS", "FAIL: why" or "SKIPPED: why", for reasons that concern no single leaf."""
    points: list[Point]
    at_edges: tuple[LeafReport, ...] = ()
    """The findings at edge points that are not PASS."""
    skipped: Mapping[str, list[str]] = {}
    """From a reason to the edge points that were skipped for it."""


class _AtPoint(NamedTuple):
    """Results at one point: findings, the gradient under test and the tolerance of each leaf."""

    findings: list[LeafReport]
    g: list[np.ndarray]
    tol: list[float]


def run(problem: Problem, options: Options) -> Outcome:
    """Run every requested check. Raises ValueError if an argument or a value of the function is not finite."""
    phi = directional.projection(problem)
    # Without jit, JAX compiles every operation separately, which is slow: do so only for checks that need it.
    eager = bool({"structure", "jit"} & set(options.checks))
    y = evaluate(problem, options, eager)
    finite_or_raise(problem, y)
    points = [given(problem, y)]
    checks = dict.fromkeys(options.checks, "PASS")
    reference, why = compiled_reference(problem, options, points[0])
    checks |= {"reference": why} if why and "reference" in checks else {}

    def finite(x, ct) -> bool:
        if not np.isfinite(phi(x, problem.data, ct)):
            return False
        return reference is None or all(np.all(np.isfinite(to_numpy(g))) for g in reference(x, problem.data, ct))

    for number in range(1, options.num_points):
        point = sampled(problem, finite, y, number)
        points += [point] if point else []
    compiled, jitted, why = compiled_backward(problem, points[0])
    checks |= {"jit": why} if why and "jit" in checks else {}
    beyond = directional.projection(problem._replace(inside=lambda x, data: True))
    programs = Programs(phi, beyond, reference, compiled, jitted)
    backward = problem.backward if eager else compiled
    raw = backward(points[0].x, problem.data, points[0].ct)
    findings = structure.shapes(problem, raw)
    skip = {i for i, (g, x) in enumerate(zip(raw, problem.x, strict=True)) if g is None or np.shape(g) != x.shape}
    first = structure.comparable(problem, raw)
    if "structure" in options.checks:
        findings += structure.finite_as_given(problem, first, skip)
        again = structure.comparable(problem, backward(points[0].x, problem.data, points[0].ct))
        findings += structure.deterministic(problem, options, first, again)
        message = structure.primal(problem, options, y)
        checks["structure"] = f"FAIL: {message}" if message else "PASS"
    at: list[_AtPoint] = []
    for number, point in enumerate(points):
        at.append(_check_point(problem, options, programs, point, skip, first if number == 0 else None))
    if any(f.kink or f.status == "KINK" for a in at for f in a.findings):
        point = jittered(problem, finite, y)
        if point:
            points.append(point)
            at.append(_check_point(problem, options, programs, point, skip))
    for a in at:
        findings += a.findings
    more, checks = _check_identities(problem, options, programs, points, at, skip, checks)
    at_edges, corner = [], Edges([], {})
    if options.points == "edges":
        with np.errstate(all="ignore"):  # the largest numbers overflow, the smallest ones underflow
            corner = edges(problem, lambda x, ct: phi(x, problem.data, ct), y)
            for point in corner.points:
                at_edges += _check_edge(problem, options, programs, point, skip)
        more += [f for f in at_edges if f.status == "FAIL"]
    noted = tuple(f for f in at_edges if f.status != "PASS")
    return Outcome(findings + more, checks, [*points, *corner.points], noted, corner.skipped)


def _check_edge(
    problem: Problem, options: Options, programs: Programs, point: Point, skip: set[int]
) -> list[LeafReport]:
    """Check all leaves at an edge point by differences; by the reference if differences cannot decide."""
    if "differences" not in options.checks or not problem.differences_decide:
        return _check_point(problem, options, programs, point, skip).findings
    return at_edge(problem, options, programs, point, skip)


def _check_point(
    problem: Problem,
    options: Options,
    programs: Programs,
    point: Point,
    skip: set[int],
    g: list[np.ndarray] | None = None,
) -> _AtPoint:
    """Check finiteness, reference and differences at one point; `g` is the gradient there, if already computed."""
    if g is None:
        g = structure.comparable(problem, programs.backward(point.x, problem.data, point.ct))
    reference = programs.reference
    expected = conditioned(reference, problem, options, point, "reference") if reference else None
    findings = structure.finite(problem, g, expected.g if expected else None, skip, point.name)
    potential = functools.cache(lambda: directional.potential(programs.phi, problem, point))  # compiled when needed
    for i in range(len(g)):
        if i in skip:
            continue
        by_reference, by_differences = None, None
        if reference and expected:
            by_reference = compare_with_reference(problem, point, i, g[i], expected, reference, potential)
        all_finite = bool(np.all(np.isfinite(g[i])))
        if "differences" in options.checks and not all_finite and expected and problem.differences_decide:
            by_differences = not_finite(potential(), problem, i, g[i], expected.g[i])
        if "differences" in options.checks and all_finite:
            check = functools.partial(differences.check_leaf, potential(), problem, options, point, i)
            by_differences = check(g[i])
            if by_reference and expected and by_reference.status == "FAIL" and by_differences.status == "PASS":
                by_reference = refuted(by_reference, check(expected.g[i]))
            if by_differences.kink and by_reference is None:
                by_differences = outside(problem, point, potential(), i, g[i]) or by_differences
            elif by_differences.status == "FAIL" and by_reference is None:
                exact = locate(potential(), problem, options, i, g[i])
                if exact is not None:
                    evidence = by_differences.evidence + exact.evidence
                    by_differences = exact._replace(
                        evidence=evidence, step=by_differences.step, hint=by_differences.hint or exact.hint
                    )
            if by_differences.status == "FAIL" and by_reference is not None and by_reference.status == "PASS":
                by_differences = by_differences._replace(
                    hint="autodiff agrees with the backward, differences do not: a stop_gradient or custom rule in fun?"
                )
        findings += [f for f in (by_reference, by_differences) if f]
    findings = [f._replace(point=point.name) for f in findings]
    return _AtPoint(findings, g, expected.tol if expected else [0.0] * len(g))


def _check_identities(
    problem: Problem,
    options: Options,
    programs: Programs,
    points: list[Point],
    at: list[_AtPoint],
    skip: set[int],
    checks: dict[str, str],
) -> tuple[list[LeafReport], dict[str, str]]:
    """Run the checks that need no finite step: adjoint, linearity, jit, vmap and sharding."""
    asked, found, checks = options.checks, [], dict(checks)
    compiled, here, jitted = programs.backward, points[0], None
    if programs.jitted is not None:
        got = structure.comparable(problem, programs.jitted)
        known = programs.reference is not None or skip
        jitted = Expected(got, at[0].tol) if known else conditioned(compiled, problem, options, here, "jit")
    tol = [max([a.tol[i] for a in at] + ([jitted.tol[i]] if jitted else [])) for i in range(len(problem.x))]
    if jitted and "jit" in asked:
        found += transformations.same(problem, "jit", at[0].g, jitted, tol, skip)
    if skip:
        for name in {"linearity", "vmap", "sharding"} & set(checks):
            checks[name] = "SKIPPED: the gradient has the wrong structure"
        return found, checks
    last, kinks = points[-1], {f.path for f in at[-1].findings if f.kink}
    if "adjoint" in asked:
        smooth = {i for i, leaf in enumerate(problem.leaves) if leaf.path not in kinks}
        try:
            found += identities.adjoint(problem, last, at[-1].g, tol, smooth)
        except Exception as error:  # a custom_vjp or a callback in fun, for example, has no jvp
            checks["adjoint"] = f"SKIPPED: fun has no jvp: {first_line(error)}"
    if "linearity" in asked and problem.fixed:
        checks["linearity"] = "SKIPPED: a gradient takes no cotangent"
    elif "linearity" in asked:
        found += identities.linearity(problem, options, last, compiled, tol)
    if "vmap" in asked:
        more, message = transformations.mapped(problem, options, points, compiled, tol)
        found += more
        checks["vmap"] = message or "PASS"
    if "sharding" in asked and jax.device_count() == 1:
        checks["sharding"] = "SKIPPED: one device"
    elif "sharding" in asked and jitted:
        more, message = transformations.sharded(problem, here, jitted, tol)
        found += more
        checks["sharding"] = message or "PASS"
    return found, checks
