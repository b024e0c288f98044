"""fit: the host's loop over compiled epochs. The host is visited only when there is something to report."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fnn import checks
from fnn.data import check_batch_size
from fnn.evaluation import check_data, check_targets, metric_pairs
from fnn.normalization import calibrate
from fnn.progress import reporting
from fnn.run import reported_epoch
from fnn.train import as_transformation, init_state, make_logging_step
from fnn.types import (
    Batch,
    Data,
    FitResult,
    GradientTransformation,
    Layer,
    Loss,
    Metric,
    Metrics,
    Params,
    PRNGKey,
    TrainState,
)

_DISPATCH_SECONDS = 0.5  # what a dispatch is grown to at least, so that neither overhead nor Ctrl-C takes long


class _Program(NamedTuple):
    """What is fixed in the compiled program; hashable, so that a second fit of the same does not compile again."""

    network: Layer
    loss: Loss
    optimizer: GradientTransformation
    l2: float
    metrics: Metrics
    batch_size: int
    patience: int | None


class _Best(NamedTuple):
    """Early stopping: the best state so far, its validation cost, and the epochs since."""

    params: Params
    opt_state: Any
    step: Array
    cost: Array
    waited: Array


class _Carry(NamedTuple):
    """What goes from epoch to epoch on the device. history: name -> (epochs,), filled up to `epoch`."""

    state: TrainState
    history: dict[str, Array]
    epoch: Array
    finite: Array
    best: _Best | None


def _one_epoch(program: _Program, state: TrainState, data: Batch, validation: Batch | None):
    """-> state, {name: what this epoch adds to history}"""
    network, loss, optimizer, l2, metrics, batch_size, _ = program
    step = make_logging_step(network, loss, optimizer, l2, metrics)
    return reported_epoch(network, loss, step, metrics, batch_size, state, data, validation)


def _keep_best(best: _Best, state: TrainState, cost: Array) -> _Best:
    improved = cost < best.cost
    here = _Best(state.params, state.opt_state, state.step, cost, jnp.zeros_like(best.waited))
    return jax.tree.map(lambda new, old: jnp.where(improved, new, old), here, best._replace(waited=best.waited + 1))


def _patient(program: _Program, best: _Best) -> Array:
    return best.waited < jnp.int32(program.patience)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _start(program: _Program, epochs: int, state: TrainState, data: Batch, validation: Batch | None) -> _Carry:
    """The carry before the first epoch, with buffers of its own: the caller's state is not donated."""
    logs = jax.eval_shape(functools.partial(_one_epoch, program), state, data, validation)[1]
    history = {name: jnp.full(epochs, jnp.nan, log.dtype) for name, log in logs.items()}
    best = None
    if program.patience is not None:
        cost = jnp.asarray(jnp.inf, logs["validation_cost"].dtype)
        best = _Best(*state[:3], cost, jnp.zeros((), jnp.int32))
    return jax.tree.map(jnp.copy, _Carry(state, history, jnp.zeros((), jnp.int32), jnp.asarray(True), best))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(program: _Program, carry: _Carry, data: Batch, validation: Batch | None, until: Array) -> _Carry:
    """Epochs up to `until` (an argument: one compilation for any number), fewer if patience or finiteness ends."""

    def goes_on(carry: _Carry) -> Array:
        in_time = (carry.epoch < until) & carry.finite
        return in_time if carry.best is None else in_time & _patient(program, carry.best)

    def body(carry: _Carry) -> _Carry:
        state, logs = _one_epoch(program, carry.state, data, validation)
        history = {name: column.at[carry.epoch].set(logs[name]) for name, column in carry.history.items()}
        best = None if carry.best is None else _keep_best(carry.best, state, logs["validation_cost"])
        finite = jnp.isfinite(logs["cost"]) & jnp.isfinite(logs.get("validation_cost", 0.0))
        return _Carry(state, history, carry.epoch + 1, finite, best)

    return jax.lax.while_loop(goes_on, body, carry)


@functools.partial(jax.jit, static_argnums=0)
def _copy(program: _Program, state: TrainState, x: Array) -> TrainState:
    """The state as it can be used: with buffers of its own, and population statistics."""
    return jax.tree.map(jnp.copy, state._replace(params=calibrate(program.network, state.params, x)))


def fit(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    key: PRNGKey | None = None,
    l2: float = 0.0,
    validation: Data | None = None,
    metrics: Mapping[str, Metric] | None = None,
    patience: int | None = None,
    progress: bool = True,
    report_every: int = 1,
    callback: Callable[[int, dict[str, float], TrainState], bool | None] | None = None,
    state: TrainState | None = None,
) -> FitResult:
    """Trains on (x, y) or (x, y, weight) for this many epochs -> FitResult(state, history).

    history   NumPy arrays, an entry per epoch: "cost" (with the penalty) and each metric, means over the batches of
              that epoch as they were trained on; with `validation`, "validation_cost" (without) and "validation_…".
    key       draws parameters, shuffles and dropout. `state` instead continues from one; it is left as it is.
    metrics   names and functions (prediction, target) -> values (batch,); by default those of the loss.
    patience  stop after this many epochs without a lower validation cost, and return the state that had the lowest.
    progress  every `report_every` epochs a line, on a terminal with a progress bar; False: silence.
    callback  callback(epoch, {name: value}, state) then too; the state is a copy, to keep. True ends training.

    A cost that is not finite ends it with a FloatingPointError that names the epoch.
    A second call with the same network, loss and optimizer (the same values, not others like them) compiles nothing.
    Epochs run on the device in as few calls as reports allow. If the network has batch_norm, its population
    statistics are set from all of x before validation and at the end.

    >>> import fnn
    >>> x = jnp.linspace(-1, 1, 100)[:, None]
    >>> result = fit(fnn.dense(1, 1), fnn.squared_error, fnn.sgd(0.1), (x, 2 * x + 1),
    ...              epochs=50, batch_size=10, key=jax.random.key(0), progress=False)
    >>> result.state.params.w.round(2), result.history["cost"].shape
    (Array([[2.]], dtype=float32), (50,))
    """
    checks.layer("fit", "network", network)
    pairs = metric_pairs("fit", loss, metrics)
    as_transformation("fit", optimizer)
    checks.number("fit", "l2", l2, minimum=0.0)
    if callback is not None and not callable(callback):
        raise checks.fail("fit", "callback", "a function: epoch, {name: value}, state", callback, TypeError)
    epochs = checks.positive_int("fit", "epochs", epochs)
    report_every = checks.positive_int("fit", "report_every", report_every)
    arrays = check_data("fit", "data", data)
    batch_size = check_batch_size("fit", batch_size, arrays[0].shape[0])
    if patience is not None:
        patience = checks.positive_int("fit", "patience", patience)
        if validation is None:
            raise checks.fail("fit", "validation", "given when patience is: it decides what is best", came="None")
    if (state is None) == (key is None):
        raise checks.fail("fit", "key", "given, or else `state`", came="neither" if key is None else "both")
    if key is not None:
        state = init_state(network, optimizer, checks.key("fit", key))
    elif not isinstance(state, TrainState):
        raise checks.fail("fit", "state", "a TrainState", state, TypeError)
    else:
        fresh = jax.eval_shape(functools.partial(init_state, network, optimizer), state.key)
        if jax.tree.structure(state) != jax.tree.structure(fresh):
            raise checks.fail("fit", "state", "one of this network and this optimizer", came="another tree")
    check_targets(network, loss, state.params, arrays)
    held_out = None
    if validation is not None:
        held_out = check_data("fit", "validation", validation)
        check_targets(network, loss, state.params, held_out)

    program = _Program(network, loss, optimizer, float(l2), pairs, batch_size, patience)
    carry = _start(program, epochs, state, arrays, held_out)
    done, chunk, stopped = 0, 1, False
    with reporting(progress, epochs) as report:
        while done < epochs and not stopped:
            until = min(epochs, done + chunk)
            if progress or callback:
                until = min(until, done - done % report_every + report_every)
            start = time.perf_counter()
            carry = _advance(program, carry, arrays, held_out, jnp.int32(until))
            done = int(carry.epoch)
            if not bool(carry.finite):
                costs = [f"{name} {float(carry.history[name][done - 1])}" for name in carry.history if "cost" in name]
                raise FloatingPointError(f"fit: the cost must be finite, got {', '.join(costs)} in epoch {done}")
            if time.perf_counter() - start < _DISPATCH_SECONDS:
                chunk *= 2
            stopped = carry.best is not None and not bool(_patient(program, carry.best))
            last = stopped or done == epochs
            if (progress or callback) and (done % report_every == 0 or last):
                logs = {name: float(column[done - 1]) for name, column in carry.history.items()}
                report.line(done, logs)
                stopped |= callback is not None and bool(callback(done, logs, _copy(program, carry.state, arrays[0])))
            report.advance(done)
    history = {name: np.asarray(column)[:done] for name, column in carry.history.items()}
    final = carry.state
    if carry.best is not None:
        final = TrainState(carry.best.params, carry.best.opt_state, carry.best.step, final.key)
    elif network.calibrate is not None:
        final = _copy(program, final, arrays[0])
    return FitResult(final, history)
