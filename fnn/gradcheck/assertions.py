"""The checks as assertions: the same, raising GradientError with the report where the gradient is not right."""

from collections.abc import Callable
from functools import wraps

from fnn.gradcheck.check import check_custom_vjp, check_grad, check_layer, check_loss, check_vjp
from fnn.gradcheck.report import GradientError as GradientError
from fnn.gradcheck.report import GradReport


def _asserting(check: Callable[..., GradReport]) -> Callable[..., GradReport]:
    @wraps(check)
    def assertion(*args, **choices) -> GradReport:
        report = check(*args, **choices)
        if not report.ok:
            raise GradientError(report.summary())
        return report

    name = check.__name__.removeprefix("check_")
    assertion.__name__ = assertion.__qualname__ = f"assert_{name}"
    assertion.__doc__ = f"`check_{name}` that raises GradientError, with the report as its message, unless it is ok."
    return assertion


assert_vjp = _asserting(check_vjp)
assert_grad = _asserting(check_grad)
assert_custom_vjp = _asserting(check_custom_vjp)
assert_layer = _asserting(check_layer)
assert_loss = _asserting(check_loss)
