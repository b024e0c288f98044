"""Second order: the derivative of a backward function, checked like any other gradient.

For ĝ(x, ȳ), the vector-Jacobian product R(u) = ∂⟨u, ĝ⟩/∂(x, ȳ) is computed by autodiff through the backward. It is
compared with that of the reference, element by element, and with differences of ĝ. It must also be symmetric in x:

    ⟨R(u), v⟩ = ⟨R(v), u⟩        (⟨u, Hv⟩ = ⟨v, Hu⟩, where H is the Hessian of ⟨ȳ, f⟩)
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.options import Options
from fnn.gradcheck.precision import FLOOR
from fnn.gradcheck.problem import Point, Problem, autodiff, generator, to_numpy
from fnn.gradcheck.reference import conditioned
from fnn.gradcheck.report import LeafReport
from fnn.gradcheck.run import Outcome, run
from fnn.gradcheck.text import first_line

MOST = 1024
"""The largest number of elements of x and ȳ together whose derivatives are computed one by one."""


def add_second_order(problem: Problem, options: Options, outcome: Outcome) -> Outcome:
    """Add the check of the second order to the outcome of the first. Skipped if the first order is wrong."""
    if any(f.status == "FAIL" for f in outcome.findings):
        return outcome._replace(checks={**outcome.checks, "second order": "SKIPPED: the first order is wrong"})
    found, verdict = _second_order(problem, options, outcome.points[0])
    return outcome._replace(findings=[*outcome.findings, *found], checks={**outcome.checks, "second order": verdict})


def _second_order(problem: Problem, options: Options, first: Point) -> tuple[list[LeafReport], str]:
    n = len(problem.x)
    ct = [] if problem.fixed else list(first.ct)
    split = lambda f: lambda z, data: f(z[:n], data, z[n:] if ct else first.ct)
    inner = split(problem.backward)
    z = [*problem.x, *ct]
    cotangents = [LeafReport(f"cotangent[{k}]", c.shape, str(c.dtype), "INCONCLUSIVE") for k, c in enumerate(ct)]
    twice = problem._replace(
        leaves=[*problem.leaves, *cotangents],
        x=z,
        fun=inner,
        backward=_derivative(inner, z, problem.data, problem.x),
        reference=autodiff(split(problem.reference)) if problem.reference else None,
        primal=None,
        inside=lambda z, data: problem.inside(z[:n], data),
        u_fun=problem.u,
        differences_decide=problem.u < FLOOR**1.5,
        argument=[*problem.argument, *(max(problem.argument) + 1 for _ in ct)],
        cotangent=None,
        fixed=False,
        declared=None,
        native=None,
        outputs=[jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in problem.leaves],
        batch=0,
    )
    asked = tuple(c for c in ("structure", "reference", "differences") if c in options.checks)
    try:
        few = min(options.num_points, 2)
        outcome = run(twice, options._replace(checks=asked, num_points=few, points="random"))
    except Exception as error:
        why = first_line(error)
        if problem.reference and _raises(autodiff(split(problem.reference)), z, problem.data, problem.x):
            return [], f"SKIPPED: JAX cannot differentiate fun twice: {why}"
        return [], f"FAIL: the backward cannot be differentiated: {why}"
    beside = [point for point in outcome.points if point.edge is None]  # a kink at an edge point has no symmetry
    message = _asymmetry(twice, options, beside[-1], n)
    failed = sorted({f.label for f in outcome.findings if f.status == "FAIL"})
    if failed:
        message = f"wrong for {', '.join(failed)}" + (f"; {message}" if message else "")
    names = {leaf.path for leaf in cotangents}
    found = [
        f._replace(
            check="second order",
            evidence=tuple(f"second order, {line.strip()}" for line in f.evidence),
            hint=f"second order: {f.hint or 'wrong'}",
        )
        for f in outcome.findings
        if f.path not in names and f.status in ("FAIL", "KINK")
    ]
    return found, f"FAIL: {message}" if message else "PASS"


def _derivative(fun: Callable, z: list, data: list, u: list) -> Callable:
    """Return the vector-Jacobian product of fun(z, data): by forward mode if JAX has no reverse mode of a small fun."""
    reverse, forward = autodiff(fun), _by_forward_mode(fun)
    small = sum(math.prod(v.shape) for v in z) <= MOST
    return forward if small and _raises(reverse, z, data, u) and not _raises(forward, z, data, u) else reverse


def _by_forward_mode(fun: Callable) -> Callable:
    """Return the vector-Jacobian product of fun(z, data), one element at a time, as for a loop of unknown length."""

    def backward(z, data, u):
        def along(i, v):
            direction = [v if k == i else jnp.zeros_like(leaf) for k, leaf in enumerate(z)]
            moved = jax.jvp(lambda z: fun(z, data), (list(z),), (direction,))[1]
            return sum(jnp.vdot(c, d) for c, d in zip(u, moved, strict=True))

        units = [jnp.eye(leaf.size, dtype=leaf.dtype).reshape(leaf.size, *leaf.shape) for leaf in z]
        return [jax.lax.map(lambda v, i=i: along(i, v), e).reshape(z[i].shape) for i, e in enumerate(units)]

    return backward


def _raises(derivative: Callable, z: list, data: list, u: list) -> bool:
    """Return whether the derivative of a gradient cannot be traced; `u` is like the gradient."""
    try:
        jax.eval_shape(derivative, z, data, u)
    except Exception:
        return True
    return False


def _asymmetry(twice: Problem, options: Options, point: Point, n: int) -> str:
    """Explain how ⟨R(u), v⟩ differs from ⟨R(v), u⟩; return "" if it does not."""
    backward = jax.jit(twice.backward)
    rng = generator(twice.seed, "symmetry")
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
