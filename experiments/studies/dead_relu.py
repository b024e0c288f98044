"""A ReLU unit that no example activates gets no gradient and stays dead; a leaky one comes back.

    python -m experiments dead_relu

Claims C094 and C097 (documents 001 2.3 and 2.4, 003 3.3). A unit with z = x w + b below 0 for every example puts out
0, and as dz = da where z > 0, else 0, its weights get no gradient: nothing can change it again. With leaky ReLU

    a = z where z > 0, else 0.01 z,    dz = da where z > 0, else 0.01 da,

there always is one. Units die by a start that is too low, or by a step that throws them there. Both are made: hidden
biases of -20, at a learning rate of 1, and He's weights at a learning rate of 2. 64-30-10 on the digits,
batches of 16; another start and order per seed. And the housing neuron a = max(w x + b, 0) starts at (-1, -1), with
sizes x > 0 and prices that (1.5, -2) gives: it is silent for all of them.

To expect: from biases of -20 ReLU's weights change by exactly 0 and it guesses; at a learning rate of 2 all units
die, and it guesses too; leaky ReLU comes to 0.9 and more from both. The housing neuron does not move.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.errors import positive
from experiments.studies.shared import study
from experiments.studies.shared.starts import drawn
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Data, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES, BATCH = (64, 30, 10), 16
ACTIVATIONS = {"ReLU": fnn.relu, "leaky ReLU": fnn.leaky_relu(0.01)}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Initial weights and orders of the digits."""
    epochs: int = 40
    """Passes over the digits."""
    learning_rate: float = 1.0
    """Step length from the low biases."""
    large: float = 2.0
    """Step length that kills."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder in it."""


def both(network: fnn.Layer, seeds: int) -> tuple[Params, Params]:
    """Ordinary parameters from each seed, and the same with hidden biases of -20: leaves (seeds, …)."""
    params = drawn(network, seeds)
    *hidden, last = params
    low = [layer._replace(b=np.full_like(layer.b, -20)) if layer else layer for layer in hidden]
    return params, (*low, last)


def train(g: fnn.Layer, config: Config, train: Data, test: Data) -> dict[str, dict[str, np.ndarray]]:
    """By what kills: test accuracy (seeds, epochs), how far the first weights moved, the share of dead units."""
    network = fnn.mlp(SIZES, g)
    run = fnn.make_run(
        network,
        fnn.softmax_cross_entropy,
        lambda hyper: fnn.sgd(hyper[1]),
        train,
        epochs=config.epochs,
        batch_size=BATCH,
        init=lambda hyper: hyper[0],
        validation=test,
    )
    params, low = both(network, config.seeds)
    starts = jax.tree.map(lambda *leaves: np.concatenate(leaves), low, params)
    rates = np.repeat(np.array([config.learning_rate, config.large], np.float32), config.seeds)
    keys = jax.random.split(jax.random.key(1), config.seeds)
    result = jax.vmap(run)((starts, rates), keys[np.tile(np.arange(config.seeds), 2)])
    accuracy = np.asarray(result.history["validation_accuracy"])
    moved = np.abs(result.params[0].w - starts[0].w).max(axis=(1, 2))
    dead = np.asarray(jax.vmap(silent, in_axes=(0, None))(result.params, jnp.asarray(train[0])))
    halves = {name: np.split(values, 2) for name, values in (("accuracy", accuracy), ("moved", moved), ("dead", dead))}
    return {kind: {name: half[i] for name, half in halves.items()} for i, kind in enumerate(("biases", "rate"))}


def silent(params: Params, x: jax.Array) -> jax.Array:
    """The share of hidden units with z <= 0 (or not a number) for every example."""
    z = fnn.dense(*SIZES[:2]).forward(params[0], x)[0]
    return jnp.mean(1 - jnp.any(z > 0, axis=0).astype(jnp.float32))


def housing(g: fnn.Layer) -> float:
    """How far the neuron moves from (-1, -1) in 1000 steps."""
    x = jnp.linspace(0.1, 3, 100)[:, None]
    start = (fnn.Dense(jnp.full((1, 1), -1.0), jnp.full(1, -1.0)), ())
    network, y = fnn.serial(fnn.dense(1, 1), g), jnp.maximum(1.5 * x - 2, 0)
    data, loss = (x, y), fnn.squared_error
    run = fnn.make_run(network, loss, fnn.sgd, data, epochs=1000, batch_size=100, init=start)
    w, b = run(jnp.float32(0.1), jax.random.key(0)).params[0]
    return max(abs(float(w[0, 0]) + 1), abs(float(b[0]) + 1))


def panel(axes: "Axes", title: str, lines: dict[str, np.ndarray]) -> None:
    """Test accuracy over the epochs, of every seed."""
    from matplotlib.ticker import MaxNLocator

    looks = ((figures.BLUE, "--"), (figures.ORANGE, "-"))
    for (name, values), (colour, line) in zip(lines.items(), looks, strict=True):
        epochs = np.arange(1, values.shape[1] + 1)
        labels = [name] + [None] * (len(values) - 1)
        axes.plot(epochs, values.T, color=colour, ls=line, lw=1.5, label=labels)
    axes.set(title=title, xlabel="epoch", ylabel="test accuracy", ylim=(0, 1.02), xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def run(config: Config) -> Outcome:
    """Trains both networks from both starts, and the housing neuron."""
    from matplotlib.figure import Figure

    positive("--learning-rate", config.learning_rate)
    positive("--large", config.large)
    x, y = load_digits()
    parts = fnn.data.split(jax.random.key(0), (x, y), (0.8, 0.2), stratify=y)
    relu, leaky = (train(g, config, *parts) for g in ACTIVATIONS.values())
    final = lambda runs, kind: runs[kind]["accuracy"][:, -1]
    gap = lambda kind: (final(leaky, kind) - final(relu, kind)).tolist()
    criteria = [
        Criterion("biases of -20, ReLU: largest change of w₁", relu["biases"]["moved"].tolist(), most=0.0),
        Criterion("biases of -20, leaky ReLU: largest change of w₁", leaky["biases"]["moved"].tolist(), least=0.1),
        Criterion("biases of -20: test accuracy, leaky ReLU - ReLU", gap("biases"), least=0.5),
        Criterion(f"learning rate {config.large:g}: test accuracy, leaky ReLU - ReLU", gap("rate"), least=0.5),
        Criterion("housing neuron from (-1, -1), ReLU: how far it moves", [housing(fnn.relu)], most=0.0),
        Criterion("housing neuron from (-1, -1), leaky ReLU", [housing(ACTIVATIONS["leaky ReLU"])], least=0.5),
    ]
    numbers = {}
    for name, runs in zip(ACTIVATIONS, (relu, leaky), strict=True):
        for kind, text in (("biases", "biases of -20"), ("rate", f"learning rate {config.large:g}")):
            numbers[f"{text}, {name}: test accuracy"] = final(runs, kind).tolist()
            numbers[f"{text}, {name}: share of units silent for all"] = runs[kind]["dead"].tolist()
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    of_kind = lambda kind: {name: runs[kind]["accuracy"] for name, runs in zip(ACTIVATIONS, (relu, leaky), strict=True)}
    panel(left, "Hidden biases start at -20", of_kind("biases"))
    panel(right, f"Learning rate {config.large:g}", of_kind("rate"))
    left.legend(loc="center right")
    return Outcome(criteria, figure, numbers)


STUDY = Study("X22", ("C094", "C097"), run, quick=Config(seeds=3))


def main(config: Config) -> None:
    """Runs it and reports."""
    study.main(STUDY, config)
