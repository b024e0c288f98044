"""Identities that need no finite step: the adjoint identity, and linearity in the cotangent.

    ⟨ȳ, J v⟩ = ⟨ĝ, v⟩,   B(α ȳ₁ + β ȳ₂) = α B(ȳ₁) + β B(ȳ₂),   B(0) = 0

B is the backward as a function of its cotangent. The tolerances are those of the comparison with the reference. The
first identity is also known as the dot-product test (Griewank & Walther 2008, Evaluating Derivatives).
"""

from collections.abc import Callable

import jax
import numpy as np

from fnn.gradcheck.options import Options
from fnn.gradcheck.problem import Point, Problem, finding, generator, to_numpy
from fnn.gradcheck.reference import compare, conditioned
from fnn.gradcheck.report import LeafReport


def adjoint(
    problem: Problem, point: Point, g: list[np.ndarray], tol: list[float], smooth: set[int]
) -> list[LeafReport]:
    """Check ⟨ȳ, J v⟩ = ⟨ĝ, v⟩ by jvp: along all leaves in `smooth` at once, and leaf by leaf if that fails."""
    jvp = jax.jit(lambda x, data, v: jax.jvp(lambda x: problem.fun(x, data), (x,), (v,))[1])
    rngs = [generator(problem.seed, leaf.path, "adjoint") for leaf in problem.leaves]
    zeros = [np.zeros(x.shape, x.dtype) for x in point.x]
    vs = [rng.standard_normal(x.shape).astype(x.dtype) for rng, x in zip(rngs, point.x, strict=True)]
    leaves = [i for i in range(len(vs)) if i in smooth and np.all(np.isfinite(g[i]))]
    together = [v if i in leaves else zeros[i] for i, v in enumerate(vs)]
    if _adjoint(jvp, problem, point, g, tol, leaves, together).status == "PASS":
        return [finding(problem, "adjoint", i, "PASS") for i in leaves]
    alone = lambda i: [*zeros[:i], vs[i], *zeros[i + 1 :]]
    return [_adjoint(jvp, problem, point, g, tol, [i], alone(i)) for i in leaves]


def _adjoint(
    jvp: Callable, problem: Problem, point: Point, g: list[np.ndarray], tol: list[float], leaves: list[int], v: list
) -> LeafReport:
    dy = jvp(list(point.x), problem.data, v)
    terms = [to_numpy(c) * to_numpy(t) for c, t in zip(point.ct, dy, strict=True)]
    jv, size = sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)
    mine = [g[i] * to_numpy(v[i]) for i in leaves]
    got = sum(float(np.sum(t)) for t in mine)
    rounding = 64 * problem.u * (size + float(np.sqrt(sum(np.sum(t**2) for t in mine))))
    allowed = rounding + sum(tol[i] * float(np.abs(to_numpy(v[i])).sum()) for i in leaves)
    first = leaves[0] if leaves else 0
    if not np.isfinite(jv):
        return finding(problem, "adjoint", first, "INCONCLUSIVE", "adjoint: the jvp is not finite")
    if not abs(got - jv) <= allowed:
        line = f"adjoint: ⟨ĝ, v⟩ = {got:.6g}, ⟨ȳ, Jv⟩ = {jv:.6g}, |diff| {abs(got - jv):.2g} > tol {allowed:.2g}"
        return finding(problem, "adjoint", first, "FAIL", line)
    return finding(problem, "adjoint", first, "PASS")


def linearity(
    problem: Problem, options: Options, point: Point, backward: Callable, tol: list[float]
) -> list[LeafReport]:
    """Check B(α ȳ₁ + β ȳ₂) = α B(ȳ₁) + β B(ȳ₂), and B(0) = 0."""
    rng = generator(problem.seed, "linearity")
    a, b = 1.5, -0.75  # exact in every dtype
    other = [np.asarray(rng.standard_normal(c.shape), c.dtype) for c in point.ct]
    one, two = Point(point.x, point.ct, "linearity 1"), Point(point.x, other, "linearity 2")
    both = [np.asarray(a * to_numpy(c) + b * to_numpy(d), c.dtype) for c, d in zip(point.ct, other, strict=True)]
    evaluate = lambda ct: [to_numpy(v) for v in backward(point.x, problem.data, ct)]
    first, second, got = evaluate(one.ct), evaluate(two.ct), evaluate(both)
    at_zero = evaluate([np.zeros_like(c) for c in point.ct])
    found, measured = [], None
    for i in range(len(got)):
        expected = a * first[i] + b * second[i]
        where = " of B(1.5 ȳ₁ - 0.75 ȳ₂)"
        result = compare(problem, "linearity", i, got[i], expected, 4 * tol[i], where=where)
        if result.status == "FAIL":  # the conditioning may be worse for the other cotangent
            measured = measured or [conditioned(backward, problem, options, p, "linearity") for p in (one, two)]
            allowed = 4 * tol[i] + a * measured[0].tol[i] + abs(b) * measured[1].tol[i]
            result = compare(problem, "linearity", i, got[i], expected, allowed, where=where)
        if result.status == "PASS":
            zero = np.where(np.isfinite(expected), 0.0, np.nan)
            result = compare(problem, "linearity", i, at_zero[i], zero, 0.0, where=" of B(0)")
        hint = "not linear in the cotangent" if result.status == "FAIL" else ""
        found.append(result._replace(hint=hint))
    return found
