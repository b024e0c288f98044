"""Checks of the arguments of fit."""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fnn import checks
from fnn.checkpoint.background import Saves
from fnn.sharding import agreement
from fnn.sharding.layout import Layout
from fnn.training.compatibility import CHANGEABLE
from fnn.training.data_checks import metric_pairs
from fnn.training.epoch import Program
from fnn.training.fingerprint import program_fingerprint
from fnn.training.numerics import Numerics, resolved
from fnn.training.resume import CheckpointOptions
from fnn.training.step import as_transformation, fresh_state, init_state
from fnn.types import GradientTransformation, Layer, Loss, Metric, PRNGKey, TrainState
from fnn.weights import IsWeight, check_is_weight


def check_program(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    *,
    l2: float,
    metrics: Mapping[str, Metric] | None,
    batch_size: int,
    patience: int | None,
    micro_batch_size: int | None,
    is_weight: IsWeight,
    numerics: Numerics,
) -> Program:
    """The arguments of fit that its compiled programs depend on, checked."""
    checks.layer("fit", "network", network)
    pairs = metric_pairs("fit", loss, metrics)
    as_transformation("fit", optimizer)
    checks.number("fit", "l2", l2, minimum=0.0)
    check_is_weight("fit", is_weight)
    if micro_batch_size is not None:
        micro_batch_size = checks.positive_int("fit", "micro_batch_size", micro_batch_size)
    if patience is not None:
        patience = checks.positive_int("fit", "patience", patience)
    batch_size = checks.positive_int("fit", "batch_size", batch_size)
    numbers = batch_size, patience, micro_batch_size
    return Program(network, loss, optimizer, float(l2), pairs, *numbers, is_weight, resolved(numerics))


def check_checkpoint_options(
    folder: Any, *, every: Any, every_steps: Any, keep: Any, resume: Any, allow_changes: Any = ()
) -> CheckpointOptions | None:
    """The options for checkpoints, checked, with an empty fingerprint; None if no checkpoints are asked for."""
    every = checks.positive_int("fit", "checkpoint_every", every)
    keep = checks.positive_int("fit", "keep", keep)
    if every_steps is not None:
        every_steps = checks.positive_int("fit", "checkpoint_every_steps", every_steps)
    if not isinstance(resume, bool):
        raise checks.fail("fit", "resume", "True or False", resume, TypeError)
    if isinstance(allow_changes, str) or not isinstance(allow_changes, Collection):
        expected = "a tuple of names, such as ('optimizer',)"
        raise checks.fail("fit", "allow_changes", expected, allow_changes, TypeError)
    if unknown := [name for name in allow_changes if name not in CHANGEABLE]:
        raise checks.fail("fit", "allow_changes", f"names from {', '.join(CHANGEABLE)}", unknown[0])
    if folder is None:
        if resume or every_steps is not None:
            name = "resume" if resume else "checkpoint_every_steps"
            raise checks.fail("fit", "checkpoint_dir", f"given if `{name}` is", came="None")
        return None
    path = checks.path("fit", "checkpoint_dir", folder).absolute()  # a callback may change the working directory
    return CheckpointOptions(Saves(path), every, every_steps, keep, resume, {}, {}, tuple(allow_changes))


def check_intervals(epochs: Any, report_every: Any, callback_every: Any) -> tuple[int, int, int]:
    """The number of epochs, and the epochs between two reports and between two calls of the callback, checked."""
    epochs = checks.positive_int("fit", "epochs", epochs)
    report_every = checks.positive_int("fit", "report_every", report_every)
    callback_every = report_every if callback_every is None else callback_every
    return epochs, report_every, checks.positive_int("fit", "callback_every", callback_every)


def check_callbacks(callback: Any) -> tuple[Callable, ...]:
    """The callbacks of fit, checked: a function, a sequence of them, or None."""
    several = isinstance(callback, Sequence) and not isinstance(callback, str)
    callbacks: tuple[Any, ...] = () if callback is None else tuple(callback) if several else (callback,)
    for function in callbacks:
        if isinstance(function, type) or not callable(function):
            expected = "a function of epoch, {name: value}, state, or a list of such functions"
            raise checks.fail("fit", "callback", expected, function, TypeError)
    return callbacks


def assert_same_arguments(
    program: Program, key: PRNGKey | None, data: Any, *, options: dict[str, Any], given: dict[str, Any]
) -> None:
    """Raise in every process if they called fit with different arguments.

    For the values in `given`, the processes need only agree on which of them are None.
    """
    options = options | {name: None if value is None else "given" for name, value in given.items()}
    options |= {"data": str(callable(data)), **program.numerics._asdict()}
    key_data = None if key is None else np.asarray(jax.random.key_data(checks.key("fit", key))).tolist()
    agreement.assert_same("fit", **options, key=key_data, **program_fingerprint(program))


def check_start(program: Program, key: PRNGKey | None, state: TrainState | None, layout: Layout | None) -> TrainState:
    """The state to start from: initialised from the key, or the given one."""
    if (state is None) == (key is None):
        raise checks.fail(
            "fit", "key", "given if and only if `state` is not", came="neither" if key is None else "both"
        )
    network, optimizer = program.network, program.optimizer
    if key is not None:
        return init_state(network, optimizer, checks.key("fit", key), sharding=layout)
    if not isinstance(state, TrainState):
        raise checks.fail("fit", "state", "a TrainState", state, TypeError)
    abstract_key = jax.ShapeDtypeStruct(state.key.shape, state.key.dtype)  # without the sharding of the key
    fresh = jax.eval_shape(functools.partial(fresh_state, network, optimizer), abstract_key)
    if jax.tree.structure(state) != jax.tree.structure(fresh):
        raise checks.fail(
            "fit", "state", "a state of this network and this optimizer", came="a tree of another structure"
        )
    return state
