"""Signal handlers: which ones a training replaces, and that it restores them."""

import os
import signal
import threading

import pytest

from fnn.training import signals


def test_only_default_handlers_in_the_main_thread_are_replaced():
    mine = lambda number, frame: None
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with signals.defer_signals() as signalled:
            assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            os.kill(os.getpid(), signal.SIGINT)
            assert signalled() == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):  # a second signal is not deferred
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    seen = []

    def elsewhere():
        with signals.defer_signals() as signalled:
            seen.extend([signalled(), signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [None, signal.default_int_handler]
