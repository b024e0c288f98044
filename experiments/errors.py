"""Errors that end an experiment with one line instead of a traceback."""

import difflib
import importlib.util
import math
from collections.abc import Collection, Iterable


class ExperimentError(Exception):
    """An error that ends the experiment with a message.

    `code` is the exit code of the command.
    """

    code = 1


class UsageError(ExperimentError):
    """A flag has an invalid value."""

    code = 2


class DataError(ExperimentError):
    """A data file is damaged, wrong or not available; the message names it."""


def usage(flag: str, expected: str, got: object) -> UsageError:
    """Return the error for a flag with an invalid value.

    >>> usage("--epochs", "at least 1", 0)
    UsageError('--epochs must be at least 1, got 0')
    """
    return UsageError(f"{flag} must be {expected}, got {got}")


def at_least(flag: str, value: float, minimum: float) -> None:
    """Raise UsageError unless value is finite and >= minimum."""
    if not (math.isfinite(value) and value >= minimum):
        raise usage(
            flag, f"finite and at least {minimum}" if isinstance(value, float) else f"at least {minimum}", value
        )


def positive(flag: str, value: float) -> None:
    """Raise UsageError unless value is finite and > 0."""
    if not (math.isfinite(value) and value > 0):
        raise usage(flag, "finite and above 0", value)


def among(flag: str, names: Collection[str], known: Iterable[str]) -> None:
    """Raise UsageError unless there are names, all of them known."""
    known = tuple(known)
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise usage(flag, f"among {', '.join(known)}", ", ".join(wrong) or "none")


def nearest(flag: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not known, with those that are most like it.

    >>> nearest("--only", "jax.nn.rellu", ["jax.nn.relu", "optax.sgd"])
    UsageError("--only: no 'jax.nn.rellu'; did you mean jax.nn.relu?")
    """
    known = tuple(known)
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose among {len(known)}, such as {known[0]}"
    return UsageError(f"{flag}: no {name!r}; {hint}")


def needs(*modules: str) -> None:
    """Raise ExperimentError unless these modules are installed.

    The message gives the command to install them.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ExperimentError(f"not installed: {', '.join(missing)}; install with: pip install -e '.[experiments]'")
