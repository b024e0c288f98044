"""Second order: the derivative of a backward function, checked as any other.

For ĝ(x, ȳ) the vector-Jacobian product R(u) = ∂⟨u, ĝ⟩/∂(x, ȳ), by autodiff through the backward, is compared element
by element with that of the reference's gradient, with differences of ĝ, and must be symmetric in x:

    ⟨R(u), v⟩ = ⟨R(v), u⟩        (⟨u, Hv⟩ = ⟨v, Hu⟩, H the Hessian of ⟨ȳ, f⟩)
"""

import jax
import numpy as np

from fnn.gradcheck.points import Point
from fnn.gradcheck.problem import Finding, Options, Problem, autodiff, generator, to_numpy
from fnn.gradcheck.reference import conditioned
from fnn.gradcheck.run import Outcome, run


def second_order(problem: Problem, options: Options, first: Point, loops: bool) -> Outcome:
    """The findings about the derivative of the backward; leaves beyond the problem's are those of the cotangent."""
    n = len(problem.x)
    ct = [] if problem.fixed else list(first.ct)
    split = lambda f: lambda z, data: f(z[:n], data, z[n:] if ct else first.ct)
    inner = split(problem.backward)
    twice = Problem(
        [*problem.paths, *(f"cotangent[{k}]" for k in range(len(ct)))],
        [*problem.dtypes, *(str(c.dtype) for c in ct)],
        [*problem.x, *ct],
        problem.data,
        inner,
        autodiff(inner),
        autodiff(split(problem.reference)) if problem.reference else None,
        None,
        lambda z, data: problem.inside(z[:n], data),
        problem.u,
        problem.u,
        [*problem.argument, *(max(problem.argument) + 1 for _ in ct)],
    )
    asked = tuple(c for c in ("structure", "reference", "differences") if c in options.checks)
    try:
        outcome = run(twice, options._replace(checks=asked, num_points=min(options.num_points, 2)), None, loops)
    except (TypeError, NotImplementedError) as error:
        return Outcome(
            [], {"second order": f"FAIL: the backward cannot be differentiated: {str(error).splitlines()[0]}"}, []
        )
    message = _symmetry(twice, options, outcome.points[-1], n)
    failed = sorted({twice.paths[f.leaf] or "[0]" for f in outcome.findings if f.status == "FAIL"})
    if failed:
        message = f"wrong for {', '.join(failed)}" + (f"; {message}" if message else "")
    own = [f for f in outcome.findings if f.leaf < n and f.status in ("FAIL", "KINK")]
    found = [
        f._replace(
            check="second order",
            lines=tuple(f"second order, {line.strip()}" for line in f.lines),
            hint=f"second order: {f.hint or 'wrong'}",
        )
        for f in own
    ]
    return Outcome(found, {"second order": f"FAIL: {message}" if message else "PASS"}, outcome.points)


def _symmetry(twice: Problem, options: Options, point: Point, n: int) -> str:
    """Why ⟨R(u), v⟩ is not ⟨R(v), u⟩; empty if it is."""
    backward = jax.jit(twice.backward)
    rng = generator(options.seed, "symmetry")
    u, v = ([np.asarray(rng.standard_normal(np.shape(x)), x.dtype) for x in twice.x[:n]] for _ in range(2))
    ru = conditioned(backward, twice, options, Point(point.x, u, "symmetry u"), "symmetry")
    rv = conditioned(backward, twice, options, Point(point.x, v, "symmetry v"), "symmetry")
    one, two = _inner(ru.g[:n], v), _inner(rv.g[:n], u)
    tol = sum(
        t * float(np.abs(to_numpy(w)).sum()) for r, ws in ((ru, v), (rv, u)) for t, w in zip(r.tol, ws, strict=False)
    )
    if abs(one - two) <= tol or not np.isfinite(one + two):
        return ""
    return f"not symmetric: ⟨R(u), v⟩ = {one:.6g}, ⟨R(v), u⟩ = {two:.6g}, tol {tol:.2g}"


def _inner(a: list, b: list) -> float:
    return float(sum(np.sum(to_numpy(x) * to_numpy(y)) for x, y in zip(a, b, strict=True)))


def merged(outcome: Outcome, second: Outcome) -> Outcome:
    """Both orders in one outcome."""
    return Outcome([*outcome.findings, *second.findings], {**outcome.checks, **second.checks}, outcome.points)


def is_clean(findings: list[Finding]) -> bool:
    """Whether no first-order check failed."""
    return all(f.status != "FAIL" for f in findings)
