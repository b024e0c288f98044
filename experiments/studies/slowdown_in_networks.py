"""Saturated sigmoid networks stay stuck with squared error only.

    python -m experiments slowdown_in_networks

Claims C034 and C220, on the choice of the cost. With cross-entropy such networks learn. The default pair, sigmoid and
quadratic cost, is not always a good one. At the output, with z the weighted input and one-hot targets y,

    quadratic cost                        dz = (a - y) ∘ a (1 - a),
    sigmoid with cross-entropy            dz = a - y,
    softmax with the log-likelihood       dz = a - y,

so an output that is wrong and saturated, a near 0 or 1, gets almost no gradient from the first, and its full error from
the others. The effect depends on the initial weights. Weights of deviation 3 saturate the outputs; those of √(1/n_in)
do not, and from them the quadratic cost does as well, given a larger learning rate. Each cost therefore has its own
rate: 0.5 for the cross-entropies, the best of several for the quadratic cost. The network 64-30-10 learns the digits in
batches of 10; each seed has its own initial weights.

Expected results: from deviation 3, after 30 epochs, cross-entropy leads by 0.2 to 0.7 in accuracy; from √(1/n_in) by
0.01. After one epoch from N(0, 1), with a rate of 0.5 for both, it leads by about 0.5, even without saturation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.studies.shared import study
from experiments.studies.shared.initial_params import scaled_params
from experiments.studies.shared.study import Criterion, Outcome, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES, BATCH = (64, 30, 10), 10
COSTS = {
    "quadratic": fnn.squared_error,
    "cross-entropy": fnn.sigmoid_cross_entropy,
    "softmax": fnn.softmax_cross_entropy,
}
RATES, RATE = (0.5, 1.0, 2.0, 3.0, 5.0), 0.5  # learning rates of the quadratic cost; rate of the others
STARTS = {"deviation 3": lambda n_in: 3.0, "deviation 1": lambda n_in: 1.0, "√(1/n)": lambda n_in: n_in**-0.5}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of initialisations."""
    epochs: int = 30
    """Passes over the digits."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def network(sizes: Sequence[int], loss: fnn.Loss) -> fnn.Layer:
    """Sigmoid layers.

    The last sigmoid is part of the loss, except for the quadratic cost.
    """
    body = fnn.mlp(sizes, fnn.sigmoid, w_init=fnn.init.normal(1.0))
    return fnn.serial(*body.layers, fnn.sigmoid) if loss is COSTS["quadratic"] else body


def accuracies(
    loss: fnn.Loss,
    sizes: Sequence[int],
    rates: Sequence[float],
    scales: Sequence,
    seeds: int,
    epochs: int,
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """The accuracy on `held_out` after each epoch: (rates, scales, seeds, epochs).

    Labels are 0 to 9.
    """
    layer = network(sizes, loss)
    one_hot = lambda data: (data[0], np.eye(10, dtype=np.float32)[data[1]])
    run = fnn.make_run(
        layer,
        loss,
        lambda hyper: fnn.sgd(hyper["rate"]),
        one_hot(train),
        epochs=epochs,
        batch_size=BATCH,
        init=lambda hyper: hyper["start"],
        validation=one_hot(held_out),
        metrics={"accuracy": fnn.accuracy},
    )
    start = jax.tree.map(lambda leaf: np.concatenate([leaf] * len(rates)), scaled_params(layer, scales, seeds))
    rate = np.repeat(np.array(rates, np.float32), len(scales) * seeds)
    history = fnn.sweep(run, {"start": start, "rate": rate}, jax.random.key(1)).history["validation_accuracy"]
    return history.reshape(len(rates), len(scales), seeds, epochs)


def panel(axes: "Axes", title: str, lines: dict[str, np.ndarray]) -> None:
    """Plot the median of the seeds over the epochs, and the range."""
    from matplotlib.ticker import MaxNLocator

    styles = ((figures.BLUE, ":"), (figures.BLUE, "-"), (figures.ORANGE, "-"), (figures.GREEN, "--"))
    for (name, values), (colour, line) in zip(lines.items(), styles, strict=True):
        epochs = np.arange(1, values.shape[1] + 1)
        axes.plot(epochs, np.median(values, axis=0), color=colour, ls=line, label=name)
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0)
    axes.set(title=title, xlabel="epoch", ylim=(0, 1.02), xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def run(config: Config) -> Outcome:
    """Train with the three costs from three scales of initial weights."""
    from matplotlib.figure import Figure

    digits, scales = load_digits(), list(STARTS.values())
    quadratic, cross, softmax = (
        accuracies(loss, SIZES, RATES if i == 0 else (RATE,), scales, config.seeds, config.epochs, digits, digits)
        for i, loss in enumerate(COSTS.values())
    )
    criteria, numbers = [], {}
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for i, (axes, name) in enumerate(zip(figure.subplots(1, 3, sharey=True), STARTS, strict=True)):
        best = quadratic[:, i, :, -1].argmax(axis=0)  # for each seed
        chosen = quadratic[best, i, np.arange(config.seeds)]
        gap = (cross[0, i, :, -1] - chosen[:, -1]).tolist()
        text = f"{name}: accuracy at the end, cross-entropy - best quadratic"
        if name == "deviation 3":
            criteria.append(Criterion(text, gap, least=0.2))
            criteria.append(Criterion(f"{text}, median", [float(np.median(gap))], least=0.3))
        elif name == "√(1/n)":
            criteria.append(Criterion(text, gap, most=0.05))
        else:
            numbers[text] = gap
        numbers[f"{name}: after epoch 1, cross-entropy - quadratic, {RATE} both"] = (
            cross[0, i, :, 0] - quadratic[0, i, :, 0]
        ).tolist()
        lines = {
            f"quadratic, learning rate {RATES[0]}": quadratic[0, i],
            "quadratic, best learning rate": chosen,
            f"cross-entropy, {RATE}": cross[0, i],
            f"softmax, log-likelihood, {RATE}": softmax[0, i],
        }
        for cost, values in lines.items():
            numbers[f"{name}: accuracy, {cost}"] = values[:, -1].tolist()
        panel(axes, f"Initial weights: {name}", lines)
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[2].legend(loc="lower right", fontsize=9)
    remarks = [
        (
            "The lead after the first epoch is not a criterion. At equal learning rates it exists without saturation "
            "too, because the steps of the quadratic cost are smaller by a (1 - a)."
        ),
        (
            "From deviation 3, the result of the quadratic cost depends on the initial weights: of 17 initialisations "
            "at its best learning rate, two were 0.18 and 0.19 behind, the others 0.2 to 0.88."
        ),
    ]
    return Outcome(criteria, figure, numbers, remarks)


STUDY = Study("X02", ("C034", "C220"), run, quick=Config(seeds=3))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
