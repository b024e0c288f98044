"""A ReLU unit that no example activates stays dead; a leaky ReLU unit recovers.

    python -m experiments dead_relu

Claims C094 and C097. A unit with z = x w + b below 0 for every example has output 0. Because dz = da where z > 0 and 0
elsewhere, its weights get no gradient, so nothing can change it again. With leaky ReLU

    a = z where z > 0, else 0.01 z,    dz = da where z > 0, else 0.01 da,

there is always a gradient. Units die from initial weights that are too low, or from a step that is too long. The study
produces both: hidden biases of -20 with learning rate 1, and He's weights with learning rate 2. The network 64-30-10
learns the digits in batches of 16; each seed has its own initialisation and order. In addition, the housing neuron
a = max(w x + b, 0) starts at (-1, -1). Its sizes are x > 0 and its prices follow (1.5, -2), so it is silent for every
example.

Expected results: from biases of -20, ReLU's weights change by exactly 0 and its accuracy is that of guessing. At a
learning rate of 2 all ReLU units die, and its accuracy is that of guessing too. Leaky ReLU reaches 0.9 and more in
both cases. The housing neuron does not move.
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
from experiments.studies.shared.initial_params import init_params
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Data, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES, BATCH = (64, 30, 10), 16
ACTIVATIONS = {"ReLU": fnn.relu, "leaky ReLU": fnn.leaky_relu(0.01)}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of initialisations and orders of the digits."""
    epochs: int = 40
    """Passes over the digits."""
    learning_rate: float = 1.0
    """Learning rate with the low biases."""
    large: float = 2.0
    """Learning rate that kills units."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def both(network: fnn.Layer, seeds: int) -> tuple[Params, Params]:
    """Ordinary parameters from each seed, and the same with hidden biases of -20: leaves (seeds, …)."""
    params = init_params(network, seeds)
    *hidden, last = params
    low = [layer._replace(b=np.full_like(layer.b, -20)) if layer else layer for layer in hidden]
    return params, (*low, last)


def train(g: fnn.Layer, config: Config, train: Data, test: Data) -> dict[str, dict[str, np.ndarray]]:
    """For each cause: test accuracy (seeds, epochs), change of the first weights, share of dead units."""
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
    """The share of hidden units with z <= 0 (or NaN) for every example."""
    z = fnn.dense(*SIZES[:2]).forward(params[0], x)[0]
    return jnp.mean(1 - jnp.any(z > 0, axis=0).astype(jnp.float32))


def housing(g: fnn.Layer) -> float:
    """How far the neuron moves from (-1, -1) in 1000 steps."""
    x = jnp.linspace(0.1, 3, 100)[:, None]
    start = (fnn.Dense(jnp.full((1, 1), -1.0), jnp.full(1, -1.0)), ())
    network, y = fnn.serial(fnn.dense(1, 1), g), jnp.maximum(1.5 * x - 2, 0)
    data, loss = (x, y), fnn.squared_error
    run = fnn.make_run(network, loss, fnn.sgd, data, epochs=1000, batch_size=100, init=start)
    neuron = run(jnp.float32(0.1), jax.random.key(0)).params[0]
    return max(abs(float(neuron.w[0, 0]) + 1), abs(float(neuron.b[0]) + 1))


def panel(axes: "Axes", title: str, lines: dict[str, np.ndarray]) -> None:
    """Plot the test accuracy over the epochs, one curve per seed."""
    from matplotlib.ticker import MaxNLocator

    styles = ((figures.BLUE, "--"), (figures.ORANGE, "-"))
    for (name, values), (colour, line) in zip(lines.items(), styles, strict=True):
        epochs = np.arange(1, values.shape[1] + 1)
        labels = [name] + [None] * (len(values) - 1)
        axes.plot(epochs, values.T, color=colour, ls=line, lw=1.5, label=labels)
    axes.set(title=title, xlabel="epoch", ylabel="test accuracy", ylim=(0, 1.02), xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def run(config: Config) -> Outcome:
    """Train both networks in both cases, and the housing neuron."""
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
            numbers[f"{text}, {name}: share of dead units"] = runs[kind]["dead"].tolist()
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    of_kind = lambda kind: {name: runs[kind]["accuracy"] for name, runs in zip(ACTIVATIONS, (relu, leaky), strict=True)}
    panel(left, "Hidden biases start at -20", of_kind("biases"))
    panel(right, f"Learning rate {config.large:g}", of_kind("rate"))
    left.legend(loc="center right")
    return Outcome(criteria, figure, numbers)


STUDY = Study("X22", ("C094", "C097"), run, quick=Config(seeds=3))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
