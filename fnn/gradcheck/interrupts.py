"""Ctrl-C that Python would lose.

A KeyboardInterrupt is raised in whatever Python function runs when the signal is handled. In a callback of the garbage
collector or of a weak reference, and in `__del__`, Python reports it as ignored and goes on. JAX's callback of the
garbage collector often runs while programs are traced (jax 0.10 and 0.12). In a `jax.pure_callback` it becomes an error
of XLA, which a check reports as one of the function under test.
"""

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import NoReturn

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""

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
        pending.append(threading.Thread(target=_interrupt_main_after, args=(hook.__code__,), daemon=True))
        pending[-1].start()

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


def _interrupt_main_after(hook: CodeType) -> None:
    """Raise KeyboardInterrupt in the main thread once it has left the hook, in which it would be ignored again."""
    main, inside = threading.main_thread().ident or 0, True
    while inside:
        time.sleep(_DELAY)
        frame = sys._current_frames().get(main)
        while frame is not None and frame.f_code is not hook:
            frame = frame.f_back
        inside = frame is not None
    _thread.interrupt_main()


@contextlib.contextmanager
def raise_interrupts() -> Iterator[None]:
    """Raise the KeyboardInterrupt of a Ctrl-C at the end, if it was neither raised before nor is the caller's own.

    Like `redeliver_interrupts`, and for code that catches an exception into which the interrupt was turned.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        with redeliver_interrupts():
            yield
        return
    received = []

    def record(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.default_int_handler(number, frame)

    with redeliver_interrupts():
        signal.signal(signal.SIGINT, record)
        try:
            yield
        except Exception as error:
            if received:
                raise KeyboardInterrupt from error
            raise
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if received:
            raise KeyboardInterrupt


def leave(code: int) -> NoReturn:
    """End the process with an exit code.

    XLA compiles in threads of its own, which an interrupt does not stop. Python's way out would destroy the client that
    they use (a segmentation fault in jax 0.10), so an interrupted command leaves at once.
    """
    if code != INTERRUPTED:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed pipe or stream
            stream.flush()
    os._exit(code)
