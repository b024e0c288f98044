"""Ctrl-C that Python would lose.

A KeyboardInterrupt is raised in whatever Python function runs when the signal is handled. In a callback of the garbage
collector or of a weak reference, and in `__del__`, Python reports it as ignored and goes on. JAX's callback of the
garbage collector often runs while programs are traced (jax 0.10 and 0.12).
"""

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator

_DELAY = 0.01  # seconds until an interrupt is raised again


@contextlib.contextmanager
def redeliver_interrupts() -> Iterator[None]:
    """Raise a KeyboardInterrupt again if Python ignored it. Works as a decorator, too.

    It does nothing outside the main thread, where no signal is handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, pending = sys.unraisablehook, []

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        timer = threading.Timer(_DELAY, _thread.interrupt_main)  # at once, it would be ignored again
        timer.daemon = True
        pending.append(timer)
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        try:
            while pending:
                pending.pop().join()
        finally:
            if sys.unraisablehook is hook:
                sys.unraisablehook = before
