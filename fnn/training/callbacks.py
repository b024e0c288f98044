"""Calling the callbacks of fit."""

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from fnn import checks
from fnn.sharding import agreement
from fnn.sharding.layout import Layout
from fnn.sharding.placement import to_user_mesh
from fnn.types import TrainState

Callback = Callable[[int, dict[str, float], TrainState], bool | None]


def call_all(
    callbacks: Sequence[Callback], layout: Layout | None, epoch: int, logs: dict[str, float], state: TrainState
) -> tuple[bool, KeyboardInterrupt | None]:
    """Call every callback, with the user's mesh set.

    The processes agree after each of them whether it failed or was interrupted, since the next one may communicate.

    Returns: whether one of them, in any process, ends the training; and the KeyboardInterrupt that one raised here.
    """
    stopped, interrupt = False, None
    (count,) = agreement.all_max(len(callbacks))  # those of the processes may differ
    with contextlib.nullcontext() if layout is None else jax.set_mesh(layout.mesh):
        state = state if layout is None else to_user_mesh(layout, state)
        for i in range(count):
            with agreement.fail_together("fit"):
                try:
                    for callback in callbacks[i : i + 1]:
                        stopped |= _check_result(callback(epoch, dict(logs), state))
                except KeyboardInterrupt as error:  # the other processes have to hear of it
                    interrupt = error
            if agreement.all_max(interrupt is not None)[0]:
                break
    return bool(agreement.all_max(stopped)[0]), interrupt


def _check_result(value: Any) -> bool:
    """Whether the training ends. Anything but None and a boolean is an error: it may be returned by mistake."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if getattr(value, "dtype", None) == np.bool_ and value.shape == ():
        return bool(value)
    advice = "Call a function that returns something else inside a function of your own, without `return`."
    if inspect.iscoroutine(value):
        value.close()
        advice = "It is not awaited: pass a plain function."
    raise checks.fail("fit", "callback", "a function that returns None, True or False", value, TypeError, advice=advice)
