"""Ctrl-C and SIGTERM during a training: noted, and acted on when the work under way is done and saved."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextlib.contextmanager
def defer_signals() -> Iterator[Callable[[], signal.Signals | None]]:
    """A function that tells which of the two signals has come, if one has.

    A second one acts as it would have without. Only in the main thread, and only where Python's own handler is
    installed: who has a handler of their own, or ignores the signal, meant that. On leaving all is as before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: list[signal.Signals] = []
    ours = [number for number, default in _DEFAULTS.items() if signal.getsignal(number) is default]

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number))
        signal.signal(number, _DEFAULTS[came[-1]])

    for number in ours:
        signal.signal(number, note)
    try:
        yield lambda: came[0] if came else None
    finally:
        for number in ours:
            signal.signal(number, _DEFAULTS[number])


def exception_for(number: signal.Signals, message: str) -> BaseException:
    """What to raise for it: KeyboardInterrupt, or SystemExit with the code that a shell gives for the signal."""
    return KeyboardInterrupt(message) if number == signal.SIGINT else SystemExit(128 + number)
