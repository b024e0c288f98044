"""Which two of autodiff, differences and the exact function agree, and the name of the error."""

import math

import pytest

from experiments.audit.exact import Exact
from experiments.audit.judge import Difference, Evidence, close, judge

NAN, INF = math.nan, math.inf


def slope(value, error=1e-9, coarse=False, apart=None):
    return Difference(value, error, None, 0.0, apart=INF if apart is None else apart, coarse=coarse)


def kink(left, right):
    return Difference(NAN, INF, (left, right), 1e-9, apart=0.0, coarse=False)


def evidence(reverse, difference=None, exact=None, forward=None, value=1.0):
    return Evidence(reverse, reverse if forward is None else forward, difference, exact, value, natural=1.0)


def smooth(derivative, value=1.0):
    return Exact(value, derivative, derivative)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (evidence(2.0, slope(2.0)), None),
        (evidence(2.0, slope(3.0)), "wrong derivative"),
        (evidence(2.0, slope(2.0001)), "inexact derivative"),
        (evidence(2.0, slope(3.0, coarse=True)), "unresolved"),
        (evidence(2.0, slope(3.0, error=0.5)), None),  # not resolved
        (evidence(2.0, slope(3.0, apart=0.1)), None),  # a one-sided slope agrees
        (evidence(NAN, slope(3.0)), "not finite"),
        (evidence(NAN, slope(3.0, coarse=True)), "unresolved"),
        (evidence(0.5, kink(-1.0, 1.0)), None),
        (evidence(5.0, kink(-1.0, 1.0)), "outside the slopes"),
        (evidence(NAN, kink(-1.0, 1.0)), "no derivative"),
        (evidence(0.0, kink(-INF, INF)), None),  # a jump
        (evidence(NAN, kink(-INF, INF)), "no derivative"),
        (evidence(2.0, slope(2.0), forward=3.0), "modes differ"),
        (evidence(2.0, slope(2.0), forward=NAN), "modes differ"),
        (evidence(2.0, slope(3.0), forward=3.0), "wrong derivative"),
        (evidence(2.0, forward=3.0), None),  # which mode is right is not known
        (evidence(NAN, forward=NAN), None),
        (evidence(2.0, slope(2.0), smooth(2.0)), None),
        (evidence(2.0, slope(3.0), smooth(3.0)), "wrong derivative"),
        (evidence(2.0, None, smooth(3.0)), "wrong derivative"),
        (evidence(2.0, slope(3.0), smooth(2.0)), "noisy difference"),
        (evidence(2.0, slope(2.0), smooth(3.0)), "follows a wrong function"),
        (evidence(2.0, slope(2.0), smooth(3.0, value=1.5)), "wrong value"),
        (evidence(3.0, slope(2.0), smooth(3.0, value=1.5)), None),
        (evidence(NAN, None, smooth(3.0)), "not finite"),
        (evidence(0.3, None, Exact(1.0, -1.0, 1.0)), None),
        (evidence(1.3, None, Exact(1.0, -1.0, 1.0)), "outside the slopes"),
        (evidence(NAN, None, Exact(1.0, -1.0, 1.0)), "no derivative"),
        (evidence(INF, None, Exact(1.0, None, None)), None),
        (evidence(2.0, None, Exact(1.0, None, 2.0)), None),  # at the end of the domain
        (evidence(NAN, None, Exact(1.0, None, 2.0)), "not finite"),
        (evidence(INF, None, Exact(1.0, INF, INF)), None),  # too large for a float
    ],
)
def test_kinds(given, kind):
    verdict = judge(given)
    assert (verdict.kind if verdict else None) == kind


@pytest.mark.parametrize(
    ("given", "by"),
    [
        (evidence(2.0, slope(3.0)), "differences"),
        (evidence(2.0, slope(3.0), smooth(3.0)), "differences and the exact function"),
        (evidence(2.0, slope(9.0, error=9.0), smooth(3.0)), "the exact function"),
        (evidence(2.0, slope(3.0), smooth(2.0)), "autodiff and the exact function"),
        (evidence(2.0, slope(2.0), smooth(2.0), forward=3.0), "differences and the exact function and reverse mode"),
    ],
)
def test_who_agrees(given, by):
    verdict = judge(given)
    assert verdict is not None
    assert verdict.by == by


def test_an_ill_conditioned_derivative_may_differ():
    assert not close(1.0, 1.1, natural=1.0)
    assert close(1.0, 1.1, natural=1.0, spread=0.01)
    assert close(0.0, 1e-16, natural=1.0)
