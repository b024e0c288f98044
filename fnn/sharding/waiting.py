"""Waiting in several processes, until each of them has what it waits for."""

from collections.abc import Callable
from typing import Any, TypeVar

from fnn.sharding import agreement

T = TypeVar("T")


def wait_together(function: str, poll: Callable[[], T | None], waiting: Callable[[], Any]) -> T:
    """Wait until every process has its own value.

    Every process must call it, in its main thread. While one waits, all of them exchange two flags at each poll, so an
    error in one ends the wait of all, and `waiting` may see to a signal that only one received.

    Args:
      function: the name that begins the message of an error of another process.
      poll: a function that waits shortly, and returns a value, or None if there is none yet. It may raise.
      waiting: a function to call in all processes while one of them has no value. It may communicate.

    Raises:
      Exception: what `poll` raised; in the other processes a RuntimeError that quotes it.

    >>> wait_together("fit", lambda: "a chunk", lambda: None)
    'a chunk'
    """
    found, failure = None, None
    while True:
        try:
            found = poll() if found is None else found
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            failure = error
        failed, absent = agreement.all_max(failure is not None, found is None)
        if failed:
            with agreement.fail_together(function):
                if failure is not None:
                    raise failure
        if found is not None and not absent:
            return found
        waiting()
