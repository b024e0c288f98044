"""Structural checks: shape, dtype, finiteness and determinism of a gradient, and the value of its forward rule."""

import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.options import Options
from fnn.gradcheck.pairs import elements, index_in, index_of, is_complex
from fnn.gradcheck.problem import Problem, finding, generator, to_numpy
from fnn.gradcheck.reference import DRAWS, perturbed
from fnn.gradcheck.report import LeafReport


def shapes(problem: Problem, got: list) -> list[LeafReport]:
    """Report the gradients that are missing, or whose shape or dtype differs from their leaf's.

    Dtypes are compared at the arguments as the user passed them, if the backward could be traced there.
    """
    found = []
    for i, g in enumerate(got):
        leaf, of_complex = problem.leaves[i], is_complex(problem.leaves[i].dtype)
        if g is None:
            line = f"structure: expected a gradient of shape {leaf.shape}, got None"
            found.append(finding(problem, "structure", i, "FAIL", line, hint="missing leaf"))
            continue
        shape = np.shape(g)[:-1] if of_complex else np.shape(g)
        if shape != leaf.shape:
            line = f"structure: expected shape {leaf.shape}, got {shape}"
            hint = _shape_hint(shape, leaf.shape)
            found.append(finding(problem, "structure", i, "FAIL", line, hint=hint))
            continue
        expected = leaf.dtype if problem.declared else _dtype_of(problem.x[i], of_complex)
        declared = problem.declared[i] if problem.declared else None
        dtype = _dtype_of(g, of_complex) if declared is None else str(declared.dtype)
        if dtype != expected:
            line = f"structure: expected dtype {expected}, got {dtype}"
            hint = f"a {dtype} gradient of a {expected} leaf"
            if is_complex(dtype):
                hint += ": take the real part"
            found.append(finding(problem, "structure", i, "FAIL", line, hint=hint))
    return found


def comparable(problem: Problem, got: list) -> list[np.ndarray]:
    """Return gradients as float64 arrays on the host, filled with NaN where a gradient cannot be compared."""
    return [
        to_numpy(g) if g is not None and np.shape(g) == x.shape and _number(g) else np.full(x.shape, np.nan)
        for g, x in zip(got, problem.x, strict=True)
    ]


def finite(
    problem: Problem, g: list[np.ndarray], expected: list[np.ndarray] | None, skip: set[int], where: str
) -> list[LeafReport]:
    """Report the leaves whose gradient is NaN or infinite at elements where the expected gradient is finite."""
    found = []
    for i, value in enumerate(g):
        bad = ~np.isfinite(value)
        if expected is not None:
            bad &= np.isfinite(expected[i])
        bad = elements(problem.leaves[i], bad)
        if i in skip or not bad.any():
            continue
        count, index = int(bad.sum()), index_of(int(np.argmax(bad)), bad.shape)
        line = f"structure: {count}/{bad.size} elements not finite, first {list(index)}, {where}"
        found.append(
            finding(
                problem,
                "structure",
                i,
                "FAIL",
                line,
                max_error=float("inf"),
                tol=0.0,
                worst_index=index,
                num_wrong=count,
                hint="not finite",
            )
        )
    return found


def finite_as_given(problem: Problem, g: list[np.ndarray], skip: set[int]) -> list[LeafReport]:
    """Report the leaves whose gradient is not finite in the dtype of the arguments, but is in float64.

    A gradient that exceeds the largest number of its dtype is not reported.
    """
    found = []
    for i, (value, native) in enumerate(zip(g, problem.native or [], strict=False)):
        dtype = problem.leaves[i].dtype
        if i in skip or native is None or np.shape(native) != value.shape:
            continue
        bad = ~np.isfinite(to_numpy(native)) & (np.abs(value) <= float(jnp.finfo(dtype).max))
        bad = elements(problem.leaves[i], bad)
        if bad.any():
            count, index = int(bad.sum()), index_of(int(np.argmax(bad)), bad.shape)
            line = f"structure: {count}/{bad.size} elements not finite in {dtype}, first {list(index)}, as given"
            fields = {"max_error": float("inf"), "tol": 0.0, "worst_index": index, "num_wrong": count}
            hint = f"not finite in {dtype}, finite in float64"
            found.append(finding(problem, "structure", i, "FAIL", line, hint=hint, **fields))
    return found


def deterministic(
    problem: Problem, options: Options, first: list[np.ndarray], second: list[np.ndarray]
) -> list[LeafReport]:
    """Report the leaves in which two runs at the same arguments differ by more than nondet_tol."""
    found = []
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        with np.errstate(invalid="ignore"):
            differ = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= options.nondet_tol))
        if differ.any():
            leaf = problem.leaves[i]
            worst = int(np.argmax(np.where(differ, np.abs(a - b), 0.0)))
            index, size = index_in(leaf, worst), float(np.abs(a - b).ravel()[worst])
            differ = elements(leaf, differ)
            count = int(differ.sum())
            line = f"structure: two runs differ in {count}/{differ.size} elements, by {size:.2g} at {list(index)}"
            found.append(
                finding(
                    problem,
                    "structure",
                    i,
                    "FAIL",
                    line,
                    max_error=size,
                    tol=options.nondet_tol,
                    worst_index=index,
                    num_wrong=count,
                    hint="not deterministic",
                )
            )
    return found


def primal(problem: Problem, options: Options, y: list) -> str:
    """Explain how the value of the forward rule differs from the function's; return "" if it does not."""
    again = [to_numpy(v) for v in problem.fun(problem.x, problem.data)]
    for k, (a, b) in enumerate(zip(y, again, strict=True)):
        if not np.all((a == b) | (np.abs(a - b) <= options.nondet_tol) | (np.isnan(a) & np.isnan(b))):
            return f"fun is not deterministic: two runs differ in output {k} by {np.nanmax(np.abs(a - b)):.2g}"
    if problem.primal is None:
        return ""
    moved = [
        problem.fun(perturbed(problem.x, problem.u, generator(problem.seed, "primal", draw)), problem.data)
        for draw in range(DRAWS)
    ]
    other = problem.primal(problem.x, problem.data)
    if len(other) != len(y):
        return f"the forward rule returns {len(other)} inexact outputs, fun returns {len(y)}"
    for k, (a, b) in enumerate(zip(y, other, strict=True)):
        if np.shape(b) != a.shape:
            return f"the forward rule returns shape {np.shape(b)} in output {k}, fun returns {a.shape}"
        s = max(float(np.abs(to_numpy(m[k]) - a).max(initial=0.0)) for m in moved)
        tol = 16 * s + 8 * problem.u * float(np.abs(a).max(initial=0.0)) + options.nondet_tol
        error = float(np.abs(to_numpy(b) - a).max(initial=0.0))
        if not error <= tol:
            return f"the forward rule differs from fun in output {k}: |diff| {error:.2g} > tol {tol:.2g}"
    return ""


def _number(g) -> bool:
    return jnp.issubdtype(jnp.result_type(g), np.number)


def _dtype_of(g, of_complex: bool) -> str:
    """Return the dtype of a gradient; of a leaf that is complex, from its pair."""
    dtype = jnp.result_type(g)
    return str(np.result_type(dtype, np.complex64) if of_complex and np.shape(g)[-1] == 2 else dtype)


def _shape_hint(got: tuple, expected: tuple) -> str:
    if got == expected[::-1]:
        return "transposed"
    if len(got) == len(expected) + 1 and got[1:] == expected:
        return "a sum over the first axis, the batch, is missing"
    if len(got) == len(expected) and all(a == b or a == 1 for a, b in zip(got, expected, strict=True)):
        return "summed over too many axes"
    return "another shape"
