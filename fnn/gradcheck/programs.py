"""The compiled functions of a problem, and the first evaluation of the function under test."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from fnn.gradcheck.options import Options
from fnn.gradcheck.problem import Point, Problem, to_numpy
from fnn.gradcheck.text import first_line


class Programs(NamedTuple):
    """The compiled functions of a problem."""

    phi: Callable
    """(x, data, ct) -> ⟨ȳ, f(x)⟩; NaN outside the domain."""
    beyond: Callable
    """The same without the domain."""
    reference: Callable | None
    backward: Callable
    """The compiled backward, or the backward itself if it cannot be compiled."""
    jitted: list | None
    """The gradients of the compiled backward at the first point."""


def compiled_reference(problem: Problem, options: Options, point: Point) -> tuple[Callable | None, str]:
    """Return the compiled reference, or None and why the check is skipped."""
    if "reference" not in options.checks or problem.reference is None:
        return None, "SKIPPED: no reference was given"
    compiled = jax.jit(problem.reference)
    try:
        compiled(point.x, problem.data, point.ct)
    except Exception as error:
        if callable(options.reference):
            raise
        return None, f"SKIPPED: autodiff of fun raises {type(error).__name__}: {first_line(error)}"
    return compiled, ""


def compiled_backward(problem: Problem, point: Point) -> tuple[Callable, list | None, str]:
    """Return the compiled backward and its gradients at a point, or the backward itself and why it cannot compile."""
    compiled = jax.jit(problem.backward)
    try:
        return compiled, compiled(point.x, problem.data, point.ct), ""
    except Exception as error:
        why = f"FAIL: the backward raises {type(error).__name__} under jit: {first_line(error)}"
        return problem.backward, None, why


def finite_or_raise(problem: Problem, y: list) -> None:
    """Raise ValueError if an argument or a value of the function is not finite."""
    for leaf, x in zip(problem.leaves, problem.x, strict=True):
        if not np.all(np.isfinite(to_numpy(x))):
            raise ValueError(f"{problem.who}: args must be finite, got NaN or infinity in {leaf.label}")
    for v in y:
        if not np.all(np.isfinite(to_numpy(v))):
            raise ValueError(f"{problem.who}: fun must be finite at args, got NaN or infinity")


def evaluate(problem: Problem, options: Options, eager: bool) -> list[np.ndarray]:
    """Return fun's value at the given arguments; under jit if it can be traced, unless it is to be eager."""
    if not eager:
        with contextlib.suppress(Exception):  # raised again below
            return [np.asarray(v) for v in jax.jit(problem.fun)(problem.x, problem.data)]
    try:
        return [np.asarray(v) for v in problem.fun(problem.x, problem.data)]
    except Exception as error:
        if options.precision == "x64":
            error.add_note(
                f"{problem.who}: fun was called with its floating-point arguments in float64; "
                "precision='native' keeps their dtypes"
            )
        raise
