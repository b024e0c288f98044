"""Tree, shape, dtype, finiteness and determinism of a gradient, and the primal that its forward computes."""

import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.problem import Finding, Options, Problem, generator, index_of, to_numpy
from fnn.gradcheck.reference import DRAWS, perturbed


def shapes(problem: Problem, got: list, declared: list | None) -> list[Finding]:
    """The leaves that are missing, or have another shape or dtype than what they are the gradient of.

    `declared` are the gradients' (shape, dtype) at the arguments as the user gave them, where they could be traced.
    """
    found = []
    for i, g in enumerate(got):
        x = problem.x[i]
        if g is None:
            line = f"structure: expected a gradient of shape {x.shape}, got None"
            found.append(Finding("structure", i, "FAIL", (line,), hint="missing leaf"))
            continue
        if np.shape(g) != x.shape:
            line = f"structure: expected shape {x.shape}, got {np.shape(g)}"
            found.append(Finding("structure", i, "FAIL", (line,), hint=_shape_hint(np.shape(g), x.shape)))
            continue
        wanted = problem.dtypes[i] if declared else str(x.dtype)
        came = str(declared[i].dtype) if declared and declared[i] is not None else str(jnp.result_type(g))
        if came != wanted:
            line = f"structure: expected dtype {wanted}, got {came}"
            found.append(Finding("structure", i, "FAIL", (line,), hint=f"a {came} gradient of a {wanted} leaf"))
    return found


def comparable(problem: Problem, got: list) -> list[np.ndarray]:
    """Gradients as float64 arrays on the host; NaN where there is nothing to compare."""
    return [
        to_numpy(g) if g is not None and np.shape(g) == x.shape and _real(g) else np.full(x.shape, np.nan)
        for g, x in zip(got, problem.x, strict=True)
    ]


def finite(g: list[np.ndarray], expected: list[np.ndarray] | None, skip: set[int], where: str) -> list[Finding]:
    """The leaves that hold NaN or infinity where the expected gradient is finite."""
    found = []
    for i, value in enumerate(g):
        bad = ~np.isfinite(value)
        if expected is not None:
            bad &= np.isfinite(expected[i])
        if i in skip or not bad.any():
            continue
        index = index_of(int(np.argmax(bad)), bad.shape)
        line = f"structure: {int(bad.sum())}/{bad.size} elements not finite, first {list(index)}, {where}"
        found.append(
            Finding("structure", i, "FAIL", (line,), float("inf"), 0.0, index, int(bad.sum()), hint="not finite")
        )
    return found


def deterministic(first: list[np.ndarray], second: list[np.ndarray], options: Options) -> list[Finding]:
    """The leaves in which two runs at the same arguments differ, beyond nondet_tol."""
    found = []
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        with np.errstate(invalid="ignore"):
            differ = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= options.nondet_tol))
        if differ.any():
            worst = int(np.argmax(np.where(differ, np.abs(a - b), 0.0)))
            index, size = index_of(worst, a.shape), float(np.abs(a - b).ravel()[worst])
            line = (
                f"structure: two runs differ in {int(differ.sum())}/{a.size} elements, by {size:.2g} at {list(index)}"
            )
            found.append(
                Finding(
                    "structure",
                    i,
                    "FAIL",
                    (line,),
                    size,
                    options.nondet_tol,
                    index,
                    int(differ.sum()),
                    hint="not deterministic",
                )
            )
    return found


def primal(problem: Problem, options: Options, y: list) -> str:
    """Why the value that the backward's own forward computes is not the function's; empty if it is."""
    again = [to_numpy(v) for v in problem.fun(problem.x, problem.data)]
    for k, (a, b) in enumerate(zip(y, again, strict=True)):
        if not np.all((a == b) | (np.abs(a - b) <= options.nondet_tol) | (np.isnan(a) & np.isnan(b))):
            return f"fun is not deterministic: two runs differ in output {k} by {np.nanmax(np.abs(a - b)):.2g}"
    if problem.primal is None:
        return ""
    moved = [
        problem.fun(perturbed(problem.x, problem.u, generator(options.seed, "primal", draw)), problem.data)
        for draw in range(DRAWS)
    ]
    other = problem.primal(problem.x, problem.data)
    if len(other) != len(y):
        return f"the forward of the backward returns {len(other)} inexact outputs, fun {len(y)}"
    for k, (a, b) in enumerate(zip(y, other, strict=True)):
        if np.shape(b) != a.shape:
            return f"the forward of the backward returns shape {np.shape(b)} in output {k}, fun {a.shape}"
        s = max(float(np.abs(to_numpy(m[k]) - a).max(initial=0.0)) for m in moved)
        tol = 16 * s + 8 * problem.u * float(np.abs(a).max(initial=0.0)) + options.nondet_tol
        error = float(np.abs(to_numpy(b) - a).max(initial=0.0))
        if not error <= tol:
            return f"the forward of the backward differs from fun in output {k}: |diff| {error:.2g} > tol {tol:.2g}"
    return ""


def _real(g) -> bool:
    return jnp.issubdtype(jnp.result_type(g), np.number) and not jnp.issubdtype(jnp.result_type(g), np.complexfloating)


def _shape_hint(got: tuple, expected: tuple) -> str:
    if got == expected[::-1]:
        return "transposed"
    if len(got) == len(expected) + 1 and got[1:] == expected:
        return "a sum over the first axis is missing"
    if len(got) == len(expected) and all(a == b or a == 1 for a, b in zip(got, expected, strict=True)):
        return "summed over too many axes"
    return "another shape"
