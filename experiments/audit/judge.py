"""What three references say about one derivative: its kind of error, the expected number, and who agrees on it.

The derivative by autodiff is compared with that of the exact function, if there is one, and with finite differences.
Which of them agree names the error:

- "wrong derivative": autodiff alone is off, from differences that resolve the slope or from the exact function.
- "inexact derivative": the same, by less than 1 part in 1000.
- "wrong value": the value of the function is wrong, and so is its derivative.
- "follows a wrong function": autodiff and differences agree, and the exact derivative is another one.
- "not finite": autodiff is NaN or infinite where the function has a slope.
- "modes differ": forward and reverse mode disagree, and the reverse mode is right.
- "outside the slopes": at a kink, autodiff is less or more than the slopes on both sides.
- "no derivative": autodiff is not finite where the function has no derivative, as at a kink.
- "noisy difference": differences alone are off. This is no error.
- "unresolved": differences alone contradict autodiff, at steps too large to decide.
- "convention": autodiff is finite where partial derivatives exist and the derivative does not, as of a median at ties.
"""

import math
from typing import NamedTuple

import numpy as np

from experiments.audit.exact import Exact

WRONG, INEXACT, VALUE, NOT_FINITE = "wrong derivative", "inexact derivative", "wrong value", "not finite"
MODES, NONE, NOISY, UNRESOLVED = "modes differ", "no derivative", "noisy difference", "unresolved"
FOLLOWS, OUTSIDE, CONVENTION = "follows a wrong function", "outside the slopes", "convention"
ERRORS = (WRONG, NOT_FINITE, OUTSIDE, VALUE, FOLLOWS, MODES, INEXACT, NONE)
"""The kinds that are findings, worst first."""

AGREE, DIFFERENCES = "autodiff and the exact function", "differences"
RELATIVE = 1e-6
"""The relative error that a derivative in float64 may have."""
ROUNDING = 64 * 2.0**-53
"""The error that rounding may cause, relative to |f| / |x|."""
LARGEST = float(np.finfo(np.float64).max)
TINY = 1e-90
"""Errors below this are none: 100 digits may not resolve them beside 1."""
UNSEEN = 1e-12
"""The error, relative to the largest derivative at the given arguments, that differences and modes may leave."""


class Difference(NamedTuple):
    """A derivative by finite differences."""

    value: float
    error: float
    """The estimate of its error."""
    sides: tuple[float, float] | None
    """The slopes on the left and on the right of a kink; infinite at a jump; None where the function is smooth."""
    margin: float
    """The error that `sides` may have."""
    apart: float
    """The largest distance of autodiff from both one-sided slopes of one step, less what noise may explain."""
    coarse: bool
    """Whether the steps are too large to see what the function does within a distance of 1."""


class Evidence(NamedTuple):
    """What is known of one derivative ∂f/∂x at one point."""

    reverse: float
    """By jax.vjp."""
    forward: float | None
    """By jax.jvp, where it exists."""
    difference: Difference | None
    """None if it was not measured."""
    exact: Exact | None
    """None without an exact function."""
    value: float
    """f(x), the output of the function."""
    natural: float
    """|f| / |x|, the size that a derivative naturally has; for small x, |f| / 1e-3."""
    rough: float = 0.0
    """|f| / |x|, however small x is. Of an error far below it, differences alone say nothing."""
    typical: float = 0.0
    """The largest derivative at the given arguments."""
    spread: tuple[float, float] = (0.0, 0.0)
    """How much the exact slope and the exact value change when an argument changes in its last bit."""


class Verdict(NamedTuple):
    """The error of one derivative."""

    kind: str
    got: float
    expected: tuple[float, ...]
    """The right derivative; at a kink the slopes on both sides."""
    by: str
    """Who agrees on the expected number."""


def judge(e: Evidence) -> Verdict | None:
    """Return the error of a derivative; None if it is right, a legitimate convention at a kink, or not measured."""
    if e.exact is not None:
        return _by_exact(e, e.exact)
    return _by_difference(e, e.difference) if e.difference is not None else None


def close(got: float, expected: float, natural: float, spread: float = 0.0) -> bool:
    """Return whether a derivative agrees with the right one.

    >>> close(1.0, 1.0 + 1e-9, 1.0), close(1.0, 1.001, 1.0), close(float("inf"), 1e300 * 1e300, 1.0)
    (True, False, True)
    """
    if math.isinf(expected) or abs(expected) > LARGEST:
        return got == expected or abs(got) > 0.1 * LARGEST
    allowed = RELATIVE * abs(expected) + 64 * spread + ROUNDING * natural + TINY
    return math.isfinite(got) and abs(got - expected) <= allowed


def _by_exact(e: Evidence, exact: Exact) -> Verdict | None:
    slope = exact.slope
    far, resolved = math.inf, False
    if slope is not None and e.difference is not None and e.difference.sides is None:
        far = abs(e.difference.value - slope) - 4 * e.difference.error
        resolved = e.difference.error <= 0.05 * max(abs(e.difference.value), e.natural)
    confirmed = slope is not None and resolved and far <= RELATIVE * abs(slope)
    by = "differences and the exact function" if confirmed else "the exact function"
    if slope is None:
        sides = [side for side in (exact.left, exact.right) if side is not None]
        if len(sides) < 2:  # infinite on both sides, or nothing is known
            return None
        return _at_kink(e, (sides[0], sides[1]), RELATIVE * max(map(abs, sides)), by)
    if not close(e.value, exact.value, 0.0, e.spread[1]):
        if close(e.reverse, slope, e.natural, e.spread[0]):
            return None  # the derivative is right although the value is not
        return Verdict(VALUE, e.value, (exact.value,), "the exact function")
    if close(e.reverse, slope, e.natural, e.spread[0]):
        noisy = resolved and e.difference and far > RELATIVE * abs(slope) + 1e-9 * e.natural
        return Verdict(NOISY, e.difference.value, (slope,), AGREE) if noisy and e.difference else _modes(e, by)
    if not math.isfinite(e.reverse):
        return Verdict(NOT_FINITE, e.reverse, (slope,), by)
    if resolved and not confirmed and e.difference and _agrees(e, e.difference):
        return Verdict(FOLLOWS, e.reverse, (slope,), by)
    return Verdict(_size(e.reverse, slope), e.reverse, (slope,), by)


def _agrees(e: Evidence, d: Difference) -> bool:
    """Return whether differences agree with autodiff."""
    far = abs(e.reverse - d.value)
    return (
        far
        <= 4 * d.error
        + RELATIVE * max(abs(e.reverse), abs(d.value))
        + 1e-9 * max(e.natural, e.rough)
        + UNSEEN * e.typical
    )


def _by_difference(e: Evidence, d: Difference) -> Verdict | None:
    by = DIFFERENCES
    if d.sides is not None:
        return None if math.isinf(d.sides[0]) and math.isfinite(e.reverse) else _at_kink(e, d.sides, d.margin, by)
    size = max(abs(d.value), e.natural)
    if not math.isfinite(d.value) or d.error > 0.05 * size:
        return None
    if not math.isfinite(e.reverse):
        return Verdict(UNRESOLVED if d.coarse else NOT_FINITE, e.reverse, (d.value,), by)
    if _agrees(e, d) or d.apart <= 0.5 * abs(e.reverse - d.value):
        return _modes(e, by)
    return Verdict(UNRESOLVED if d.coarse else _size(e.reverse, d.value), e.reverse, (d.value,), by)


def _at_kink(e: Evidence, sides: tuple[float, float], margin: float, by: str) -> Verdict | None:
    low, high = sorted(sides)
    margin += RELATIVE * max(abs(low), abs(high))
    if low - margin <= e.reverse <= high + margin:
        return None
    return Verdict(OUTSIDE if math.isfinite(e.reverse) else NONE, e.reverse, sides, by)


def _modes(e: Evidence, by: str) -> Verdict | None:
    if e.forward is None or close(e.forward, e.reverse, max(e.natural, e.rough), e.spread[0] + UNSEEN * e.typical):
        return None
    if not math.isfinite(e.forward) and not math.isfinite(e.reverse):
        return None
    return Verdict(MODES, e.forward, (e.reverse,), f"{by} and reverse mode")


def _size(got: float, expected: float) -> str:
    return INEXACT if abs(got - expected) < 1e-3 * abs(expected) else WRONG
