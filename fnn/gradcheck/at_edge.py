"""The check of all leaves at an edge point by differences."""

import functools
from collections.abc import Callable

import numpy as np

from fnn.gradcheck import structure
from fnn.gradcheck.directional import Potential, potential
from fnn.gradcheck.edge_verdict import check_edge
from fnn.gradcheck.options import Options
from fnn.gradcheck.problem import Point, Problem
from fnn.gradcheck.programs import Programs
from fnn.gradcheck.report import LeafReport


def at_edge(problem: Problem, options: Options, programs: Programs, point: Point, skip: set[int]) -> list[LeafReport]:
    """Check the gradient of each leaf at an edge point, and where two leaves have the same values, that of their sum.

    The sum is the derivative of f(z, z), which exists for max(x, y) at x = y, although those of x and y do not.
    """
    gradients = lambda x: structure.comparable(problem, programs.backward(x, problem.data, point.ct))
    p, g = potential(programs.phi, problem, point), gradients(point.x)
    check = functools.partial(_check, problem, options, programs, point, p)
    found = []
    for i, x in enumerate(problem.x):
        if i not in skip and x.size:
            found.append(check(i, g[i], lambda x, i=i: gradients(x)[i]))
    i, j = point.edge, point.tied
    if i is not None and j is not None and not {i, j} & skip:
        report = check(i, g[i] + g[j], lambda x: sum(gradients(x)[k] for k in (i, j)), also=j)
        found.append(report._replace(evidence=tuple(f"{line}, moved together" for line in report.evidence)))
    return found


def _check(
    problem: Problem,
    options: Options,
    programs: Programs,
    point: Point,
    p: Potential,
    leaf: int,
    g: np.ndarray,
    gradient: Callable,
    also: int | None = None,
) -> LeafReport:
    """Check one leaf, or two that move together. A failure at the end of the domain may be a convention beyond it."""
    moving = lambda phi: phi if also is None else _together(phi, leaf, also)
    report = check_edge(p._replace(phi=moving(p.phi)), problem, options, point, leaf, g, gradient)
    if report.status == "FAIL" and options.domain is not None:
        q = potential(programs.beyond, problem, point)
        beyond = check_edge(q._replace(phi=moving(q.phi)), problem, options, point, leaf, g, gradient)
        report = report if beyond.status == "FAIL" else beyond
    return report._replace(point=point.name)


def _together(phi: Callable, i: int, j: int) -> Callable:
    return lambda x: phi([*x[:j], x[i], *x[j + 1 :]])
