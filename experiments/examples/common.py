"""Code that the examples share: flags, training, evaluation, result files."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import STARTED, figures, reports
from experiments.errors import ExperimentError, UsageError, at_least, positive, usage
from fnn.sharding import Layout
from fnn.types import Data, FitResult, GradientTransformation, Layer, Loss, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# name -> the layer, and the initialiser of the weights before it
ACTIVATIONS = {
    "relu": (fnn.relu, fnn.init.he_normal),
    "leaky-relu": (fnn.leaky_relu(), fnn.init.he_normal),
    "gelu": (fnn.gelu, fnn.init.he_normal),
    "silu": (fnn.silu, fnn.init.he_normal),
    "softplus": (fnn.softplus, fnn.init.he_normal),
    "tanh": (fnn.tanh, fnn.init.xavier_normal),
    "sigmoid": (fnn.sigmoid, fnn.init.xavier_normal),
}

# name -> the optimizer, and its default learning rate
OPTIMIZERS = {
    "adam": (fnn.adam, 0.002),
    "momentum": (fnn.momentum, 0.3),
    "heavy-ball": (fnn.heavy_ball, 0.03),
    "nesterov": (fnn.nesterov, 0.03),
    "sgd": (fnn.sgd, 0.3),
}


DIVERGED = 1000.0  # a training whose cost is so many times that of a constant prediction


def check_flags(config: Any, *counts: str) -> None:
    """Raise UsageError for an invalid flag.

    The fields `counts` must be at least 1, the learning rate positive, and the seed a number of 32 bits.
    """
    for flag in counts:
        value = getattr(config, flag)
        if value is not None:
            at_least(f"--{flag.replace('_', '-')}", value, 1)
    rate = getattr(config, "learning_rate", None)
    if rate is not None:
        positive("--learning-rate", rate)
    if not 0 <= config.seed < 2**32:
        raise usage("--seed", "in 0..4294967295", config.seed)


def fit(
    network: Layer, loss: Loss, optimizer: GradientTransformation, data: Data, *, guessing: float, **options: Any
) -> FitResult:
    """Call `fnn.fit` with ten progress reports.

    Raise ExperimentError if the training diverges: if a cost is not finite, or the cost of the parameters that it
    returns is more than DIVERGED times `guessing`, the cost of a constant prediction.
    """
    try:
        report_every = max(1, options["epochs"] // 10)
        result = fnn.fit(network, loss, optimizer, data, report_every=report_every, **options)
    except FloatingPointError as error:
        raise ExperimentError(f"{error}: try a smaller --learning-rate") from None
    kept = result.history["cost"][-1] if options.get("patience") is None else result.history["validation_cost"].min()
    check_cost(float(kept), guessing)
    return result


def check_cost(cost: float, guessing: float) -> None:
    """Raise ExperimentError if the cost of a training is that of one that diverged.

    >>> check_cost(1e22, 0.5)
    Traceback (most recent call last):
        ...
    experiments.errors.ExperimentError: the training diverged: the cost is 1e+22, that of a constant prediction 0.5: \
try a smaller --learning-rate
    """
    if not cost <= DIVERGED * guessing:
        costs = f"the cost is {cost:.3g}, that of a constant prediction {guessing:.3g}"
        raise ExperimentError(f"the training diverged: {costs}: try a smaller --learning-rate")


@contextlib.contextmanager
def checkpoint_errors(folder: Path | None) -> Iterator[None]:
    """Turn errors of `fnn.fit` about the folder that --checkpoints names into ExperimentErrors of one line."""
    try:
        yield
    except OSError as error:
        if folder is None:
            raise
        raise UsageError(f"--checkpoints: {error.filename or folder}: {error.strerror or error}") from None
    except (fnn.checkpoint.LockedError, fnn.checkpoint.DamagedError, fnn.checkpoint.NewerFormatError) as error:
        raise ExperimentError(f"--checkpoints: {error}") from None
    except ValueError as error:
        reason = str(error)
        if not reason.startswith(("fit: checkpoint_dir must", "fit: epochs must")):
            raise
        reason = re.sub(r"^fit: (checkpoint_dir )?|(\.)? To (go on|start a new).*$", "", reason, flags=re.DOTALL)
        advice = "repeat all flags of that training (its steps and rates, too), or name another folder"
        raise UsageError(f"--checkpoints: {reason}; {advice}") from None


def fit_best_start(
    network: Layer,
    loss: Loss,
    make_optimizer: Callable[[Any], GradientTransformation],
    learning_rate: float,
    data: Data,
    starts: int,
    epochs: int,
    batch_size: int,
    seed: int,
    guessing: float,
) -> tuple[Params, np.ndarray]:
    """Train from several starts in one program and keep the best.

    The best start is the one with the lowest final cost.

    Returns:
      Its parameters, and the costs of all starts, an array (starts, epochs).

    Raises:
      ExperimentError: if every start diverges (see `fit` for `guessing`).
    """
    run = fnn.make_run(network, loss, make_optimizer, data, epochs=epochs, batch_size=batch_size)
    keys = jax.random.split(jax.random.key(seed), starts)
    result = fnn.sweep(run, jnp.array([learning_rate], jnp.float32), keys)
    costs = result.history["cost"][0]
    last = np.where(np.isfinite(costs[:, -1]), costs[:, -1], np.inf)
    if not np.isfinite(last).any():
        raise ExperimentError(f"every start diverged: try a --learning-rate below {learning_rate:g}")
    check_cost(float(last.min()), guessing)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0, int(np.argmin(last))]), result.params), costs


def evaluate(
    network: Layer,
    loss: Loss,
    params: Params,
    data: Mapping[str, Any],
    sizes: Mapping[str, int] | None = None,
    layout: Layout | None = None,
) -> dict[str, dict[str, float]]:
    """Return examples, wrong predictions, cost and accuracy of each part.

    In a distributed run, `data` holds the rows of this process, and `sizes` the examples of each part over all.
    """
    results = {}
    for name, (x, y) in data.items():
        values = fnn.evaluate(network, loss, params, (x, y), sharding=layout)
        size = len(y) if sizes is None else sizes[name]
        results[name] = {"examples": size, "wrong": round(size * (1 - values["accuracy"])), **values}
    return results


def save_results(folder: Path, config: Any, figure: "Figure", **values: Any) -> None:
    """Save figure.png, and run.json with these values, and print the paths."""
    path, report = folder / "figure.png", folder / "run.json"
    figures.save(figure, path)
    seconds = round(time.perf_counter() - STARTED, 2)
    header = {"experiment": folder.name, "config": asdict(config), "versions": reports.versions()}
    reports.save_json(report, header | values | {"seconds": seconds})
    print(f"{seconds:.1f} s in total; saved: {path}, {report}")


def percent(value: float) -> str:
    """Format a fraction as a percentage.

    >>> percent(0.9167)
    '91.7 %'
    """
    return f"{100 * value:.1f} %"
