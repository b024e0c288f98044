"""A backward under JAX's transformations: the same gradients with jit, with vmap, and with sharded arrays."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from fnn.gradcheck.options import Options
from fnn.gradcheck.problem import Point, Problem, generator, to_numpy
from fnn.gradcheck.reference import Expected, compare, conditioned
from fnn.gradcheck.report import LeafReport
from fnn.gradcheck.text import first_line


def same(
    problem: Problem,
    check: str,
    got: list,
    expected: Expected,
    tol: list[float],
    skip: Sequence[int] | set[int] = (),
    where: str = "",
) -> list[LeafReport]:
    """Compare the gradients of a transformed backward with those of the backward itself."""
    found = []
    for i, g in enumerate(got):
        if i in skip or g is None:
            continue
        result = compare(problem, check, i, to_numpy(g), expected.g[i], max(expected.tol[i], tol[i]), where=where)
        hint = ""
        if result.status == "FAIL":
            hint = f"wrong only under {check}" + (f": {result.hint}" if result.hint else "")
        found.append(result._replace(hint=hint))
    return found


def axes(problem: Problem, in_axes) -> Sequence[tuple[list, int | None]]:
    """Return the combinations of mapped arguments to try, as (axis of each leaf, axis of the cotangent).

    By default: everything, the cotangent alone, and each argument alone. Otherwise `in_axes` is a tuple with an axis or
    None per argument, or a list of such tuples, and the cotangent is mapped over axis 0.
    """
    numbers = sorted(set(problem.argument))
    over = None if problem.fixed else 0
    if in_axes is None:
        every = [([0] * len(problem.x), over)]
        cotangent = [] if problem.fixed else [([None] * len(problem.x), 0)]
        alone = [([0 if a == n else None for a in problem.argument], None) for n in numbers]
        return every + cotangent + (alone if len(alone) > 1 or not problem.fixed else [])
    choices = in_axes if isinstance(in_axes, list) else [in_axes]
    return [
        ([_axis(choice[a], leaf) for a, leaf in zip(problem.argument, problem.leaves, strict=True)], over)
        for choice in choices
    ]


def _axis(axis: int | None, leaf: LeafReport) -> int | None:
    """Return an axis that may be negative as one that is not, because a complex leaf has another axis at the end."""
    return axis if axis is None or axis >= 0 else axis + len(leaf.shape) + 1


def mapped(
    problem: Problem, options: Options, points: Sequence[Point], compiled: Callable, tol: list[float]
) -> tuple[list[LeafReport], str]:
    """Check that vmap equals a loop for each combination of mapped arguments; also return why it cannot run, or ""."""
    backward = problem.backward
    two = [points[0], points[-1]] if len(points) > 1 else [points[0], _nearby(problem, points[0])]
    mappings = [
        _mapping(problem, two, x_axes, ct_axis)
        for x_axes, ct_axis in axes(problem, options.in_axes)
        if ct_axis is not None or any(a is not None for a in x_axes)
    ]
    together = lambda inputs, data: [
        jax.vmap(lambda x, ct: backward(x, data, ct), mapping.axes)(*batch)
        for mapping, batch in zip(mappings, inputs, strict=True)
    ]
    try:
        results = jax.jit(together)([mapping.batch for mapping in mappings], problem.data)
    except Exception as error:
        return [], _why_not(problem, mappings, error)
    found = []
    for mapping, result in zip(mappings, results, strict=True):
        for n, single in enumerate(mapping.singles):
            got = [None if g is None else g[n] for g in result]
            once = [to_numpy(g) for g in compiled(single.x, problem.data, single.ct)]
            where = f", example {n} of 2, {mapping.name}"
            reports = same(problem, "vmap", got, Expected(once, tol), tol, where=where)
            if any(f.status == "FAIL" for f in reports):  # the conditioning may be worse at a mixed point
                expected = conditioned(compiled, problem, options, single, "vmap")
                reports = same(problem, "vmap", got, expected, tol, where=where)
            found += reports
    return found, ""


class _Mapping(NamedTuple):
    """One combination of mapped arguments, with a batch of two examples and the two examples by themselves."""

    name: str
    axes: tuple[list, list]
    """The axes of the leaves x and of the cotangents."""
    batch: tuple[list, list]
    singles: list[Point]


def _mapping(problem: Problem, two: Sequence[Point], x_axes: list, ct_axis: int | None) -> _Mapping:
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
    return _Mapping(f"in_axes {_by_argument(problem, x_axes)}, cotangent {ct_axis}", (x_axes, ct_axes), batch, singles)


def _why_not(problem: Problem, mappings: list[_Mapping], error: Exception) -> str:
    """Name the combination that cannot run. If the function itself cannot be mapped, its backward is not at fault."""
    try:
        jax.eval_shape(jax.vmap(lambda x: problem.fun(x, problem.data), (mappings[0].axes[0],)), mappings[0].batch[0])
    except Exception:
        return "SKIPPED: fun itself cannot be mapped"
    for mapping in mappings:
        try:
            backward = jax.vmap(lambda x, ct: problem.backward(x, problem.data, ct), mapping.axes)
            jax.eval_shape(backward, *mapping.batch)
        except Exception as first:
            return f"FAIL: {mapping.name} raises {type(first).__name__}: {first_line(first)}"
    return f"FAIL: raises {type(error).__name__}: {first_line(error)}"


def sharded(problem: Problem, point: Point, expected: Expected, tol: list[float]) -> tuple[list[LeafReport], str]:
    """Check that the gradient of arrays sharded over all devices equals the gradient on one device.

    Each array is sharded along its first axis that the number of devices divides, or else replicated. Also return why
    the check cannot run, or "".
    """
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("devices",))
    n = mesh.size

    def shard(a):
        axis = next((k for k, size in enumerate(np.shape(a)) if size and size % n == 0), None)
        spec = jax.sharding.PartitionSpec(*([None] * axis + ["devices"] if axis is not None else []))
        return jax.device_put(a, jax.sharding.NamedSharding(mesh, spec))

    x, data, ct = jax.tree_util.tree_map(shard, (list(point.x), list(problem.data), list(point.ct)))
    try:
        got = jax.jit(problem.backward)(x, data, ct)
    except Exception as error:
        try:
            jax.jit(problem.fun)(x, data)
        except Exception:
            return [], "SKIPPED: fun itself cannot run on sharded arrays"
        return [], f"FAIL: raises {type(error).__name__}: {first_line(error)}"
    return same(problem, "sharding", got, expected, tol, where=f", over {n} devices"), ""


def _nearby(problem: Problem, point: Point) -> Point:
    """Return another example for vmap, where there is no second point."""
    rng = generator(problem.seed, "beside")
    x = [np.asarray(to_numpy(v) * (1 + 0.01 * rng.standard_normal(v.shape)), v.dtype) for v in point.x]
    return Point(x, [np.asarray(-to_numpy(c), c.dtype) for c in point.ct], "beside")


def _by_argument(problem: Problem, x_axes: list) -> str:
    shown = dict(zip(problem.argument, x_axes, strict=True))
    return "(" + ", ".join(f"[{a}]: {ax}" for a, ax in shown.items()) + ")"
