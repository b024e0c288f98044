"""What needs no step: the adjoint identity, linearity in the cotangent, the same under jit, vmap and sharding.

    ⟨ȳ, J v⟩ = ⟨ĝ, v⟩,   B(α ȳ₁ + β ȳ₂) = α B(ȳ₁) + β B(ȳ₂),   B(0) = 0

B is the backward as a function of its cotangent. Tolerances are those of the element-by-element comparison.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from fnn.gradcheck.problem import Finding, Options, Point, Problem, generator, to_numpy
from fnn.gradcheck.reference import Expected, compare, conditioned


def adjoint(
    problem: Problem, options: Options, point: Point, g: list[np.ndarray], tol: list[float], skip: set[int]
) -> list[Finding]:
    """⟨ȳ, J v⟩ = ⟨ĝ, v⟩ through jvp: along all leaves at once, and leaf by leaf if that fails."""
    jvp = jax.jit(lambda x, data, v: jax.jvp(lambda x: problem.fun(x, data), (x,), (v,))[1])
    rngs = [generator(options.seed, path, "adjoint") for path in problem.paths]
    zeros = [np.zeros(x.shape, x.dtype) for x in point.x]
    vs = [rng.standard_normal(x.shape).astype(x.dtype) for rng, x in zip(rngs, point.x, strict=True)]
    leaves = [i for i in range(len(vs)) if i not in skip and np.all(np.isfinite(g[i]))]
    results = [
        _adjoint(jvp, problem, point, g, tol, leaves, [v if i in leaves else zeros[i] for i, v in enumerate(vs)])
    ]
    if results[0].status == "PASS":
        return [Finding("adjoint", i, "PASS") for i in leaves]
    alone = lambda i: [*zeros[:i], vs[i], *zeros[i + 1 :]]
    return [_adjoint(jvp, problem, point, g, tol, [i], alone(i)) for i in leaves]


def _adjoint(
    jvp: Callable, problem: Problem, point: Point, g: list[np.ndarray], tol: list[float], leaves: list[int], v: list
) -> Finding:
    dy = jvp(list(point.x), problem.data, v)
    terms = [to_numpy(c) * to_numpy(t) for c, t in zip(point.ct, dy, strict=True)]
    jv, size = sum(float(t.sum()) for t in terms), sum(float(np.abs(t).sum()) for t in terms)
    mine = [g[i] * to_numpy(v[i]) for i in leaves]
    got = sum(float(np.sum(t)) for t in mine)
    rounding = 64 * problem.u * (size + float(np.sqrt(sum(np.sum(t**2) for t in mine))))
    allowed = rounding + sum(tol[i] * float(np.abs(to_numpy(v[i])).sum()) for i in leaves)
    first = leaves[0] if leaves else 0
    if not np.isfinite(jv):
        return Finding("adjoint", first, "INCONCLUSIVE", ("adjoint: the jvp is not finite",))
    if not abs(got - jv) <= allowed:
        line = f"adjoint: ⟨ĝ, v⟩ = {got:.6g}, ⟨ȳ, Jv⟩ = {jv:.6g}, |diff| {abs(got - jv):.2g} > tol {allowed:.2g}"
        return Finding("adjoint", first, "FAIL", (line,))
    return Finding("adjoint", first, "PASS")


def linearity(
    problem: Problem, options: Options, point: Point, backward: Callable, tol: list[float], skip: set[int]
) -> list[Finding]:
    """B(α ȳ₁ + β ȳ₂) = α B(ȳ₁) + β B(ȳ₂), and B(0) = 0."""
    rng = generator(options.seed, "linearity")
    a, b = 1.5, -0.75  # exact in every dtype
    other = [np.asarray(rng.standard_normal(c.shape), c.dtype) for c in point.ct]
    one, two = Point(point.x, point.ct, "linearity 1"), Point(point.x, other, "linearity 2")
    both = [np.asarray(a * to_numpy(c) + b * to_numpy(d), c.dtype) for c, d in zip(point.ct, other, strict=True)]
    evaluate = lambda ct: [to_numpy(v) for v in backward(point.x, problem.data, ct)]
    first, second, got = evaluate(one.ct), evaluate(two.ct), evaluate(both)
    none = evaluate([np.zeros_like(c) for c in point.ct])
    found, measured = [], None
    for i in range(len(got)):
        if i in skip:
            continue
        expected = a * first[i] + b * second[i]
        where = " of B(1.5 ȳ₁ - 0.75 ȳ₂)"
        result = compare("linearity", i, got[i], expected, 4 * tol[i], where)
        if result.status == "FAIL":  # the other cotangent may be conditioned worse
            measured = measured or [conditioned(backward, problem, options, p, "linearity") for p in (one, two)]
            allowed = 4 * tol[i] + a * measured[0].tol[i] + abs(b) * measured[1].tol[i]
            result = compare("linearity", i, got[i], expected, allowed, where)
        if result.status == "PASS":
            result = compare("linearity", i, none[i], np.where(np.isfinite(expected), 0.0, np.nan), 0.0, " of B(0)")
        hint = "not linear in the cotangent" if result.status == "FAIL" else ""
        found.append(result._replace(hint=hint))
    return found


def same(check: str, got: list, expected: Expected, tol: list[float], skip: set[int], where: str = "") -> list[Finding]:
    """The gradients of one way to run a backward against those of another."""
    found = []
    for i, g in enumerate(got):
        if i in skip or g is None:
            continue
        result = compare(check, i, to_numpy(g), expected.g[i], max(expected.tol[i], tol[i]), where)
        hint = (
            f"wrong only under {check}" + (f": {result.hint}" if result.hint else "") if result.status == "FAIL" else ""
        )
        found.append(result._replace(hint=hint))
    return found


def axes(problem: Problem, in_axes) -> Sequence[tuple[list, int | None]]:
    """The combinations of mapped arguments to try: (axis of each leaf, axis of the cotangent).

    By default everything, the cotangent alone, and each argument alone; else a tuple (an axis or None per argument) or
    a list of them, with the cotangent mapped over axis 0.
    """
    numbers = sorted(set(problem.argument))
    over = None if problem.fixed else 0
    if in_axes is None:
        every = [([0] * len(problem.x), over)]
        cotangent = [] if problem.fixed else [([None] * len(problem.x), 0)]
        alone = [([0 if a == n else None for a in problem.argument], None) for n in numbers]
        return every + cotangent + (alone if len(alone) > 1 or not problem.fixed else [])
    choices = in_axes if isinstance(in_axes, list) else [in_axes]
    return [([choice[a] for a in problem.argument], over) for choice in choices]


def mapped(
    problem: Problem,
    options: Options,
    points: Sequence[Point],
    backward: Callable,
    compiled: Callable,
    tol: list[float],
    skip: set[int],
) -> tuple[list[Finding], str]:
    """vmap equals the loop, for each combination of mapped arguments; and why it could not run."""
    two = [points[0], points[-1]] if len(points) > 1 else [points[0], _beside(points[0], options)]
    ways = [
        _way(problem, two, *way)
        for way in axes(problem, options.in_axes)
        if way[1] is not None or any(a is not None for a in way[0])
    ]
    together = lambda inputs, data: [
        jax.vmap(lambda x, ct: backward(x, data, ct), way.axes)(*batch) for way, batch in zip(ways, inputs, strict=True)
    ]
    try:
        results = jax.jit(together)([way.batch for way in ways], problem.data)
    except Exception as error:
        return [], _why_not(problem, ways, backward, error)
    found = []
    for way, result in zip(ways, results, strict=True):
        for n, single in enumerate(way.singles):
            got = [None if g is None else g[n] for g in result]
            once = [to_numpy(g) for g in compiled(single.x, problem.data, single.ct)]
            where = f", example {n} of 2, {way.name}"
            same_here = same("vmap", got, Expected(once, tol), tol, skip, where)
            if any(f.status == "FAIL" for f in same_here):  # the conditioning may differ at a mixed point
                expected = conditioned(compiled, problem, options, single, "vmap")
                same_here = same("vmap", got, expected, tol, skip, where)
            found += same_here
    return found, ""


class _Way(NamedTuple):
    """One way to map: the axes of (x, ȳ), the batch of two, and the two examples by themselves."""

    name: str
    axes: tuple[list, list]
    batch: tuple[list, list]
    singles: list[Point]


def _way(problem: Problem, two: Sequence[Point], x_axes: list, ct_axis: int | None) -> _Way:
    ct_axes = [ct_axis] * len(two[0].ct)
    pick = lambda b, first, axes: [first[i] if ax is None else b[i] for i, ax in enumerate(axes)]
    stack = lambda one, other, axes: [
        a if ax is None else np.stack([np.asarray(a), np.asarray(b)], ax)
        for a, b, ax in zip(one, other, axes, strict=True)
    ]
    singles = [
        Point(pick(p.x, two[0].x, x_axes), pick(p.ct, two[0].ct, ct_axes), f"vmap {n}") for n, p in enumerate(two)
    ]
    batch = (stack(two[0].x, two[1].x, x_axes), stack(two[0].ct, two[1].ct, ct_axes))
    return _Way(f"in_axes {_by_argument(problem, x_axes)}, cotangent {ct_axis}", (x_axes, ct_axes), batch, singles)


def _why_not(problem: Problem, ways: list[_Way], backward: Callable, error: Exception) -> str:
    """Which way to map cannot run; a function that cannot be mapped itself is no fault of its backward."""
    try:
        jax.eval_shape(jax.vmap(lambda x: problem.fun(x, problem.data), (ways[0].axes[0],)), ways[0].batch[0])
    except Exception:
        return "SKIPPED: fun itself cannot be mapped"
    for way in ways:
        try:
            jax.eval_shape(jax.vmap(lambda x, ct: backward(x, problem.data, ct), way.axes), *way.batch)
        except Exception as first:
            return f"FAIL: {way.name} raises {type(first).__name__}: {str(first).splitlines()[0]}"
    return f"FAIL: raises {type(error).__name__}: {str(error).splitlines()[0]}"


def sharded(
    problem: Problem,
    options: Options,
    point: Point,
    backward: Callable,
    expected: Expected,
    tol: list[float],
    skip: set[int],
) -> list[Finding]:
    """The gradient of arrays spread over all devices, along the first axis they divide, equals that on one device."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("devices",))
    n = mesh.size

    def place(a):
        axis = next((k for k, size in enumerate(np.shape(a)) if size and size % n == 0), None)
        spec = jax.sharding.PartitionSpec(*([None] * axis + ["devices"] if axis is not None else []))
        return jax.device_put(a, jax.sharding.NamedSharding(mesh, spec))

    got = jax.jit(backward)(*jax.tree_util.tree_map(place, (list(point.x), list(problem.data), list(point.ct))))
    return same("sharding", got, expected, tol, skip, f", over {n} devices")


def _beside(point: Point, options: Options) -> Point:
    rng = generator(options.seed, "beside")
    x = [np.asarray(to_numpy(v) * (1 + 0.01 * rng.standard_normal(v.shape)), v.dtype) for v in point.x]
    return Point(x, [np.asarray(-to_numpy(c), c.dtype) for c in point.ct], "beside")


def _by_argument(problem: Problem, x_axes: list) -> str:
    shown = dict(zip(problem.argument, x_axes, strict=True))
    return "(" + ", ".join(f"[{a}]: {ax}" for a, ax in shown.items()) + ")"
