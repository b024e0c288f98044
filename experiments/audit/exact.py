"""The third reference: derivatives of exact functions, by differences of mpmath's numbers with 100 digits.

    (f(x + h) - f(x)) / h   and   (f(x) - f(x - h)) / h,   h = 1e-35 min(|x|, 1)   (1e-35 at x = 0)

x is the exact value of a float. A slope counts if a step of h/1000 agrees with it, which fails where the derivative is
infinite, or if it falls with h, and is then 0. The differences lose 35 digits and leave more than 50; small
and large x get as many more digits as h and the fractional part of x need.
"""

import contextlib
import importlib
import importlib.util
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

DIGITS = 100
SHIFT = 0.37 * 2.0**-52
"""The relative change of x in its last bit, for the conditioning of a function."""
LIMIT = 0.5
"""Seconds for one number."""


class Exact(NamedTuple):
    """An exact function at one point."""

    value: float
    """Its value."""
    left: float | None
    """The slope on the left; None if there is none, as outside the domain or where it is infinite."""
    right: float | None

    @property
    def slope(self) -> float | None:
        """The derivative: both slopes where they agree, or the only one; None at a kink and where there is none."""
        if self.left is None or self.right is None:
            return self.right if self.left is None else self.left
        if self.left == self.right:  # both may be too large for a float
            return self.left
        return self.left if abs(self.left - self.right) <= 1e-12 * max(abs(self.left), abs(self.right)) else None


def available() -> bool:
    """Return whether mpmath is installed."""
    return importlib.util.find_spec("mpmath") is not None


def exact(function: Callable, numbers: Sequence[Any], position: int, moved: tuple[int, int] = (0, 0)) -> Exact | None:
    """Return an exact function's value and its slopes in one of its arguments; None if it has no real value there.

    Args:
      function: (mpmath, *numbers) -> a number of mpmath.
      numbers: the arguments, floats and integers.
      position: the argument to differentiate.
      moved: (argument, sign) moves this argument by less than its last bit.
    """
    mp = importlib.import_module("mpmath").mp
    size = abs(numbers[position])
    with mp.workdps(DIGITS + (abs(math.floor(math.log10(size))) if size else 0)):
        return _exact(mp, function, numbers, position, moved)


def _exact(mp: Any, function: Callable, numbers: Sequence[Any], position: int, moved: tuple[int, int]) -> Exact | None:
    values = [mp.mpf(v) if isinstance(v, float) else v for v in numbers]
    if moved[1]:
        values[moved[0]] *= 1 + moved[1] * mp.mpf(SHIFT)
    x = values[position]

    def at(shift: Any) -> Any:
        y = function(mp, *values[:position], x + shift, *values[position + 1 :])
        y = mp.mpmathify(y)
        if not mp.isfinite(y) or mp.im(y) != 0:
            raise ValueError("not a real number")
        return mp.re(y)

    def side(sign: int) -> float | None:
        h = sign * min(abs(x) or mp.mpf(1), mp.mpf(1)) * mp.mpf(10) ** -35
        try:
            with _limited():
                wide, narrow = (at(h) - zero) / h, (at(h / 1000) - zero) * 1000 / h
        except Exception:
            return None
        if abs(wide - narrow) <= mp.mpf(10) ** -12 * abs(narrow):
            return float(narrow)
        return 0.0 if abs(narrow) < abs(wide) / 10 else None

    try:
        with _limited():
            zero = at(0)
    except Exception:
        return None
    return Exact(float(zero), side(-1), side(1))


class _TooSlow(Exception):
    """A number took longer than LIMIT."""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise _TooSlow after LIMIT seconds. Does nothing where there are no timers, or outside the main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
