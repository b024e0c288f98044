"""MNIST: sigmoid with quadratic cost loses to cross-entropy or may get stuck.

    python -m experiments slowdown_on_mnist

Claims C220, C221 and C246. The defaults of a digit reader are 784-30-10 sigmoid units, the quadratic cost and
stochastic gradient descent in batches of 10. The study asks whether they are always a good choice. With cross-entropy

    dz = a - y    instead of    dz = (a - y) ∘ a (1 - a)

at the output. Only the learning rate changes as well, from 3 to 0.5, to suit the cost. Training uses the first 10,000
images, 10 epochs, and initial weights of deviation 3 and 1. Each seed has its own initial weights; all share the order
of the images.

Expected results: from deviation 3, cross-entropy is ahead by 0.35 to 0.62 in test accuracy, with every seed. From
deviation 1 it reaches 0.91, and so do most runs with the quadratic cost; five of sixteen stay at about 0.82, with a
digit that they never predict.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import figures
from experiments.data.mnist import load_mnist
from experiments.errors import at_least
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from experiments.studies.slowdown_in_networks import COSTS, STARTS, accuracies

SIZES = (784, 30, 10)
RATES = {"quadratic": 3.0, "cross-entropy": 0.5}
SCALES = ("deviation 3", "deviation 1")
STUCK = 0.85


@dataclass(frozen=True)
class Config:
    seeds: int = 16
    """Number of initialisations."""
    epochs: int = 10
    """Passes over the images."""
    images: int = 10000
    """Number of training images, the first of MNIST's."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def run(config: Config) -> Outcome:
    """Train with both costs from both scales of initial weights."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    at_least("--images", config.images, 10)
    data = load_mnist()
    train, test = (data.train_x[: config.images], data.train_y[: config.images]), (data.test_x, data.test_y)
    scales = [STARTS[name] for name in SCALES]
    found = {
        name: accuracies(COSTS[name], SIZES, (rate,), scales, config.seeds, config.epochs, train, test)[0]
        for name, rate in RATES.items()
    }
    quadratic, cross = found.values()
    gap = (cross[0, :, -1] - quadratic[0, :, -1]).tolist()
    criteria = [
        Criterion("deviation 3: test accuracy, cross-entropy - quadratic", gap, least=0.1),
        Criterion("deviation 1: test accuracy, cross-entropy", cross[1, :, -1].tolist(), least=STUCK),
    ]
    numbers = {}
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    styles = {"quadratic": (figures.BLUE, "--"), "cross-entropy": (figures.ORANGE, "-")}
    for i, (axes, scale) in enumerate(zip(figure.subplots(1, 2, sharey=True), SCALES, strict=True)):
        for name, (colour, line) in styles.items():
            values = found[name][i]
            labels = [f"{name}, learning rate {RATES[name]:g}"] + [None] * (config.seeds - 1)
            axes.plot(np.arange(1, config.epochs + 1), values.T, color=colour, ls=line, lw=1.2, label=labels)
            numbers[f"{scale}, {name}: test accuracy"] = values[:, -1].tolist()
            numbers[f"{scale}, {name}: runs that end below {STUCK}"] = float(np.sum(values[:, -1] < STUCK))
        axes.set(title=f"Initial weights: {scale}, each seed", xlabel="epoch", ylim=(0, 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].set_ylabel("test accuracy")
    figure.axes[1].legend(loc="lower right")
    remark = (
        "From deviation 1, low final accuracies with the quadratic cost are not a criterion, because it depends on the "
        "initial weights whether a run gets stuck."
    )
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X03", ("C220", "C221", "C246"), run, quick=Config(seeds=3, epochs=3), needs=("mnist",))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
