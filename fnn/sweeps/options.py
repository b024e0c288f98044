"""The options of `make_run`, and what those that are functions of the hyperparameters give for one run."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fnn import checks
from fnn.data.arrays import unpack_batch
from fnn.data.order import seeded_key
from fnn.dtypes import widest
from fnn.row_weights import replace_rows
from fnn.sweeps.schedule import Schedule
from fnn.training.epoch import Program, logging_step
from fnn.training.numerics import Numerics
from fnn.training.step import Step, as_transformation, fresh_state
from fnn.types import Batch, GradientTransformation, Layer, Loss, Metrics, Params, PRNGKey, TrainState
from fnn.weights import IsWeight


class Options(NamedTuple):
    """The checked arguments of `make_run`, without the data."""

    network: Layer | Callable[[Any], Layer]
    loss: Loss
    make_optimizer: Callable[[Any], GradientTransformation]
    schedule: Schedule
    l2: float | Callable[[Any], Any]
    init: Params | Callable[[Any], Params]
    metrics: Metrics
    is_weight: IsWeight
    numerics: Numerics
    weight: Callable[[Any], Any] | None
    held_out: Callable[[Any], Any] | None
    outputs: Callable[[Array], Any] | None
    stop: Callable[[Any], Any] | None
    keep: str | None
    seed: Callable[[Any], Any] | None


def check_schedule(epochs: Any, steps: Any, report_at: Any, batch_size: int) -> Schedule:
    """Return the schedule that these arguments of `make_run` describe."""
    if (epochs is None) == (steps is None):
        came = "neither" if epochs is None else "both"
        raise checks.fail("make_run", "one of epochs and steps", "given, and not both", error=TypeError, came=came)
    unit = "epoch" if steps is None else "step"
    total = checks.positive_int("make_run", f"{unit}s", epochs if steps is None else steps)
    if report_at is None:
        return Schedule(unit, total, tuple(range(1, total + 1)) if unit == "epoch" else (total,), batch_size)
    if not isinstance(report_at, Sequence | np.ndarray) or isinstance(report_at, str) or np.ndim(report_at) != 1:
        raise checks.fail("make_run", "report_at", f"a sequence of {unit}s", report_at, TypeError)
    numbers = tuple(checks.positive_int("make_run", f"report_at[{i}]", number) for i, number in enumerate(report_at))
    if not numbers or list(numbers) != sorted(set(numbers)) or numbers[-1] > total:
        raise checks.fail("make_run", "report_at", f"increasing {unit}s in 1..{total}", came=str(list(numbers)))
    return Schedule(unit, total, numbers, batch_size)


def check_by_run(
    metrics: Metrics, validation: bool, *, held_out: Any, outputs: Any, keep: Any, **functions: Any
) -> None:
    """Check the arguments of `make_run` that differ from run to run."""
    for name, value in {"held_out": held_out, **functions}.items():
        if value is not None and not callable(value):
            raise checks.fail("make_run", name, f"a function: hyper -> {_GIVES[name]}", value, TypeError)
    if held_out is not None and validation:
        raise checks.fail("make_run", "held_out", "None with validation data, of which there can be one kind", held_out)
    if outputs is not None and not callable(outputs):
        raise checks.fail("make_run", "outputs", "a function: prediction -> arrays", outputs, TypeError)
    if outputs is not None and held_out is None and not validation:
        raise checks.fail("make_run", "outputs", "None without held-out rows", came="no held_out and no validation")
    names = ["cost", *(name for name, _ in metrics)]
    if held_out is not None or validation:
        names += [f"validation_{name}" for name in names]
    if keep is not None and keep not in names:
        raise checks.fail("make_run", "keep", f"a name of the history ({', '.join(names)})", came=repr(keep))


_GIVES = {"held_out": "rows", "weight": "weights", "stop": "a number of steps", "seed": "an integer"}


def program_of(options: Options, hyper: Any) -> Program:
    network, l2 = options.network, options.l2
    return Program(
        network if isinstance(network, Layer) else checks.layer("make_run", "network", network(hyper)),
        options.loss,
        as_transformation("make_run", options.make_optimizer(hyper)),
        l2(hyper) if callable(l2) else l2,
        options.metrics,
        options.schedule.batch_size,
        is_weight=options.is_weight,
    )


def _integer(name: str, value: Any) -> Int[Array, ""]:
    """Return what a function of the hyperparameters gave, an integer."""
    value = checks.array("make_run", name, value)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.integer):
        raise checks.fail("make_run", name, "an integer", value, ValueError if value.shape else TypeError)
    return value


def _as_steps(number: Array, step: Array) -> Array:
    """Return a number of steps in the dtype of `step`, or the largest that it holds."""
    most = min(jnp.iinfo(number.dtype).max, jnp.iinfo(step.dtype).max)
    return jnp.clip(number, 0, most).astype(step.dtype)


def _key_of(options: Options, hyper: Any, key: PRNGKey) -> PRNGKey:
    """Return the key of a run's parameters and steps."""
    return key if options.seed is None else seeded_key(key, _integer("seed(hyper)", options.seed(hyper)))


def initial_state(options: Options, hyper: Any, key: PRNGKey) -> TrainState:
    program, init = program_of(options, hyper), options.init
    params = init(hyper) if callable(init) else init
    state = fresh_state(program.network, program.optimizer, _key_of(options, hyper, key), params)
    return state if options.seed is None else state._replace(key=key)


def step_of(options: Options, program: Program, hyper: Any) -> Step:
    """The step of a run: `logging_step`, with the seed and the stop of the run."""
    plain_step = logging_step(program, finite=_shares_rows(options, program))
    if options.seed is None and options.stop is None:
        return plain_step

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        after, out = plain_step(state._replace(key=_key_of(options, hyper, state.key)), batch)
        if options.stop is not None:
            trains = state.step < _as_steps(_integer("stop(hyper)", options.stop(hyper)), state.step)
            keep = lambda new, old: jnp.where(trains, new, old)
            params = jax.tree.map(keep, after.params, state.params)
            after = after._replace(params=params, opt_state=jax.tree.map(keep, after.opt_state, state.opt_state))
        return after._replace(key=state.key), out

    return step


def _shares_rows(options: Options, program: Program) -> bool:
    """Return whether runs with weights of their own share x and y, so that a batch times all their W is one product.

    Rows of weight 0 then stay in a batch. The statistics of `batch_norm` would depend on them.
    """
    return options.weight is not None and program.network.calibrate is None


def training_data(options: Options, program: Program, hyper: Any, data: Batch) -> Batch:
    """Return what a run trains on: the data, with the weights of the run times those of the data."""
    if options.weight is None:
        return data
    x, y, own = unpack_batch("make_run", data)
    weight = checks.array("make_run", "weight(hyper)", options.weight(hyper))
    if weight.shape != data[0].shape[:1]:
        expected = f"of shape ({data[0].shape[0]},), a weight for each row of the data"
        raise checks.fail("make_run", "weight(hyper)", expected, weight)
    weight = weight if jnp.issubdtype(weight.dtype, jnp.floating) else weight.astype(jnp.float32)
    if own is None:
        return x, y, weight
    if _shares_rows(options, program):
        x, y = replace_rows(x, own), replace_rows(y, own)
    dtype = widest(weight, own)
    return x, y, weight.astype(dtype) * own.astype(dtype)


class HeldOut(NamedTuple):
    """The held-out rows of a run: their indices in the data, their weights, and False where there is no row."""

    rows: Int[Array, " k"]
    weight: Float[Array, " k"]
    given: Bool[Array, " k"]


def held_out_of(options: Options, hyper: Any, data: Batch) -> HeldOut:
    """Return the held-out rows of a run. The weight is 0 where there is no row.

    An index that is too large has the weight NaN, so that it is seen in the history.
    """
    index = checks.array("make_run", "held_out(hyper)", options.held_out(hyper))  # pyright: ignore[reportOptionalCall]
    if index.ndim != 1 or not jnp.issubdtype(index.dtype, jnp.integer):
        kind = ValueError if index.ndim != 1 else TypeError
        raise checks.fail("make_run", "held_out(hyper)", "integers (k,), indices of rows, or -1 for none", index, kind)
    size = data[0].shape[0]
    given = index >= 0
    clipped = jnp.clip(index, 0, size - 1)
    own = jnp.ones(index.shape, jnp.float32) if len(data) < 3 else data[2][clipped]
    weight = jnp.where(given, jnp.where(index < size, own, jnp.nan), 0).astype(own.dtype)
    return HeldOut(clipped, weight, given)
