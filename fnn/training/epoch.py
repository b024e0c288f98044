"""An epoch: shuffle, scan the step over the batches, and report its means and the validation."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from fnn import checks
from fnn.data.arrays import check_batch_size, check_examples
from fnn.data.order import epoch_order
from fnn.dtypes import widest
from fnn.layers.normalization import calibrate
from fnn.sharding import agreement, rows
from fnn.sharding.layout import Layout, check_layout, with_auto_axes
from fnn.sharding.placement import constrained, on_auto_mesh, place_state, to_user_mesh
from fnn.sharding.rows import Examples, Rows
from fnn.training.compiled import compiled
from fnn.training.forward_pass import evaluation_batch, means, per_example
from fnn.training.numerics import Numerics, check_numerics, resolved
from fnn.training.step import Step, make_logging_step
from fnn.types import Data, GradientTransformation, Layer, Loss, Metrics, Params, TrainState
from fnn.weights import IsWeight, is_weight


class Program(NamedTuple):
    """Everything that defines a training run except its arrays: network, loss, optimizer and options.

    It is a static argument of the compiled programs of `fit`, and hashable: a second `fit` with an equal one compiles
    nothing.
    """

    network: Layer
    loss: Loss
    optimizer: GradientTransformation
    l2: float | Array
    metrics: Metrics
    batch_size: int
    patience: int | None = None
    micro_batch_size: int | None = None
    is_weight: IsWeight = is_weight
    numerics: Numerics = Numerics()


compiled_program = functools.partial(compiled, static=1, numerics=lambda program, *_: program.numerics)
"""`compiled` for functions whose first argument is a Program: they compute as its `numerics` say."""


def logging_step(program: Program, finite: bool = False) -> Step:
    """The step of this program: `make_logging_step`."""
    return make_logging_step(
        program.network,
        program.loss,
        program.optimizer,
        l2=program.l2,
        metrics=program.metrics,
        micro_batch_size=program.micro_batch_size,
        is_weight=program.is_weight,
        finite=finite,
    )


def reported_epoch(
    program: Program, state: TrainState, data: Examples, validation: Examples | None
) -> tuple[TrainState, dict[str, Array]]:
    """Run one epoch and report it.

    Returns: the state after it, and {name: value}, what the epoch adds to the history: "cost" and the metrics as means
    over the steps, each step with the weight of its batch; with `validation` also "validation_cost" and
    "validation_…", without the penalty.
    """
    state, (weight, logs) = epoch(logging_step(program), program.batch_size, state, data)
    params, logs = report(program, state.params, weight, logs, data, validation)
    return state._replace(params=params), logs


def epoch(
    step: Step, batch_size: int, state: TrainState, examples: Examples, unroll: int = 1
) -> tuple[TrainState, PyTree]:
    """Run one epoch: shuffle, scan over the full batches, then step once on the smaller remainder.

    Not jitted; `make_epoch` jits it. The results of the steps are stacked: (steps, …). If one batch holds all examples,
    they are not shuffled. `unroll` is the number of steps in an iteration of the scan.
    """
    size, step = check_examples("epoch", rows.all_rows(examples)), constrain_step(step, examples)
    if check_batch_size("make_epoch", batch_size, size) == size:
        state, out = step(state, rows.all_rows(examples))
        return state, jax.tree.map(lambda leaf: leaf[None], out)
    full, rest = epoch_order(state.key, state.step, size, batch_size)
    state, outs = jax.lax.scan(lambda state, index: step(state, rows.take(examples, index)), state, full, unroll=unroll)
    if rest.size:
        state, out = step(state, rows.take(examples, rest))
        outs = jax.tree.map(lambda leaves, leaf: jnp.concatenate([leaves, leaf[None]]), outs, out)
    return state, outs


def constrain_step(step: Step, examples: Examples) -> Step:
    """The step with batch and state constrained to the layout of the examples, if they lie on a mesh."""
    return constrained(examples.layout, step) if isinstance(examples, Rows) else step


def report(
    program: Program,
    params: Params,
    weight: Array,
    logs: dict[str, Array],
    data: Examples,
    validation: Examples | None,
) -> tuple[Params, dict[str, Array]]:
    """Average the logs of an epoch's steps, and evaluate on the validation data.

    Returns: the parameters (calibrated on `data` if there are validation data), and {name: value}.
    """
    logs = {name: _mean_of_steps(values, weight) for name, values in logs.items()}
    if validation is not None:
        params = calibrate(program.network, rows.split_params(data, params), rows.inputs_with_weight(data))
        batch_size = evaluation_batch(program.batch_size)
        values = per_example(program.network, program.loss, program.metrics, params, validation, batch_size)
        logs |= {f"validation_{name}": value for name, value in means(values, rows.all_rows(validation)).items()}
    return params, logs


def _mean_of_steps(values: Array, weight: Array) -> Array:
    """Compute `weighted_mean` as a matrix product, [w 1]ᵀ [v 1]. XLA does not fuse this product with other operations,
    so it rounds in the same way in every program.
    """
    values = values.astype(widest(values, jnp.float32))
    ones = jnp.ones_like(values)
    left, right = jnp.stack([weight.astype(values.dtype), ones]), jnp.stack([values, ones], axis=1)
    product = jnp.matmul(left, right, precision="highest")
    return product[0, 0] / jnp.where(product[0, 1] == 0, 1, product[0, 1])


@compiled(static=3, donate_argnums=0, numerics=lambda numerics, *_: numerics)
def _epoch(numerics: Numerics, step: Step, batch_size: int, state: TrainState, examples: Examples):
    return epoch(step, batch_size, state, examples)


def _epoch_now(numerics: Numerics, *args: Any) -> tuple[TrainState, PyTree]:
    """`_epoch` with the precision that counts when it is called."""
    return _epoch(resolved(numerics), *args)


def make_epoch(
    step: Step,
    batch_size: int,
    sharding: Layout | None = None,
    *,
    precision: str | None = None,
    deterministic: bool = False,
) -> Callable[[TrainState, Data | Rows], tuple[TrainState, Array]]:
    """A function that runs one epoch, every example once, as one compiled program.

    The examples are shuffled on the device. If batch_size does not divide their number, the last batch is smaller.

    Args:
      step: a step of `make_step`, or a function of your own, step(state, batch) -> (state, out).
      batch_size: examples per step.
      sharding: a layout of `fnn.sharding`, to train over the devices of a mesh. To send the data to the mesh once and
        not at each call, pass `fnn.sharding.place(sharding, (x, y))`.
      precision: the precision of matrix products, as in `fit`.
      deterministic: on a GPU, compute the same bits each time, as in `fit`. If the epoch is part of a `jax.jit` of your
        own, the options of that program count.

    Returns:
      epoch(state, (x, y)) -> (state, costs), with one cost per step. The given state is donated: its buffers are
      reused, so do not read it again.

    >>> import fnn
    >>> network, optimizer = fnn.dense(1, 1), fnn.sgd(0.1)
    >>> epoch = make_epoch(fnn.make_step(network, fnn.squared_error, optimizer), batch_size=4)
    >>> state = fnn.init_state(network, optimizer, jax.random.key(0))
    >>> state, costs = epoch(state, (jnp.ones((10, 1)), jnp.ones((10, 1))))
    >>> costs.shape
    (3,)
    """
    batch_size = checks.positive_int("make_epoch", "batch_size", batch_size)
    numerics = check_numerics("make_epoch", precision, deterministic)
    run = functools.partial(_epoch_now, numerics, step, batch_size)
    if sharding is not None:
        return functools.partial(_epoch_over_mesh, run, sharding=check_layout("make_epoch", sharding))
    return functools.partial(_epoch_of_arrays, run)


def _epoch_of_arrays(run: Step, state: TrainState, examples: Data | Rows) -> tuple[TrainState, Array]:
    """`_epoch`, after a check that JAX has dtypes for the values of NumPy arrays."""

    def checked(path: tuple, leaf: Any) -> Any:
        name = f"data{jax.tree_util.keystr(path)}"
        return checks.array("make_epoch", name, leaf) if isinstance(leaf, np.ndarray) else leaf

    return run(state, jax.tree.map_with_path(checked, examples))


@agreement.raise_if_process_lost("epoch", agreement.RESTART_ADVICE)
@on_auto_mesh
def _epoch_over_mesh(run: Step, state: TrainState, examples: Data | Rows, *, sharding: Layout):
    """`_epoch` over the devices of a mesh."""
    if not isinstance(examples, Rows):
        examples = rows.place(sharding, examples)
    if examples.layout != with_auto_axes(sharding):
        expected = "rows with the layout given by `sharding`"
        raise checks.fail("make_epoch", "the data", expected, came=f"Rows with {examples.layout}")
    return to_user_mesh(sharding, run(place_state(sharding, state), examples))
