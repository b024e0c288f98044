"""The value types everything else is made of: Layer, Loss, GradientTransformation, TrainState and the results."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from jaxtyping import Array, ArrayLike, Int, Key, PyTree, UInt32

PRNGKey: TypeAlias = Key[Array, ""] | UInt32[Array, "2"]
"""A key of `jax.random.key`, or a raw one of `jax.random.PRNGKey`."""

Params: TypeAlias = PyTree
Residuals: TypeAlias = PyTree

Data: TypeAlias = tuple[ArrayLike, ...]
"""(x, y) or (x, y, weight), the first axis counting examples: a batch, or all there are."""

Batch: TypeAlias = tuple[Array, ...]
"""Data as arrays of JAX."""

Metric: TypeAlias = Callable[[Array, Array], Array]
"""prediction, target -> values (batch,)."""

Metrics: TypeAlias = tuple[tuple[str, Metric], ...]


class Layer(NamedTuple):
    """A differentiable function with parameters, and its derivative written by hand.

    A network is a Layer too: `serial` and every wrapper take layers and return one.

    init       key -> params
    forward    params, x, key=None -> y, residuals        key=None means deterministic: evaluation
    backward   params, residuals, dy -> dparams, dx       dparams has the tree, shapes and dtypes of params
    calibrate  params, x -> params, y                     sets what is estimated from data; None: nothing to set
    name       what summaries and messages call it
    layers     the layers that a combinator combines
    """

    init: Callable[..., Params]
    forward: Callable[..., tuple[Array, Residuals]]
    backward: Callable[..., tuple[Params, Array]]
    calibrate: Callable[..., tuple[Params, Array]] | None = None
    name: str = ""
    layers: tuple["Layer", ...] = ()


class Loss(NamedTuple):
    """A loss per example, and its gradient written by hand.

    forward    prediction, target -> values (batch,), residuals
    backward   residuals, dvalues (batch,) -> dprediction
    validate   prediction_shape, target -> None           host-side: raises if the target's values cannot be meant
    metrics    pairs (name, function): prediction, target -> values (batch,), reported by evaluate and fit
    name       what messages call it
    """

    forward: Callable[..., tuple[Array, Residuals]]
    backward: Callable[..., Array]
    validate: Callable[..., None] | None = None
    metrics: Metrics = ()
    name: str = ""


class GradientTransformation(NamedTuple):
    """An optimizer in optax's protocol, so that it can be passed to and chained with optax's own.

    init       params -> state
    update     gradients, state, params=None, **extra -> updates, state; params + updates are the new parameters
    """

    init: Callable[[Params], Any]
    update: Callable[..., tuple[Params, Any]]


class TrainState(NamedTuple):
    """Everything that a training carries from one step to the next. `key` never changes: see `fnn.train`."""

    params: Params
    opt_state: PyTree
    step: Int[Array, ""]
    key: PRNGKey


class RunResult(NamedTuple):
    """What `make_run`'s function returns: the final parameters, and arrays (epochs,) by name."""

    params: Params
    history: dict[str, Array]


class FitResult(NamedTuple):
    """What `fit` returns: the final (with patience: the best) state, and NumPy arrays (epochs,) by name."""

    state: TrainState
    history: dict[str, Any]
