"""Ctrl-C and SIGTERM during a training: recorded when they arrive, and acted on after the current compiled call has
finished and its result is saved.

An interrupt that is recorded cannot be lost. One that is raised can: Python ignores it in a callback of the garbage
collector, where JAX has one.
"""

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable)

_open: list[list[signal.Signals]] = []  # what the training of the main thread has recorded, if one runs

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextlib.contextmanager
def defer_signals(*numbers: signal.Signals) -> Iterator[Callable[[], signal.Signals | None]]:
    """Record SIGINT and SIGTERM instead of acting on them. Yield a function that returns the one that arrived, if any.

    Given `numbers`, only these signals are recorded.

    A second signal acts as usual. Handlers are replaced in the main thread only, and only those that Python installs
    by default: a program that handles or ignores a signal itself keeps doing so. On exit the handlers are restored.

    A training inside another one, for example in its callback, is told of the signals that the outer one records.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    if _open:
        yield lambda: _open[-1][0] if _open[-1] else None
        return
    received: list[signal.Signals] = []
    numbers = numbers or tuple(_DEFAULTS)
    replaced = [number for number in numbers if signal.getsignal(number) is _DEFAULTS[number]]

    def record(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        signal.signal(number, _DEFAULTS[received[-1]])

    _open.append(received)
    for number in replaced:
        signal.signal(number, record)
    try:
        yield lambda: received[0] if received else None
    finally:
        _open.remove(received)
        for number in replaced:
            signal.signal(number, _DEFAULTS[number])


def deferring(name: str, *numbers: signal.Signals) -> Callable[[F], F]:
    """Return a decorator: the function runs to its end, then a signal that arrived meanwhile is raised, also in place
    of an exception of the function.

    Inside a training, for example in a callback, the training handles the signal.

    Args:
      name: the public function, for the message.
      *numbers: the signals. Default: SIGINT and SIGTERM.
    """

    def decorator(function: F) -> F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            inner = bool(_open)
            with defer_signals(*numbers) as signalled:
                try:
                    result = function(*args, **kwargs)
                except Exception as error:
                    number = None if inner else signalled()
                    if number is None:
                        raise
                    raise exception_for(number, f"{name}: stopped by {number.name}", None) from error
            number = None if inner else signalled()
            if number is not None:
                raise exception_for(number, f"{name}: stopped by {number.name}", result)
            return result

        return cast("F", wrapper)

    return decorator


def exception_for(number: signal.Signals, message: str, result: Any) -> BaseException:
    """Return the exception to raise for a signal, with `result` as an attribute.

    This is KeyboardInterrupt for SIGINT; for other signals it is SystemExit with status 128 + number, as in shells.
    """
    error = KeyboardInterrupt(message) if number == signal.SIGINT else SystemExit(128 + number)
    setattr(error, "result", result)  # noqa: B010, since neither exception declares it
    return error
