"""The verdict of the reference on one leaf, unless a kink explains the difference or differences refute it."""

from collections.abc import Callable

import numpy as np

from fnn.gradcheck.conventions import at_undefined, conventions
from fnn.gradcheck.problem import GIVEN, Point, Problem, to_numpy
from fnn.gradcheck.reference import Expected, compare, wrong_elements
from fnn.gradcheck.report import LeafReport


def compare_with_reference(
    problem: Problem, point: Point, i: int, g: np.ndarray, expected: Expected, reference: Callable, potential: Callable
) -> LeafReport:
    """Compare one leaf with the reference. A failure may turn out to be a convention at a kink, or a missing sum."""
    where = "" if point.name == GIVEN else f", {point.name}"
    against = lambda wanted: compare(
        problem, "reference", i, g, wanted, expected.tol[i], where=where, batch=problem.batch
    )
    found = against(expected.g[i])
    if (found.status == "PASS" and not np.isfinite(expected.g[i]).all()) or found.status == "INCONCLUSIVE":
        return at_undefined(potential(), problem, i, g, expected.g[i]) or found
    if found.status != "FAIL":
        return found
    wrong = wrong_elements(g, expected, i)
    wrong = wrong[np.isfinite(expected.g[i].ravel()[wrong])]
    at_kinks = conventions(potential(), problem, point, reference, i, g, expected.g[i], wrong)
    if at_kinks.accepted:
        refused = at_undefined(potential(), problem, i, g, expected.g[i])
        if refused:
            return refused
        text = f"{len(wrong)} elements differ from the reference at a kink of fun"
        return found._replace(status="KINK", kink=text, hint="another convention at a kink")
    if len(at_kinks.suspects) < len(wrong):  # name an element that no kink explains
        explained = np.setdiff1d(wrong, at_kinks.suspects)
        wanted = expected.g[i].copy()
        wanted.ravel()[explained] = g.ravel()[explained]
        rest = against(wanted)
        found = rest if rest.status == "FAIL" else found
    if at_kinks.text:
        return found._replace(evidence=(*found.evidence, f"  {at_kinks.text}"), kink=at_kinks.text)
    if problem.outputs[0].shape[:1] > (1,) and not problem.fixed:
        rows = [
            np.concatenate([to_numpy(c)[:1], np.zeros_like(to_numpy(c)[1:])]).astype(c.dtype) if c.ndim else c
            for c in point.ct
        ]
        first = to_numpy(reference(point.x, problem.data, rows)[i])
        if np.abs(first - g).max(initial=0.0) <= 4 * expected.tol[i]:
            return found._replace(hint="only the first row of the cotangent counts: a sum over the batch is missing")
    return found


def refuted(by_reference: LeafReport, differences_of_reference: LeafReport) -> LeafReport:
    """Ignore the reference if differences contradict it but not the backward: the reference is wrong."""
    if differences_of_reference.status != "FAIL":
        return by_reference
    line = "reference: differences contradict the reference, not the backward"
    return LeafReport(
        by_reference.path,
        by_reference.shape,
        by_reference.dtype,
        "INCONCLUSIVE",
        check="reference",
        evidence=(line, *by_reference.evidence),
        hint="the reference is wrong, differences agree with the backward: a stop_gradient or custom rule in fun?",
    )
