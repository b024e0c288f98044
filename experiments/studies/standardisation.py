"""With standardised inputs, gradient descent needs a fraction of the steps.

    python -m experiments standardisation

Claim C172, which the notes imply. With x̃ = (x - μ)/σ per feature, μ and σ of the training data, the matrix
(1/m) [X 1]ᵀ [X 1] loses the part of its condition number that is due only to the units of the features. This number
bounds the speed of gradient descent on a linear model. Softmax regression on wines and logistic regression on breast
tumours are trained with full batches, on draws of four fifths of each set. Inputs are raw or standardised, and each
draw uses the best of the same learning rates.

Expected results: with raw inputs, wines cost 0.68 to 0.72 after 1000 steps at the best rate (accuracy 0.66 to 0.69),
tumours 0.20 to 0.23 (0.91 to 0.92). With standardised inputs the costs are below 1e-5 (1.0) and 0.001 to 0.03 (0.99 to
1.0). The condition numbers fall from 5e8 to 50 and from 2e12 to 1e5.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_breast_cancer, load_wine
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, Loss

RATES = np.geomspace(1e-8, 1e2, 21)
STYLES = {"as measured": (figures.BLUE, "-"), "standardised": (figures.ORANGE, "--")}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of draws of the training data."""
    iterations: int = 1000
    """Full-batch steps."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


class Found(NamedTuple):
    """Results at each draw's best rate: cost and accuracy (seeds, steps), rate and condition (seeds,)."""

    cost: np.ndarray
    accuracy: np.ndarray
    rate: np.ndarray
    condition: np.ndarray


def train(network: Layer, loss: Loss, x: np.ndarray, y: np.ndarray, iterations: int) -> Found:
    """Train on each draw, x (seeds, m, n), with each learning rate."""

    def one(alpha: jax.Array, x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        run = fnn.make_run(network, loss, fnn.sgd, (x, y), epochs=iterations, batch_size=len(x))
        return run(alpha, jax.random.key(0)).history  # full batches from zero weights: the key has no effect

    over_rates = jax.vmap(one, in_axes=(0, None, None))
    history = jax.jit(jax.vmap(over_rates, in_axes=(None, 0, 0)))(jnp.asarray(RATES, jnp.float32), x, y)
    cost, accuracy = (np.asarray(history[name]) for name in ("cost", "accuracy"))
    best = np.nanargmin(cost[:, :, -1], axis=1)
    rows = np.arange(len(x))
    ones = np.ones((*x.shape[:2], 1))
    condition = np.linalg.cond(np.concatenate([x.astype(np.float64), ones], axis=2)) ** 2
    return Found(cost[rows, best], accuracy[rows, best], RATES[best], condition)


def run(config: Config) -> Outcome:
    """Train on both data sets, raw and standardised."""
    from matplotlib.figure import Figure

    wine, tumours = load_wine(), load_breast_cancer()
    sets = {
        "wine": (*wine, fnn.softmax_regression(13, 3), fnn.softmax_cross_entropy),
        "breast tumours": (
            tumours[0],
            tumours[1][:, None].astype(np.float32),
            fnn.logistic_regression(30),
            fnn.sigmoid_cross_entropy,
        ),
    }
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    criteria, numbers = [], {}
    for axes, (name, (x, y, network, loss)) in zip(figure.subplots(1, 2), sets.items(), strict=True):
        rng = np.random.default_rng(0)
        parts = np.stack([rng.permutation(len(x))[: len(x) * 4 // 5] for _ in range(config.seeds)])
        inputs = {"as measured": x[parts], "standardised": np.asarray(jax.vmap(fnn.data.standardize)(x[parts]))}
        found = {kind: train(network, loss, drawn, y[parts], config.iterations) for kind, drawn in inputs.items()}
        ratio = found["as measured"].cost[:, -1] / found["standardised"].cost[:, -1]
        criteria.append(Criterion(f"{name}: cost, as measured / standardised", ratio.tolist(), least=3.0))
        for kind, values in found.items():
            numbers |= {
                f"{name}, {kind}: cost after {config.iterations} steps": values.cost[:, -1].tolist(),
                f"{name}, {kind}: accuracy": values.accuracy[:, -1].tolist(),
                f"{name}, {kind}: best learning rate": values.rate.tolist(),
                f"{name}, {kind}: condition number": values.condition.tolist(),
            }
            colour, dashes = STYLES[kind]
            steps = np.arange(1, config.iterations + 1)
            label = [kind] + [None] * (config.seeds - 1)
            axes.plot(steps, values.cost.T, color=colour, ls=dashes, lw=1.3, label=label)
        axes.set(title=name.capitalize(), xlabel="step", ylabel="cross-entropy", xscale="log", yscale="log")
        axes.legend(loc="lower left")
    return Outcome(criteria, figure, numbers)


STUDY = Study("X19", ("C172",), run, quick=Config(seeds=3))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
