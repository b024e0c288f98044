"""The types that all of fnn shares: layers, losses, optimizers, states, results."""

import pickle
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxtyping import Array, ArrayLike, Int, Key, PyTree, UInt32

from fnn.display import lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PRNGKey: TypeAlias = Key[Array, ""] | UInt32[Array, "2"]
"""A key of `jax.random.key`, or a raw one of `jax.random.PRNGKey`."""

Params: TypeAlias = PyTree
Residuals: TypeAlias = PyTree

Data: TypeAlias = tuple[ArrayLike, ...]
"""(x, y) or (x, y, weight): a batch or a whole data set. The first axis counts the examples."""

Batch: TypeAlias = tuple[Array, ...]
"""The same with JAX arrays."""

Metric: TypeAlias = Callable[[Array, Array], Array]
"""prediction, target -> values (batch,)"""

Metrics: TypeAlias = tuple[tuple[str, Metric], ...]
"""Pairs (name, metric)."""


def _reduce(value: tuple, protocol: Any, kind: str) -> Any:
    """Reduce a tuple of functions for pickle; raise TypeError with advice if pickle cannot write one of them.

    Pickle writes a function as the name by which to import it. Most functions of a network are closures, which have no
    such name. `copy`, and the picklers that write functions by value, work as they do without this function.
    """
    frame = sys._getframe(2)
    by_name = True
    while frame is not None and by_name:
        by_name = not {"copy", "cloudpickle", "dill"} & set(frame.f_globals.get("__name__", "").split("."))
        frame = frame.f_back
    if by_name:
        for name, part in zip(type(value)._fields, value, strict=False):  # pyright: ignore[reportAttributeAccessIssue]
            try:
                pickle.dumps(part, protocol)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise TypeError(
                    f"pickle: {kind} must be made of functions that can be imported by name, got {name}: {error}. "
                    f"Save parameters with fnn.checkpoint.export_params (or a whole training with checkpoint_dir), and "
                    f"build the {kind} again in code; or use cloudpickle, which writes functions by value"
                ) from None
    return tuple.__reduce_ex__(value, protocol)


class Stream(NamedTuple):
    """The functions of a layer that can read a sequence in pieces.

    Attributes:
      start: params, batch -> memory. What the layer remembers before the first position, for `batch` sequences; a
        pytree of arrays.
      advance: params, memory, x, key=None -> y, residuals, memory. The layer's output for the next positions
        x (batch, time, ...), and what it remembers after them. The layer's `backward` takes these residuals too: it
        takes the memory as a constant, which is truncated backpropagation through time.

    The memory keeps the dtypes that `start` gave it, which are those of the parameters, or float32 where a layer needs
    it. If x is wider than the parameters, `advance` rounds the memory to them: the output of a sequence that is read in
    pieces, and that of attention already from `start`, then differs from that of `forward` by this rounding.
    """

    start: Callable[..., Any]
    advance: Callable[..., tuple[Array, Residuals, Any]]


class Layer(NamedTuple):
    """A differentiable function with parameters, and its hand-written derivative.

    A whole network is a Layer too: combinators such as `serial` and wrappers such as `remat` take layers and return a
    layer. A plain layer sets the first three fields and perhaps a name. A layer can be pickled if its functions can be
    imported by name; those of this library are closures, so save parameters and build the network again in code.

    Attributes:
      init: key -> params. Draws the parameters, a pytree of arrays; `()` if the layer has none.
      forward: params, x, key=None -> y, residuals. The residuals are what `backward` needs. `key=None` disables all
        randomness (evaluation mode).
      backward: params, residuals, dy -> dparams, dx. `dparams` has the tree, shapes and dtypes of `params`.
      calibrate: params, x -> params, y. Sets the statistics that a layer estimates from data, such as those of
        `batch_norm`. None if there are none.
      name: what summaries and error messages call the layer. It does not affect the computation, but `fit` compares it
        when it resumes from a checkpoint.
      layers: the layers that a combinator combines.
      combinator: the function that combined `layers`, such as `fnn.serial`. None for every other layer, and for the
        result of a wrapper.
      stream: a `Stream`, for layers that can read a sequence in pieces: `forward` is then `stream.advance` from
        `stream.start`. None for every other layer.
      vocabulary: V, if x holds integer ids in 0..V-1, as for `embedding`: `fit`, `evaluate` and others then check
        them on the host. None if x is floating point.
    """

    init: Callable[..., Params]
    forward: Callable[..., tuple[Array, Residuals]]
    backward: Callable[..., tuple[Params, Any]]
    calibrate: Callable[..., tuple[Params, Array]] | None = None
    name: str = ""
    layers: tuple["Layer", ...] = ()
    combinator: Callable[..., Any] | None = None
    stream: Stream | None = None
    vocabulary: int | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(self, protocol, "network")

    def __repr__(self) -> str:
        from fnn.display.architecture import architecture

        return architecture(self)


class Loss(NamedTuple):
    """A loss with one value per example, and its hand-written gradient.

    Attributes:
      forward: prediction, target -> values (batch,), residuals.
      backward: residuals, dvalues (batch,) -> dprediction.
      validate: prediction_shape, target -> None. Raises ValueError if the target has invalid values, such as a label
        out of range. It runs on the host, on concrete arrays.
      metrics: pairs (name, metric) that `evaluate` and `fit` report, with metric(prediction, target) giving values
        (batch,).
      name: what error messages call the loss.
    """

    forward: Callable[..., tuple[Array, Residuals]]
    backward: Callable[..., Array]
    validate: Callable[..., None] | None = None
    metrics: Metrics = ()
    name: str = ""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(self, protocol, "loss")

    def __repr__(self) -> str:
        return lines.named(self.name, "Loss", self.forward)


class GradientTransformation(NamedTuple):
    """An optimizer in optax's protocol, which chains with optax's own optimizers.

    Attributes:
      init: params -> state.
      update: gradients, state, params=None, **extra -> updates, state. The new parameters are params + updates.
    """

    init: Callable[[Params], Any]
    update: Callable[..., tuple[Params, Any]]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduce(self, protocol, "optimizer")

    def __repr__(self) -> str:
        return lines.optimizer(self.update)


class TrainState(NamedTuple):
    """The state of a training between two steps.

    Attributes:
      params: the parameters of the network.
      opt_state: the state of the optimizer.
      step: the number of steps made so far.
      key: the PRNG key of the training. It never changes: `fnn.data.order` derives all others from it.
    """

    params: Params
    opt_state: PyTree
    step: Int[Array, ""]
    key: PRNGKey

    def __repr__(self) -> str:
        return f"TrainState(step {lines.scalar(self.step)}, {lines.parameters(self.params)})"


class RunResult(NamedTuple):
    """The result of a run of `make_run`.

    Attributes:
      params: the final parameters; with `keep`, those of the best report.
      history: arrays (reports,) by name. By default each epoch has a report.
      outputs: what the argument `outputs` of `make_run` returned at each report, leaves (reports, k, …); None without
        it.
    """

    params: Params
    history: dict[str, Array]
    outputs: Any = None

    def __repr__(self) -> str:
        return f"RunResult({lines.last_values(self.history, 'report')}, {lines.parameters(self.params)})"


class FitResult(NamedTuple):
    """The result of `fit`: a state, and NumPy arrays (epochs,) by name.

    The state is the final one, or the best one if `patience` was given.
    """

    state: TrainState
    history: dict[str, Any]

    def __repr__(self) -> str:
        params = lines.parameters(getattr(self.state, "params", self.state))
        return f"FitResult({lines.last_values(self.history)}, {params})"

    def _repr_html_(self) -> str | None:
        """Show the history as a table, in notebooks."""
        from fnn.display import html

        columns = lines.epochs(self.history)
        return html.table(columns, repr(self)) if columns else None

    def plot(self) -> "tuple[Axes, ...]":
        """Draw the learning curves of the cost and of each metric beside each other, with matplotlib.

        A notebook shows the figure by itself; a script calls `plt.show()`. `fnn.plot.learning_curves` draws one.

        Returns:
          The Axes of matplotlib, one for each quantity.

        Raises:
          ImportError: if matplotlib is not installed.
        """
        from fnn.display.curves import panels

        return panels(self.history)
