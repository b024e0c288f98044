"""Whether a function takes the arguments of a call, so that an error names what it takes instead."""

import inspect
from collections.abc import Callable


def misfit(function: Callable, args: tuple) -> inspect.Signature | None:
    """Return what a function takes if it does not take as many arguments by position as `args`, else None.

    Also None for a function that cannot be inspected.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*args)
    except TypeError:
        return signature.replace(return_annotation=signature.empty)
    return None


def check_call(who: str, name: str, function: Callable, args: tuple, error: Exception) -> None:
    """Raise a TypeError if a call has failed because a function does not take so many arguments."""
    got = misfit(function, args)
    if got is not None:
        raise TypeError(f"{who}: {name} must take {len(args)} arguments by position, got {got}") from error
