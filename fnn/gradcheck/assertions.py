"""From a check that returns a report to an assertion that raises."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from fnn.gradcheck.report import GradientError, GradReport

P = ParamSpec("P")


def asserting(check: Callable[P, GradReport]) -> Callable[P, GradReport]:
    """Return a function with the arguments of a check that raises GradientError if the report is not ok."""

    @wraps(check)
    def assertion(*args: P.args, **kwargs: P.kwargs) -> GradReport:
        report = check(*args, **kwargs)
        if not report.ok:
            raise GradientError(report.summary())
        return report

    name = check.__name__
    assertion.__name__ = assertion.__qualname__ = f"assert_{name.removeprefix('check').removeprefix('_')}"
    assertion.__doc__ = f"""Run `{name}` and return its report if it is ok.

    Args:
      See `{name}`, which has the same arguments.

    Raises:
      GradientError: if the gradient is wrong or undecided. The message is the report.
    """
    return assertion
