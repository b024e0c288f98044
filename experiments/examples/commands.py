"""What the runnable examples share: their checks of flags, a training that says how it failed, and their files."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import STARTED, figures, reports
from experiments.errors import ExperimentError, at_least, positive, usage
from fnn.types import Data, FitResult, GradientTransformation, Layer, Loss, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_flags(config: Any, *counts: str) -> None:
    """UsageError unless these fields are at least 1, the learning rate is positive, the seed a number of 32 bits."""
    for flag in counts:
        value = getattr(config, flag)
        if value is not None:
            at_least(f"--{flag.replace('_', '-')}", value, 1)
    rate = getattr(config, "learning_rate", None)
    if rate is not None:
        positive("--learning-rate", rate)
    if not 0 <= config.seed < 2**32:
        raise usage("--seed", "in 0..4294967295", config.seed)


def fit(network: Layer, loss: Loss, optimizer: GradientTransformation, data: Data, **options: Any) -> FitResult:
    """fnn.fit with ten reports; ExperimentError if it diverged."""
    try:
        report_every = max(1, options["epochs"] // 10)
        return fnn.fit(network, loss, optimizer, data, report_every=report_every, **options)
    except FloatingPointError as error:
        raise ExperimentError(f"{error}: try a smaller --learning-rate") from None


def best_start(
    network: Layer,
    loss: Loss,
    make_optimizer: Callable[[Any], GradientTransformation],
    learning_rate: float,
    data: Data,
    starts: int,
    epochs: int,
    batch_size: int,
    seed: int,
) -> tuple[Params, np.ndarray]:
    """Trains from several starts in one program: the parameters with the lowest last cost; costs (starts, epochs).

    ExperimentError if none of them is finite.
    """
    run = fnn.make_run(network, loss, make_optimizer, data, epochs=epochs, batch_size=batch_size)
    keys = jax.random.split(jax.random.key(seed), starts)
    result = fnn.sweep(run, jnp.array([learning_rate], jnp.float32), keys)
    costs = result.history["cost"][0]
    last = np.where(np.isfinite(costs[:, -1]), costs[:, -1], np.inf)
    if not np.isfinite(last).any():
        raise ExperimentError(f"every start diverged: try a --learning-rate below {learning_rate:g}")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0, int(np.argmin(last))]), result.params), costs


def finish(folder: Path, config: Any, figure: "Figure", **values: Any) -> None:
    """Saves figure.png and run.json, with these values, in the folder, and says so."""
    path, report = folder / "figure.png", folder / "run.json"
    figures.save(figure, path)
    seconds = round(time.perf_counter() - STARTED, 2)
    about = {"experiment": folder.name, "config": asdict(config), "versions": reports.versions()}
    reports.save_json(report, about | values | {"seconds": seconds})
    print(f"{seconds:.1f} s in all; saved: {path}, {report}")


def share(value: float) -> str:
    """In per cent.

    >>> share(0.9167)
    '91.7 %'
    """
    return f"{100 * value:.1f} %"
