"""A training as pure functions: its state, and the step from one state to the next.

`state.key` never changes: `fnn.data.order` says what is drawn from it.
"""

from collections.abc import Callable
from signal import SIGINT
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from fnn import checks
from fnn.backprop import Evaluation, make_forward_backward, total_weight, weighted_mean
from fnn.checks import protocol
from fnn.data.arrays import unpack_batch
from fnn.data.order import init_key, step_key
from fnn.optimizers import apply_updates
from fnn.sharding import agreement
from fnn.sharding.layout import Layout, check_layout, replicated, with_auto_axes
from fnn.sharding.placement import constrain_like, on_auto_mesh, to_user_mesh
from fnn.training import signals
from fnn.training.compiled import compiled
from fnn.types import Batch, GradientTransformation, Layer, Loss, Metrics, Params, PRNGKey, TrainState
from fnn.weights import IsWeight, is_weight

Step = Callable[[TrainState, Any], tuple[TrainState, Any]]


def as_transformation(function: str, optimizer: GradientTransformation) -> GradientTransformation:
    """Return the optimizer as a GradientTransformation whose update accepts optax's extra arguments."""
    if isinstance(optimizer, GradientTransformation):
        return optimizer
    if isinstance(optimizer, type) or not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise checks.fail(function, "optimizer", "a GradientTransformation (fnn's or optax's)", optimizer, TypeError)
    import optax

    return GradientTransformation(*optax.with_extra_args_support(optimizer))


def fresh_state(network: Layer, optimizer: GradientTransformation, key: PRNGKey, params: Params = None) -> TrainState:
    """`init_state` without jit. Given parameters take the place of those drawn from the key."""
    checks.key("init_state", key)
    params = protocol.init("init_state", "network", network, init_key(key)) if params is None else params
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)


# The program runs once, so compilation dominates its time. At optimization level 1 it finishes in a third of the time,
# with bitwise equal results.
@compiled(static=3, compiler_options={"xla_backend_optimization_level": 1})
def _init_state(network: Layer, optimizer: GradientTransformation, layout: Layout | None, key: PRNGKey) -> TrainState:
    state = jax.tree.map(jnp.copy, fresh_state(network, optimizer, key))
    return state if layout is None else constrain_like(layout, state, state.params)


@signals.deferring("init_state", SIGINT)
@on_auto_mesh
def init_state(
    network: Layer, optimizer: GradientTransformation, key: PRNGKey, *, sharding: Layout | None = None
) -> TrainState:
    """Draw the parameters of a network and initialise the optimizer's state for them.

    Args:
      network: the layer to train.
      optimizer: a gradient transformation, fnn's or optax's.
      key: a single PRNG key. The state keeps it, and epochs and steps draw from it later.
      sharding: a layout of `fnn.sharding`. Each device then initialises only its own shard.

    Returns:
      TrainState(params, opt_state, step=0, key).

    >>> import fnn
    >>> state = init_state(fnn.dense(3, 2), fnn.sgd(0.1), jax.random.key(0))
    >>> state.params.w.shape, int(state.step)
    ((3, 2), 0)
    """
    checks.layer("init_state", "network", network)
    as_transformation("init_state", optimizer)
    checks.key("init_state", key)
    if sharding is not None:
        layout = check_layout("init_state", sharding)
        key = agreement.device_put(key, replicated(layout), "init_state", "key")
        return to_user_mesh(layout, _init_state(network, optimizer, with_auto_axes(layout), key))
    traced = isinstance(key, Tracer) or isinstance(jnp.zeros(()), Tracer)  # JAX refuses compiler options while tracing
    return fresh_state(network, optimizer, key) if traced else _init_state(network, optimizer, None, key)


def metric_values(function: str, metrics: Metrics, prediction: Array, target: Array) -> dict[str, Array]:
    """The values of each metric, checked to be one per example."""
    values = {name: metric(prediction, target) for name, metric in metrics}
    return {
        name: checks.per_example(function, f"the values of metric {name!r}", value, prediction)
        for name, value in values.items()
    }


def update_state(
    optimizer: GradientTransformation, state: TrainState, evaluate: Callable[[Params], Evaluation]
) -> tuple[TrainState, Evaluation]:
    """Return the state after one update, and the evaluation at the parameters before it."""
    evaluation = evaluate(state.params)
    updates, opt_state = optimizer.update(
        evaluation.dparams,
        state.opt_state,
        state.params,
        value=evaluation.cost,
        grad=evaluation.dparams,
        value_fn=lambda params: evaluate(params).cost,
    )
    params = apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1, state.key), evaluation


def make_logging_step(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    *,
    l2: float | Array,
    metrics: Metrics,
    micro_batch_size: int | None = None,
    is_weight: IsWeight = is_weight,
    finite: bool = False,
) -> Step:
    """step(state, batch) -> (state, (weight, logs)): the cost and each metric's mean, and the weight of the batch.

    `finite` is that of `make_forward_backward`.
    """
    optimizer = as_transformation("make_step", optimizer)
    forward_backward = make_forward_backward(network, loss, l2, micro_batch_size, is_weight, finite)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, tuple[Array, dict[str, Array]]]:
        x, y, weight = unpack_batch("step", batch)
        key = step_key(state.key, state.step)
        state, evaluation = update_state(optimizer, state, lambda params: forward_backward(params, x, y, weight, key))
        values = metric_values("step", metrics, evaluation.prediction, y)
        logs = {"cost": evaluation.cost} | {name: weighted_mean(value, weight) for name, value in values.items()}
        return state, (total_weight(x, weight, evaluation.cost.dtype), logs)

    return step


def make_step(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    l2: float | Array = 0.0,
    micro_batch_size: int | None = None,
    *,
    is_weight: IsWeight = is_weight,
) -> Step:
    """A pure function that makes one step of training: gradient and update on one batch. Jit it.

    The cost contains the penalty λ/2 ‖W‖². The update receives optax's extra arguments value, grad and value_fn.

    Args:
      network: the layer to train.
      loss: a `Loss`.
      optimizer: a gradient transformation, fnn's or optax's.
      l2: λ in the penalty.
      micro_batch_size: sum the gradient of a batch over parts of this many examples, which takes less memory.
      is_weight: (path, leaf) -> bool, the leaves that the penalty acts on. Default: `fnn.is_weight`.

    Returns:
      step(state, batch) -> (state, cost). The batch is (x, y) or (x, y, weight). `jax.jit` casts 64-bit integers to 32
      bits before the step sees them, so that the label 2³² becomes 0: pass labels of NumPy as int32 or smaller, or call
      `make_epoch` or `fit`, which refuse integers that do not fit. A step that you jit yourself has JAX's default
      precision on a GPU or TPU; wrap it in `jax.default_matmul_precision("highest")`.

    >>> import fnn
    >>> network, optimizer = fnn.dense(1, 1), fnn.sgd(0.1)
    >>> step = jax.jit(make_step(network, fnn.squared_error, optimizer))
    >>> state, cost = step(init_state(network, optimizer, jax.random.key(0)), (jnp.ones((4, 1)), jnp.ones((4, 1))))
    >>> int(state.step)
    1
    """
    logging_step = make_logging_step(
        network, loss, optimizer, l2=l2, metrics=(), micro_batch_size=micro_batch_size, is_weight=is_weight
    )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, ""]]:
        state, (_, logs) = logging_step(state, batch)
        return state, logs["cost"]

    return step
