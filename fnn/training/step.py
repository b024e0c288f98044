"""Training as pure functions: a state, a step, and an epoch as one scan.

Randomness: `state.key` never changes. The parameters are drawn from it, the shuffle of epoch e from fold_in(key, e),
what step t draws (dropout) from fold_in(key, t), each with a tag of its own: a training can go on from any step.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from fnn import checks
from fnn.backprop import make_evaluate, weighted_mean
from fnn.data import arrays as data
from fnn.optimizers import apply_updates
from fnn.sharding import agreement, rows
from fnn.sharding.layout import Layout, check_layout, replicated, with_auto_axes
from fnn.sharding.placement import constrain_like, constrained, on_auto_mesh, place_state, to_user_mesh
from fnn.sharding.rows import Examples, Rows
from fnn.types import Batch, Data, GradientTransformation, Layer, Loss, Metrics, Params, PRNGKey, TrainState

Step = Callable[[TrainState, Any], tuple[TrainState, Any]]

_INIT, _EPOCH, _STEP = 0, 1, 2


def _fold(key: PRNGKey, tag: int, number: int | Array) -> PRNGKey:
    return jax.random.fold_in(jax.random.fold_in(key, tag), number)


def as_transformation(function: str, optimizer: GradientTransformation) -> GradientTransformation:
    """Any optimizer as one whose update takes optax's extra arguments."""
    if isinstance(optimizer, GradientTransformation):
        return optimizer
    if isinstance(optimizer, type) or not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise checks.fail(function, "optimizer", "a GradientTransformation (fnn's or optax's)", optimizer, TypeError)
    import optax

    return GradientTransformation(*optax.with_extra_args_support(optimizer))


def fresh_state(network: Layer, optimizer: GradientTransformation, key: PRNGKey, params: Params = None) -> TrainState:
    """`init_state`, not compiled, with given parameters instead of drawn ones where there are any."""
    checks.key("init_state", key)
    params = network.init(_fold(key, _INIT, 0)) if params is None else params
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)


# It runs once, so its time is that of compiling it: the same bits come out, three times as soon.
@functools.partial(jax.jit, static_argnums=(0, 1, 3), compiler_options={"xla_backend_optimization_level": 1})
def _init_state(network: Layer, optimizer: GradientTransformation, key: PRNGKey, layout: Layout | None) -> TrainState:
    state = jax.tree.map(jnp.copy, fresh_state(network, optimizer, key))
    return state if layout is None else constrain_like(layout, state, state.params)


@on_auto_mesh
def init_state(
    network: Layer, optimizer: GradientTransformation, key: PRNGKey, *, sharding: Layout | None = None
) -> TrainState:
    """TrainState(params, opt_state, step=0, key): parameters drawn from the key, the optimizer's state for them.

    With `sharding` each device makes its own part, and no device ever holds all of what is split.

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
        return to_user_mesh(layout, _init_state(network, optimizer, key, with_auto_axes(layout)))
    traced = isinstance(key, Tracer) or isinstance(jnp.zeros(()), Tracer)  # there options for the compiler are refused
    return fresh_state(network, optimizer, key) if traced else _init_state(network, optimizer, key, None)


def unpack_batch(function: str, batch: Data) -> tuple[Any, Any, Any]:
    """(x, y) or (x, y, weight) as three, the weight None where there is none."""
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise checks.fail(function, "the batch", "(x, y) or (x, y, weight)", error=TypeError, came=type(batch).__name__)
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def metric_values(function: str, metrics: Metrics, prediction: Array, target: Array) -> dict[str, Array]:
    """Each metric's value for each example, checked to be that."""
    values = {name: metric(prediction, target) for name, metric in metrics}
    return {
        name: checks.per_example(function, f"the values of metric {name!r}", value, prediction)
        for name, value in values.items()
    }


def make_logging_step(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    l2: float | Array,
    metrics: Metrics,
    micro_batch_size: int | None = None,
) -> Step:
    """step(state, batch) -> (state, (weight, logs)): the cost and each metric's mean, and what they count for."""
    optimizer = as_transformation("make_step", optimizer)
    evaluate = make_evaluate(network, loss, l2, micro_batch_size)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, tuple[Array, dict[str, Array]]]:
        params, opt_state, count, key = state
        x, y, weight = unpack_batch("step", batch)
        drawn = _fold(key, _STEP, count)
        cost, prediction, dparams = evaluate(params, x, y, weight, drawn)
        updates, opt_state = optimizer.update(
            dparams,
            opt_state,
            params,
            value=cost,
            grad=dparams,
            value_fn=lambda params: evaluate(params, x, y, weight, drawn).cost,
        )
        values = metric_values("step", metrics, prediction, y)
        logs = {"cost": cost} | {name: weighted_mean(value, weight) for name, value in values.items()}
        total = jnp.asarray(jnp.shape(x)[0] if weight is None else jnp.sum(weight), cost.dtype)
        return TrainState(apply_updates(params, updates), opt_state, count + 1, key), (total, logs)

    return step


def make_step(
    network: Layer,
    loss: Loss,
    optimizer: GradientTransformation,
    l2: float | Array = 0.0,
    micro_batch_size: int | None = None,
) -> Step:
    """step(state, batch) -> (state, cost): gradient and update on one batch, (x, y) or (x, y, weight). Pure; jit it.

    The cost contains λ/2 ‖W‖² with λ = `l2`. optax's extra arguments are given: value, grad, value_fn. With
    `micro_batch_size` the gradient of a batch is summed over parts of so many examples, which takes less memory.

    >>> import fnn
    >>> network, optimizer = fnn.dense(1, 1), fnn.sgd(0.1)
    >>> step = jax.jit(make_step(network, fnn.squared_error, optimizer))
    >>> state, cost = step(init_state(network, optimizer, jax.random.key(0)), (jnp.ones((4, 1)), jnp.ones((4, 1))))
    >>> int(state.step)
    1
    """
    logging_step = make_logging_step(network, loss, optimizer, l2, (), micro_batch_size)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, ""]]:
        state, (_, logs) = logging_step(state, batch)
        return state, logs["cost"]

    return step


def epoch_key(key: PRNGKey, number: int | Array) -> PRNGKey:
    """What the shuffle of this epoch is drawn from."""
    return _fold(key, _EPOCH, number)


def epoch_order(key: PRNGKey, step: Array, size: int, batch_size: int) -> tuple[Array, Array]:
    """The epoch that begins with this step: indices of its full batches (n, batch_size), and of the remainder."""
    return data.shuffled_batches(epoch_key(key, step // -(-size // batch_size)), size, batch_size)


def epoch(step: Step, batch_size: int, state: TrainState, examples: Examples) -> tuple[TrainState, PyTree]:
    """One pass over the data, not compiled: shuffle, one scan over the full batches, then the remainder as it is.

    What the steps return comes back stacked (steps, …). A single batch of everything is not shuffled.
    """
    size, step = data.check_examples("epoch", rows.all_rows(examples)), placed(step, examples)
    if data.check_batch_size("make_epoch", batch_size, size) == size:
        state, out = step(state, rows.all_rows(examples))
        return state, jax.tree.map(lambda leaf: leaf[None], out)
    full, rest = epoch_order(state.key, state.step, size, batch_size)
    state, outs = jax.lax.scan(lambda state, index: step(state, rows.take(examples, index)), state, full)
    if rest.size:
        state, out = step(state, rows.take(examples, rest))
        outs = jax.tree.map(lambda leaves, leaf: jnp.concatenate([leaves, leaf[None]]), outs, out)
    return state, outs


def placed(step: Step, examples: Examples) -> Step:
    """The step for examples that lie there: over a mesh, batches and state keep their places."""
    return constrained(examples.layout, step) if isinstance(examples, Rows) else step


_epoch = jax.jit(epoch, static_argnums=(0, 1), donate_argnums=2)


def make_epoch(
    step: Step, batch_size: int, sharding: Layout | None = None
) -> Callable[[TrainState, Data | Rows], tuple[TrainState, Array]]:
    """epoch(state, (x, y)) -> (state, costs): every example once, as one compiled program; costs has one per step.

    The data are shuffled on the device, the remainder of the division by batch_size is a last batch of its own size.
    The given state is donated: its buffers are reused, do not read it again. With `sharding` it trains over a mesh;
    `fnn.sharding.place(sharding, (x, y))` puts the data there once, instead of at each call.

    >>> import fnn
    >>> network, optimizer = fnn.dense(1, 1), fnn.sgd(0.1)
    >>> epoch = make_epoch(make_step(network, fnn.squared_error, optimizer), batch_size=4)
    >>> state, costs = epoch(init_state(network, optimizer, jax.random.key(0)), (jnp.ones((10, 1)), jnp.ones((10, 1))))
    >>> costs.shape
    (3,)
    """
    batch_size = checks.positive_int("make_epoch", "batch_size", batch_size)
    if sharding is not None:
        return functools.partial(_epoch_over, step, batch_size, sharding=check_layout("make_epoch", sharding))
    return functools.partial(_epoch, step, batch_size)


@agreement.raise_if_process_lost("epoch", agreement.RESTART_ADVICE)
@on_auto_mesh
def _epoch_over(step: Step, batch_size: int, state: TrainState, examples: Data | Rows, *, sharding: Layout):
    """`_epoch` over a mesh."""
    if not isinstance(examples, Rows):
        examples = rows.place(sharding, examples)
    if examples.layout != with_auto_axes(sharding):
        expected = "placed with the layout that `sharding` is"
        raise checks.fail("make_epoch", "the data", expected, came=f"Rows with {examples.layout}")
    return to_user_mesh(sharding, _epoch(step, batch_size, place_state(sharding, state), examples))
