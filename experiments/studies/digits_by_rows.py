"""Recurrent networks read digits row by row as well as a dense network reads them whole.

    python -m experiments digits_by_rows

Claims C037 and C249, on kinds of networks and the tasks they are used for. A scan of a digit, 8 x 8 pixels, is a
sequence of 8 rows. A recurrent layer reads one row per position, with the same weights at each, and the state after the
last row decides. A dense network 64-64-10 reads all pixels at once. The cells are tanh, GRU and LSTM with 64 units;
each trains for 30 epochs with Adam in batches of 32, at a learning rate that falls from 3e-3 to 0. As a control, the
rows arrive in an order that differs from scan to scan, in training and in test. A network that ignores the order would
be as good on these scans.

Sequences of 8 rows are too short to tell the cells apart (see `adding_problem`). They show that each of them, trained
with backpropagation through time, learns from sequences.

Expected results: test accuracies of 0.975 to 0.995 for the three cells and for the dense network. With shuffled rows,
0.78 to 0.83.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.studies.shared import study
from experiments.studies.shared.initial_params import init_params
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Data, Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS, BATCH = 64, 32


@dataclass(frozen=True)
class Config:
    seeds: int = 3
    """Number of initialisations and orders of the digits."""
    epochs: int = 30
    """Passes over the digits."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def reader(cell: Layer) -> Layer:
    """A network that reads the rows with this layer and decides after the last."""
    return fnn.serial(cell, fnn.last(), fnn.dense(UNITS, 10))


NETWORKS = {
    "tanh": reader(fnn.rnn(8, UNITS)),
    "GRU": reader(fnn.gru(8, UNITS)),
    "LSTM": reader(fnn.lstm(8, UNITS)),
    "dense": fnn.serial(fnn.flatten, fnn.mlp([64, UNITS, 10])),
}


def accuracies(network: Layer, train: Data, test: Data, config: Config) -> np.ndarray:
    """The test accuracy after each epoch: (seeds, epochs)."""
    steps = config.epochs * -(-np.shape(train[0])[0] // BATCH)
    run = fnn.make_run(
        network,
        fnn.softmax_cross_entropy,
        lambda start: fnn.adam(lambda step: 3e-3 * (1 - step / steps)),
        train,
        epochs=config.epochs,
        batch_size=BATCH,
        init=lambda start: start,
        validation=test,
    )
    keys = jax.random.split(jax.random.key(1), config.seeds)
    return np.asarray(jax.vmap(run)(init_params(network, config.seeds), keys).history["validation_accuracy"])


def shuffled(x: np.ndarray) -> np.ndarray:
    """The scans with their rows in random orders."""
    return np.take_along_axis(x, np.random.default_rng(0).random(x.shape[:2]).argsort(axis=1)[:, :, None], axis=1)


def panel(axes: "Axes", curves: dict[str, np.ndarray]) -> None:
    """Plot the share of test digits misread over the epochs: the median of the seeds and the range."""
    colours = (figures.BLUE, figures.GREEN, figures.ORANGE, figures.GREY, figures.PINK)
    for (name, values), colour, dashes in zip(curves.items(), colours, ("-", "--", "-.", ":", "-"), strict=True):
        epochs, wrong = np.arange(1, values.shape[1] + 1), 1 - values
        axes.plot(epochs, np.median(wrong, axis=0), color=colour, ls=dashes, label=name)
        axes.fill_between(epochs, wrong.min(axis=0), wrong.max(axis=0), color=colour, alpha=0.15, lw=0)
    axes.set(title="Digits read row by row", xlabel="epoch", ylabel="share of test digits misread")
    axes.set(yscale="log", ylim=(0.004, 2))
    axes.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5], labels=["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"])
    axes.tick_params(axis="y", which="minor", labelleft=False, length=0)
    axes.legend(loc="upper right")


def run(config: Config) -> Outcome:
    """Train each network, and one on shuffled rows."""
    from matplotlib.figure import Figure

    x, y = load_digits()
    train, test = fnn.data.split(jax.random.key(0), (x.reshape(-1, 8, 8), y), (0.8, 0.2), stratify=y)
    curves = {name: accuracies(network, train, test, config) for name, network in NETWORKS.items()}
    control = [(shuffled(np.asarray(part[0])), part[1]) for part in (train, test)]
    curves["GRU, rows shuffled"] = accuracies(NETWORKS["GRU"], control[0], control[1], config)

    final = {name: values[:, -1] for name, values in curves.items()}
    criteria = [Criterion(f"{name}: test accuracy", final[name].tolist(), least=0.97) for name in NETWORKS]
    gained = (final["GRU"] - final["GRU, rows shuffled"]).tolist()
    criteria.append(Criterion("GRU: accuracy that the order of the rows adds", gained, least=0.02))
    numbers = {"GRU, rows shuffled: test accuracy": final["GRU, rows shuffled"].tolist()}

    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    panel(figure.subplots(), curves)
    return Outcome(criteria, figure, numbers)


STUDY = Study("X36", ("C037", "C249"), run, quick=Config(seeds=2))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
