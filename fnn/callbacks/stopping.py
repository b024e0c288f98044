"""Callbacks that end a training: after some time, or when a value is reached."""

import dataclasses
import math
import time

from fnn import checks, metrics
from fnn.types import TrainState


@dataclasses.dataclass(frozen=True)
class TimeLimit:
    """The callback that `time_limit` returns."""

    seconds: float
    started: float

    def __call__(self, epoch: int, logs: dict[str, float], state: TrainState) -> bool:
        return time.monotonic() - self.started >= self.seconds


def time_limit(seconds: float) -> TimeLimit:
    """Return a callback that ends the training after this many seconds.

    The clock starts when `time_limit` is called, so that the time to compile counts; make a new one for each training.
    `fit` finishes the epoch that it is in. If there are several processes, the first whose clock runs out ends the
    training in all of them.

    Args:
      seconds: the time, a positive number.

    Returns:
      A callback for `fnn.fit`.

    >>> callback = time_limit(3600)
    >>> callback(1, {"cost": 0.5}, None)
    False
    """
    checks.number("time_limit", "seconds", seconds)
    if not float(seconds) > 0:
        raise checks.fail("time_limit", "seconds", "a positive number", seconds)
    return TimeLimit(float(seconds), time.monotonic())


@dataclasses.dataclass(frozen=True)
class Target:
    """The callback that `target` returns."""

    name: str
    value: float
    lower_is_better: bool

    def __call__(self, epoch: int, logs: dict[str, float], state: TrainState) -> bool:
        return reached(value_of("target", logs, self.name), self.value, self.lower_is_better)


def target(name: str, value: float, *, lower_is_better: bool | None = None) -> Target:
    """Return a callback that ends the training when a value of the history is at least as good as `value`.

    Args:
      name: a name in the history of `fit`, such as "validation_accuracy".
      value: the value to reach.
      lower_is_better: whether lower values are better. Default: True for names that end in "cost", "loss" or "error".

    Returns:
      A callback for `fnn.fit`. It can be pickled.

    Raises:
      ValueError: from the callback, if the history has no such name.

    >>> callback = target("validation_accuracy", 0.9)
    >>> callback(1, {"cost": 0.5, "validation_accuracy": 0.89}, None), callback(2, {"validation_accuracy": 0.9}, None)
    (False, True)
    """
    check_name("target", name)
    checks.number("target", "value", value)
    lower = metrics.lower_is_better(name) if lower_is_better is None else lower_is_better
    check_flag("target", lower)
    return Target(name, float(value), lower)


def reached(value: float, goal: float, lower_is_better: bool) -> bool:
    """Return True if the value is at least as good as the goal. NaN never is."""
    return value <= goal if lower_is_better else value >= goal


def better(value: float, best: float | None, lower_is_better: bool) -> bool:
    """Return True if the value is better than the best so far. None and NaN are worse than every number."""
    if best is None or math.isnan(best):
        return not math.isnan(value)
    return value < best if lower_is_better else value > best


def check_name(function: str, name: object) -> None:
    """Check for a name of the history."""
    if not isinstance(name, str) or not name:
        raise checks.fail(function, "name", "a name in the history, such as 'validation_cost'", name, TypeError)


def check_flag(function: str, lower_is_better: object) -> None:
    """Check for True or False."""
    if not isinstance(lower_is_better, bool):
        raise checks.fail(function, "lower_is_better", "True or False", lower_is_better, TypeError)


def value_of(function: str, logs: dict[str, float], name: str) -> float:
    """Return the value of this name."""
    if name not in logs:
        advice = "Names that begin with `validation_` need the argument `validation` of fit."
        raise checks.fail(function, "name", f"one of {', '.join(logs)}", came=repr(name), advice=advice)
    return float(logs[name])
