"""Choose which cases of a parametrized test run by default; the others are marked slow, and CI runs them too."""

from collections.abc import Hashable, Iterable

import pytest


def slow_except(cases: Iterable[Hashable], *quick: Hashable) -> list:
    """Return the cases as parameters for `pytest.mark.parametrize`; those not named in `quick` are marked slow.

    >>> [(case.values, len(case.marks)) for case in slow_except(["a", "b"], "b")]
    [(('a',), 1), (('b',), 0)]
    """
    cases = list(cases)
    unknown = [case for case in quick if case not in cases]
    if unknown:
        raise ValueError(f"slow_except: quick must be some of the cases, got {unknown}")
    marks = [[] if case in quick else [pytest.mark.slow] for case in cases]
    values = [case if type(case) is tuple else (case,) for case in cases]
    return [pytest.param(*value, marks=mark) for value, mark in zip(values, marks, strict=True)]
