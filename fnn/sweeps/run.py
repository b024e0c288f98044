"""`make_run`: a whole training as one pure function of hyperparameters and key."""

import functools
from collections.abc import Callable, Mapping, Sequence
from signal import SIGINT
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PyTree

from fnn import checks
from fnn.data.arrays import check_batch_size
from fnn.sweeps.options import Options, check_by_run, check_schedule
from fnn.sweeps.programs import run_many, run_one
from fnn.sweeps.schedule import Schedule
from fnn.training import signals
from fnn.training.compiled import compiled
from fnn.training.data_checks import check_data, check_targets, metric_pairs
from fnn.training.memory import TO_SWEEP, check_fits
from fnn.training.numerics import Numerics, check_numerics
from fnn.types import (
    Batch,
    Data,
    GradientTransformation,
    Layer,
    Loss,
    Metric,
    Params,
    PRNGKey,
    RunResult,
)
from fnn.weights import IsWeight, check_is_weight, check_weights, is_weight


class Programs(NamedTuple):
    """The function inside the `Partial` that `make_run` returns.

    Attributes:
      one: (data, validation, hyper, key) -> RunResult; compiled, the Partial calls it.
      many: (on_cpu, data, validation, hypers, key) -> RunResult with leaves (n, …), one row for each of n
        hyperparameters; `sweep` calls it. `on_cpu` chooses the form of the program: for CPUs, or for accelerators. The
        results equal those of `one` up to rounding.
      numerics: how both compute.
      schedule: when they report.
    """

    one: Callable[[Batch, Batch | None, Any, PRNGKey], RunResult]
    many: Callable[[bool, Batch, Batch | None, PyTree, PRNGKey], RunResult]
    numerics: Numerics
    schedule: Schedule

    def __call__(self, data: Batch, validation: Batch | None, hyper: Any, key: PRNGKey) -> RunResult:
        return self.one(data, validation, hyper, key)


@signals.deferring("make_run", SIGINT)
def make_run(
    network: Layer | Callable[[Any], Layer],
    loss: Loss,
    make_optimizer: Callable[[Any], GradientTransformation],
    data: Data,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int,
    l2: float | Callable[[Any], Any] = 0.0,
    init: Params | Callable[[Any], Params] = None,
    weight: Callable[[Any], Any] | None = None,
    seed: Callable[[Any], Any] | None = None,
    validation: Data | None = None,
    held_out: Callable[[Any], Any] | None = None,
    outputs: Callable[[Array], Any] | None = None,
    report_at: Sequence[int] | None = None,
    stop: Callable[[Any], Any] | None = None,
    keep: str | None = None,
    metrics: Mapping[str, Metric] | None = None,
    is_weight: IsWeight = is_weight,
    precision: str | None = None,
    deterministic: bool = False,
) -> Callable[[Any, PRNGKey], RunResult]:
    """Make a pure function that runs a whole training: run(hyper, key) -> RunResult(params, history).

    `jax.vmap` maps it over hyperparameters and keys, `jax.grad` differentiates it, and `fnn.sweep` runs it for many of
    both. `hyper` is any pytree of numbers or arrays. The arguments below that are functions of `hyper` are called with
    traced values.

    Args:
      network: the layer to train, or a function hyper -> layer.
      loss: a `Loss`.
      make_optimizer: a function hyper -> optimizer, fnn's or optax's; for example `fnn.sgd` if `hyper` is the learning
        rate.
      data: `(x, y)` or `(x, y, weight)`, arrays with one row per example.
      epochs: number of passes over the data. Give this or `steps`.
      steps: number of steps, in place of `epochs`. The batches are those of the epochs, but each has `batch_size`
        examples: a batch that begins with the last examples of an epoch ends with the first of the next. So all steps
        have the same shapes and are compiled once, and no example is dropped.
      batch_size: examples per step. The last batch of an epoch may be smaller, unless `steps` is given. A batch of all
        examples is not shuffled.
      l2: λ in the penalty λ/2 ‖W‖², added to the cost; or a function hyper -> λ.
      init: parameters to start from, or a function hyper -> parameters. Default: those of `network.init`. Parameters
        that were drawn before, and are part of `hyper`, need not be drawn by the program, which then compiles sooner.
      weight: a function hyper -> weights (n,) of the rows of the data, booleans or numbers of at least 0. They are
        multiplied by the weights of the data, and divided by their sum in each batch. If they are all 0 in a batch, its
        cost is the penalty alone. Rows must be finite, unless their weight in the data is 0. In a sweep the runs share
        the batches, so that the product of a batch with the parameters of all runs remains one product; only for a
        network with `batch_norm`, whose statistics must not know of rows without weight, has each run its own.
      seed: a function hyper -> integer, folded into the key from which the initial parameters and the draws of the
        steps (dropout) come. The batches come from the key without it, so runs that share a key share them. Each run
        of a sweep then draws for itself; without a seed, runs that share a key draw the same masks, which takes less
        time.
      validation: held-out `(x, y)` or `(x, y, weight)`, evaluated at each report.
      held_out: a function hyper -> indices (k,) of rows of the data, evaluated at each report in place of
        `validation`, with the weights of the data. An index of -1 stands for no row, so that runs may hold out
        different numbers of rows. If a run holds out none, its validation values are NaN.
      outputs: a function prediction (k, …) -> pytree of arrays (k, …), called at each report with the predictions for
        the held-out rows, or for `validation`. Where the index is -1 the outputs are 0.
      report_at: increasing numbers of epochs (or of steps, if `steps` is given) after which the run reports. Default:
        after each epoch, or after the last step. Between reports nothing is evaluated.
      stop: a function hyper -> number of steps, after which the parameters and the optimizer's state of this run no
        longer change, bit for bit. Its reports go on.
      keep: a name of the history, such as "validation_cost". The final parameters are then those of the first report
        with the best value: the lowest, if the name ends in "cost", "loss" or "error". NaN is never best.
      metrics: `{name: function}`, each function (prediction, target) -> values (batch,). Default: the loss's metrics.
      is_weight: (path, leaf) -> bool, which selects the leaves that the penalty acts on. Default: `fnn.is_weight`.
      precision: the precision of matrix products, as in `fit`.
      deterministic: on a GPU, compute the same bits each time, as in `fit`, if the run is called by itself or by
        `sweep`. Inside a `jax.jit` of your own the options of that program count. `jax.vmap` and `jax.grad` of a run
        compile it without options: wrap them in `jax.jit(…, compiler_options={"xla_gpu_deterministic_ops": True})`.

    Returns:
      run(hyper, key) -> RunResult(params, history, outputs). `history` maps names to arrays (reports,): "cost" (with
      the penalty) and the metrics, means over the batches since the last report as they were trained on; with
      `validation` or `held_out` also "validation_cost" (without the penalty) and "validation_…". `outputs` has leaves
      (reports, k, …).

      The run is compiled when it is called. It is a pytree whose leaves are the data, which are arguments of the
      compiled program. Inside a `jax.jit` of your own, pass the run as an argument,
      `jax.jit(lambda run, hyper, key: run(hyper, key))`; otherwise the data become constants of that program.
      `jax.grad` needs reports at equal distances: JAX does not differentiate loops of unequal lengths in reverse.

    Raises:
      ValueError or TypeError: if an argument or the data are invalid. What depends on `hyper` is checked when the run
        is called.

    >>> import fnn, jax.numpy as jnp
    >>> x = jnp.linspace(-1, 1, 20)[:, None]
    >>> run = make_run(fnn.dense(1, 1), fnn.squared_error, fnn.sgd, (x, 3 * x), epochs=100, batch_size=20)
    >>> result = jax.vmap(run, in_axes=(0, None))(jnp.array([0.01, 1.0]), jax.random.key(0))
    >>> result.params.w[1].round(2), result.history["cost"].shape
    (Array([[3.]], dtype=float32), (2, 100))

    Five folds of cross-validation, which share the batches:

    >>> fold = jnp.arange(20) % 5
    >>> run = make_run(
    ...     fnn.dense(1, 1),
    ...     fnn.squared_error,
    ...     lambda hyper: fnn.adam(0.1),
    ...     (x, 3 * x),
    ...     steps=100,
    ...     batch_size=20,
    ...     weight=lambda hyper: fold != hyper,
    ...     held_out=lambda hyper: jnp.flatnonzero(fold == hyper, size=4, fill_value=-1),
    ...     report_at=(10, 100),
    ...     outputs=lambda prediction: prediction[:, 0],
    ... )
    >>> results = fnn.sweep(run, jnp.arange(5), jax.random.key(0))
    >>> results.history["validation_cost"].shape, results.outputs.shape
    ((5, 1, 2), (5, 1, 2, 4))
    """
    if not callable(network):
        checks.layer("make_run", "network", network)
    pairs = metric_pairs("make_run", loss, metrics)
    check_is_weight("make_run", is_weight)
    vocabulary = network.vocabulary if isinstance(network, Layer) else None
    check_fits("make_run", advice=TO_SWEEP, data=data, validation=validation)
    arrays = check_data("make_run", "data", data, None, vocabulary)
    others = None if validation is None else check_data("make_run", "validation", validation, None, vocabulary)
    batch_size = check_batch_size("make_run", batch_size, arrays[0].shape[0])
    schedule = check_schedule(epochs, steps, report_at, batch_size)
    if keep is not None:  # what comes after the last report is never kept
        schedule = schedule._replace(total=schedule.report_at[-1])
    if isinstance(network, Layer):
        params = jax.eval_shape(network.init, jax.random.key(0))
        for part in (arrays, others) if others else (arrays,):
            check_targets("make_run", network, loss, params, part)
        if not callable(l2):
            checks.number("make_run", "l2", l2, minimum=0.0)
            check_weights("make_run", "l2", l2, params, is_weight)
    if not callable(make_optimizer):
        raise checks.fail("make_run", "make_optimizer", "a function: hyper -> optimizer", make_optimizer, TypeError)
    numerics = check_numerics("make_run", precision, deterministic)
    by_run = {"weight": weight, "held_out": held_out, "outputs": outputs, "stop": stop, "keep": keep, "seed": seed}
    check_by_run(pairs, others is not None, **by_run)
    options = Options(network, loss, make_optimizer, schedule, l2, init, pairs, is_weight, numerics, **by_run)
    one, many = functools.partial(run_one, options), functools.partial(run_many, options)
    one = compiled(numerics=functools.partial(_first, numerics))(functools.update_wrapper(one, run_one, _NAMES))
    return jax.tree_util.Partial(Programs(one, many, numerics, schedule), arrays, others)


_NAMES = "__module__", "__name__", "__qualname__", "__doc__"  # not the annotations, which cannot be pickled


def _first(numerics: Numerics, *_: Any) -> Numerics:
    return numerics
