"""Hyperparameters are found by trial: random ones range from guessing to 0.95.

    python -m experiments trial_and_error

Claim C240: applied deep learning is empirical, and whatever computes faster allows more trials. A configuration
consists of a learning rate (0.001 to 3), the deviation of the initial weights (0.05 to 0.5), momentum β (0 to 0.95), L2
(10⁻⁶ to 10⁻²) and the width of two hidden ReLU layers (4 to 64). A draw has twelve configurations: a Latin hypercube,
with one from each twelfth of every range, on a logarithmic scale except for β. Each network is trained for five
epochs on digits and tested on unseen digits.

With accuracies a_1 <= … <= a_N of all N = 12 · draws configurations, the best of k random ones has on average

    E max = Σ_i a_i (C(i, k) - C(i-1, k)) / C(N, k).

All configurations run as one program: widths and rates are its arguments.

Expected results: in each draw the best of twelve reaches 0.94 or more, and the worst 0.1, the accuracy of guessing. The
median is 0.3 or more below the best. One trial reaches 0.45 on average, four 0.8, twelve 0.95.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDEST = 64
TRIES = 12  # configurations per draw


@dataclass(frozen=True)
class Config:
    draws: int = 12
    """Number of draws of twelve configurations."""
    epochs: int = 5
    """Passes over the training digits."""
    batch_size: int = 16
    """Digits per step."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


class Hyper(NamedTuple):
    """One configuration, or arrays of them."""

    learning_rate: jax.Array
    scale: jax.Array
    beta: jax.Array
    l2: jax.Array
    width: jax.Array


def configurations(draws: int) -> Hyper:
    """Twelve configurations for each draw, all draws in a row."""
    ranges = np.array([(-3.0, 0.5), (-1.3, -0.3), (0.0, 0.95), (-6.0, -2.0), (2.0, math.log2(WIDEST))])
    rng, cells = np.random.default_rng(0), np.tile(np.arange(TRIES), (draws, len(ranges), 1))
    places = (rng.permuted(cells, axis=2) + rng.random(cells.shape)) / TRIES  # one in each twelfth of every range
    drawn = ranges[None, :, :1] + places * np.diff(ranges)[None]
    rate, scale, beta, l2, width = (drawn[:, i].ravel() for i in range(len(ranges)))
    reals = [jnp.asarray(values, jnp.float32) for values in (10**rate, 10**scale, beta, 10**l2)]
    return Hyper(*reals, width=jnp.asarray(np.round(2**width), jnp.int32))


def network(hyper: Hyper) -> Layer:
    """64-width-width-10, embedded in 64-64-64-10."""
    return fnn.masked_mlp((64, WIDEST, WIDEST, 10), [hyper.width] * 2, w_init=fnn.init.normal(hyper.scale))


def best_of(accuracies: np.ndarray, k: int) -> float:
    """The mean of the best of k accuracies, over all choices of k."""
    n = len(accuracies)
    ways = np.array([math.comb(i, k) / math.comb(n, k) for i in range(n + 1)])
    return float(np.sort(accuracies) @ np.diff(ways))


def draws_panel(axes: "Axes", accuracies: np.ndarray) -> None:
    """Plot the twelve accuracies of each draw, their best and their median."""
    rows = np.arange(1, len(accuracies) + 1)
    axes.plot(
        np.repeat(rows, TRIES), accuracies.ravel(), "o", color=figures.GREY, ms=4, alpha=0.5, label="one configuration"
    )
    axes.plot(rows, accuracies.max(axis=1), "^", color=figures.BLUE, ms=8, label="best of the draw")
    axes.plot(rows, np.median(accuracies, axis=1), "s", color=figures.ORANGE, ms=6, label="median")
    axes.set(title="Twelve configurations per draw", xlabel="draw", ylabel="test accuracy", ylim=(0, 1.3))
    axes.set_xticks(rows[:: max(1, len(rows) // 5)])
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.legend(loc="upper center", ncols=3, fontsize=9, columnspacing=1, handletextpad=0.3)


def tries_panel(axes: "Axes", tries: dict[int, float]) -> None:
    """Plot the mean accuracy of the best over the number of trials."""
    axes.plot(list(tries), list(tries.values()), "o-", color=figures.BLUE, ms=4)
    axes.set(title="More trials", xlabel="configurations tried", ylabel="mean accuracy of the best", ylim=(0.3, 1.02))
    axes.set(xscale="log")
    axes.set_xticks([1, 2, 4, 12, 40], labels=["1", "2", "4", "12", "40"])
    axes.tick_params(which="minor", length=0)


def run(config: Config) -> Outcome:
    """Train all configurations as one program."""
    from matplotlib.figure import Figure

    x, y = load_digits()
    split = np.random.default_rng(0).permutation(len(x))
    train, held_out = ((x[part], y[part]) for part in (split[:1200], split[1200:]))
    run_one = fnn.make_run(
        network,
        fnn.softmax_cross_entropy,
        lambda hyper: fnn.momentum(hyper.learning_rate, hyper.beta),
        train,
        epochs=config.epochs,
        batch_size=config.batch_size,
        l2=lambda hyper: hyper.l2,
        validation=held_out,
    )
    results = fnn.sweep(run_one, configurations(config.draws), jax.random.key(0))
    final = results.history["validation_accuracy"][:, 0, -1]
    accuracies = np.where(np.isfinite(results.history["cost"][:, 0, -1]), final, 0.1).reshape(config.draws, TRIES)
    best, median = accuracies.max(axis=1), np.median(accuracies, axis=1)
    tries = {k: best_of(accuracies.ravel(), k) for k in range(1, min(accuracies.size, 40) + 1)}
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    draws_panel(left, accuracies)
    tries_panel(right, tries)
    criteria = [
        Criterion("accuracy of the best of twelve, every draw", best.tolist(), least=0.9),
        Criterion("best - median of the twelve, every draw", (best - median).tolist(), least=0.1),
    ]
    numbers = {
        "accuracy, worst of twelve": accuracies.min(axis=1).tolist(),
        "accuracy, median of twelve": median.tolist(),
        "share of configurations below 0.2, close to guessing": float((accuracies < 0.2).mean()),
        **{f"accuracy, best of {k} trials, mean": tries[k] for k in (1, 2, 4, 12)},
    }
    return Outcome(criteria, figure, numbers)


STUDY = Study("X31", ("C240",), run, quick=Config(draws=6))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
