"""The checks in their order, on a Problem: structure, reference, differences, then the identities."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from fnn.gradcheck import differences, identities, lines, structure
from fnn.gradcheck.bisection import locate
from fnn.gradcheck.points import given, jittered, sampled
from fnn.gradcheck.problem import Finding, Options, Point, Problem, to_numpy
from fnn.gradcheck.reference import Expected, compare, conditioned, wrong_elements


class Outcome(NamedTuple):
    """All findings about leaves, and what concerns no leaf: check -> "FAIL: why", "SKIPPED: why" or "PASS"."""

    findings: list[Finding]
    checks: dict[str, str]
    points: list[Point]


class _At(NamedTuple):
    findings: list[Finding]
    g: list[np.ndarray]
    tol: list[float]


def run(problem: Problem, options: Options, declared: list | None, loops: bool = False, batch: int = 0) -> Outcome:
    """Every check that was asked for. Raises ValueError where the function or its arguments are not finite."""
    phi = lines.projection(problem)
    y = [np.asarray(v) for v in problem.fun(problem.x, problem.data)]
    _finite_or_raise(options.who, problem, y)
    points = [given(problem, options, y)]
    checks = dict.fromkeys(options.checks, "PASS")
    reference, checks = _compiled_reference(problem, options, points[0], checks)

    def finite(x, ct) -> bool:
        if not np.isfinite(phi(x, problem.data, ct)):
            return False
        return reference is None or all(np.all(np.isfinite(to_numpy(g))) for g in reference(x, problem.data, ct))

    for number in range(1, options.num_points):
        point = sampled(problem, options, finite, y, number, loops)
        points += [point] if point else []
    compiled, traced = _compiled_backward(problem, points[0])
    # op by op each operation is compiled once more: only where two runs, or jit, are to be compared with it
    backward = problem.backward if {"structure", "jit"} & set(options.checks) else compiled
    raw = backward(points[0].x, problem.data, points[0].ct)
    findings = structure.shapes(problem, raw, declared)
    skip = {f.leaf for f in findings if f.status == "FAIL" and not _usable(problem, raw, f.leaf)}
    first = structure.comparable(problem, raw)
    at_point = lambda point: structure.comparable(problem, compiled(point.x, problem.data, point.ct))
    if "structure" in options.checks:
        again = structure.comparable(problem, backward(points[0].x, problem.data, points[0].ct))
        findings += structure.deterministic(first, again, options)
        message = structure.primal(problem, options, y)
        checks["structure"] = f"FAIL: {message}" if message else "PASS"
    at: list[_At] = []
    for number, point in enumerate(points):
        g = first if number == 0 else at_point(point)
        at.append(_one_point(problem, options, point, g, reference, phi, skip, batch))
    if any(f.kink or f.status == "KINK" for a in at for f in a.findings):
        point = jittered(problem, options, finite, y)
        if point:
            points.append(point)
            at.append(_one_point(problem, options, point, at_point(point), reference, phi, skip, batch))
    for a in at:
        findings += a.findings
    more, checks = _identities(problem, options, points, at, compiled, traced, reference is not None, skip, checks)
    return Outcome(findings + more, checks, points)


def _one_point(
    problem: Problem, options: Options, point: Point, g: list[np.ndarray], reference, phi, skip: set[int], batch: int
) -> _At:
    """Structure, reference and differences at one point."""
    expected = conditioned(reference, problem, options, point, "reference") if reference else None
    findings = structure.finite(g, expected.g if expected else None, skip, point.name)
    potential = functools.cache(lambda: lines.potential(phi, problem, options, point))  # compiled only if needed
    for i in range(len(g)):
        if i in skip:
            continue
        b = _by_reference(problem, point, i, g[i], expected, reference, potential, batch) if expected else None
        c = None
        if "differences" in options.checks and np.all(np.isfinite(g[i])):
            c = differences.check_leaf(potential(), problem, options, point, i, g[i])
            if b and expected and b.status == "FAIL" and c.status == "PASS":
                b = _refuted(b, differences.check_leaf(potential(), problem, options, point, i, expected.g[i]))
            if c.status == "FAIL" and b is None:
                exact = locate(potential(), problem, options, i, g[i])
                c = c if exact is None else exact._replace(lines=c.lines + exact.lines, step=c.step, hint=c.hint)
            if c.status == "FAIL" and b is not None and b.status == "PASS":
                c = c._replace(
                    hint="autodiff agrees with the backward, differences do not: a stop_gradient or custom rule in fun?"
                )
        findings += [f for f in (b, c) if f]
    return _At(findings, g, expected.tol if expected else [0.0] * len(g))


def _by_reference(
    problem: Problem, point: Point, i: int, g: np.ndarray, expected: Expected, reference, potential, batch: int
) -> Finding:
    found = compare(
        "reference", i, g, expected.g[i], expected.tol[i], "" if point.name == "as given" else f", {point.name}", batch
    )
    if found.status != "FAIL":
        return found
    wrong = wrong_elements(g, expected, i)
    if differences.kinked_elements(potential(), i, wrong):
        text = f"{len(wrong)} elements differ from the reference at a kink of fun"
        return found._replace(status="KINK", kink=text, hint="another convention at a kink")
    if point.ct[0].ndim and len(point.ct[0]) > 1 and not problem.fixed:
        rows = [
            np.concatenate([to_numpy(c)[:1], np.zeros_like(to_numpy(c)[1:])]).astype(c.dtype) if c.ndim else c
            for c in point.ct
        ]
        first = to_numpy(reference(point.x, problem.data, rows)[i])
        if np.abs(first - g).max(initial=0.0) <= 4 * expected.tol[i]:
            return found._replace(hint="only the first row of the cotangent counts: a sum over the batch is missing")
    return found


def _refuted(b: Finding, reference: Finding) -> Finding:
    """A disagreement in which differences contradict the reference, not the backward, is the reference's fault."""
    if reference.status != "FAIL":
        return b
    return Finding(
        "reference",
        b.leaf,
        "INCONCLUSIVE",
        ("reference: differences contradict the reference, not the backward", *b.lines),
        hint="the reference is wrong, differences agree with the backward: a stop_gradient or custom rule in fun?",
    )


def _identities(
    problem: Problem,
    options: Options,
    points: list[Point],
    at: list[_At],
    compiled: Callable,
    traced: list | str,
    known: bool,
    skip: set[int],
    checks: dict[str, str],
):
    """The step-free checks; `traced` are the compiled gradients at the first point, or why there are none."""
    asked, found, checks = options.checks, [], dict(checks)
    here, jitted = points[0], None
    if isinstance(traced, str):
        if "jit" in asked:
            checks["jit"] = traced
    else:
        got = structure.comparable(problem, traced)
        jitted = Expected(got, at[0].tol) if known or skip else conditioned(compiled, problem, options, here, "jit")
    tol = [max([a.tol[i] for a in at] + ([jitted.tol[i]] if jitted else [])) for i in range(len(problem.x))]
    if jitted and "jit" in asked:
        found += identities.same("jit", at[0].g, jitted, tol, skip)
    if skip:
        return found, {
            n: "SKIPPED: the gradient has the wrong structure" if n in ("linearity", "vmap", "sharding") else v
            for n, v in checks.items()
        }
    last, kinked = points[-1], {f.leaf for f in at[-1].findings if f.kink}
    if "adjoint" in asked:
        try:
            found += identities.adjoint(
                problem, options, last, at[-1].g, [max(t, tol[i]) for i, t in enumerate(at[-1].tol)], skip | kinked
            )
        except (TypeError, NotImplementedError) as error:
            if "custom_vjp" not in str(error) and not isinstance(error, NotImplementedError):
                raise
            checks["adjoint"] = f"SKIPPED: fun has no jvp: {str(error).splitlines()[0]}"
    if "linearity" in asked and problem.fixed:
        checks["linearity"] = "SKIPPED: a gradient takes no cotangent"
    elif "linearity" in asked:
        found += identities.linearity(problem, options, last, compiled, tol, skip)
    if "vmap" in asked:
        more, message = identities.mapped(problem, options, points, problem.backward, compiled, tol, skip)
        found += more
        checks["vmap"] = message or "PASS"
    if "sharding" in asked and jax.device_count() == 1:
        checks["sharding"] = "SKIPPED: one device"
    elif "sharding" in asked and jitted:
        found += identities.sharded(problem, options, here, problem.backward, jitted, tol, skip)
    return found, checks


def _compiled_reference(problem: Problem, options: Options, point: Point, checks: dict[str, str]):
    checks = dict(checks)
    if "reference" not in options.checks or problem.reference is None:
        if "reference" in checks:
            checks["reference"] = "SKIPPED: there is none"
        return None, checks
    compiled = jax.jit(problem.reference)
    try:
        compiled(point.x, problem.data, point.ct)
    except (TypeError, ValueError, NotImplementedError) as error:
        checks["reference"] = f"SKIPPED: autodiff of fun raises {type(error).__name__}: {str(error).splitlines()[0]}"
        return None, checks
    return compiled, checks


def _compiled_backward(problem: Problem, point: Point) -> tuple[Callable, list | str]:
    """The compiled backward with its gradients at a point, or the backward itself with why it cannot be compiled."""
    compiled = jax.jit(problem.backward)
    try:
        return compiled, compiled(point.x, problem.data, point.ct)
    except Exception as error:
        why = f"FAIL: the backward raises {type(error).__name__} under jit: {str(error).splitlines()[0]}"
        return problem.backward, why


def _usable(problem: Problem, raw: list, leaf: int) -> bool:
    return raw[leaf] is not None and np.shape(raw[leaf]) == problem.x[leaf].shape


def _finite_or_raise(who: str, problem: Problem, y: list) -> None:
    for path, x in zip(problem.paths, problem.x, strict=True):
        if not np.all(np.isfinite(to_numpy(x))):
            raise ValueError(f"{who}: args: expected finite leaves, got NaN or infinity in {path or '[0]'}")
    for v in y:
        if not np.all(np.isfinite(to_numpy(v))):
            raise ValueError(f"{who}: fun: expected finite outputs at args, got NaN or infinity")
