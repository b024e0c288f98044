"""Regression with negative targets needs an identity output, not ReLU or sigmoid.

    python -m experiments regression_output

Claims C071 and C072: where a linear output has its place. Targets are standardised, so more than half are negative. An
output a >= 0 leaves a mean squared error of at least

    1/m Σ min(y, 0)²,    and an output in (0, 1), such as sigmoid, 1/m Σ (max(y - 1, 0)² + min(y, 0)²),

whatever the layers before it. A 10-8-1 network of tanh units learns the progress of diabetes with each of three
outputs, from several initialisations, with squared error and full-batch momentum. (The notes call ReLU strictly
positive; it is non-negative.)

Expected results: a mean squared error of 0.33 to 0.38 with identity, 0.58 to 0.63 with ReLU (lower bound 0.42), and
0.67 to 0.68 with sigmoid (lower bound 0.51).
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_diabetes
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer

OUTPUTS = {"identity": fnn.identity, "ReLU": fnn.relu, "sigmoid": fnn.sigmoid}
HIDDEN = fnn.mlp((10, 8, 1), fnn.tanh, w_init=fnn.init.xavier_normal)


@dataclass(frozen=True)
class Config:
    seeds: int = 10
    """Number of initialisations of each network."""
    iterations: int = 2000
    """Full-batch steps of momentum."""
    learning_rate: float = 0.5
    """Learning rate."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def predictions(network: Layer, x: np.ndarray, y: np.ndarray, config: Config) -> np.ndarray:
    """Outputs after training from each initialisation: (seeds, m)."""
    optimizer = fnn.momentum(config.learning_rate)
    data, m = (x, y), len(x)
    run = fnn.make_run(network, fnn.squared_error, lambda seed: optimizer, data, epochs=config.iterations, batch_size=m)
    params = jax.vmap(run, in_axes=(None, 0))(0, jax.random.split(jax.random.key(0), config.seeds)).params
    return np.asarray(jax.vmap(lambda params: network.forward(params, x)[0])(params))[:, :, 0]


def run(config: Config) -> Outcome:
    """Train with the three outputs from every initialisation."""
    from matplotlib.figure import Figure

    x, y = (np.asarray(fnn.data.standardize(array)) for array in load_diabetes())
    target = y[:, 0]
    outputs = {name: predictions(fnn.serial(HIDDEN, output), x, y, config) for name, output in OUTPUTS.items()}
    error = {name: np.mean((a - target) ** 2, axis=1) for name, a in outputs.items()}
    floors = {
        "identity": 0.0,
        "ReLU": float(np.mean(np.minimum(target, 0) ** 2)),
        "sigmoid": float(np.mean(np.minimum(target, 0) ** 2 + np.maximum(target - 1, 0) ** 2)),
    }
    criteria = [
        Criterion(f"mean squared error, identity / {name}", (error["identity"] / error[name]).tolist(), most=0.9)
        for name in ("ReLU", "sigmoid")
    ]
    numbers: dict[str, float | list[float]] = {"share of negative targets": float(np.mean(target < 0))}
    numbers |= {f"mean squared error, {name}": values.tolist() for name, values in error.items()}
    numbers |= {f"lower bound, {name}": floor for name, floor in floors.items() if floor}
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    styles = ((figures.BLUE, "o"), (figures.ORANGE, "s"), (figures.GREEN, "^"))
    for axes, name, (colour, marker) in zip(
        figure.subplots(1, 3, sharex=True, sharey=True), OUTPUTS, styles, strict=True
    ):
        middle = int(np.argsort(error[name])[config.seeds // 2])
        axes.plot([-2, 3], [-2, 3], color=figures.GREY, lw=1.2, ls="--", label="predicted = measured")
        axes.scatter(
            target, outputs[name][middle], s=10, color=colour, marker=marker, linewidths=0, alpha=0.7, rasterized=True
        )
        axes.set(title=f"{name}: error {np.median(error[name]):.2f}", xlabel="progress measured (standardised)")
        axes.text(0.04, 0.93, f"lower bound {floors[name]:.2f}", transform=axes.transAxes, color=figures.GREY)
    figure.axes[0].legend(loc="lower right", fontsize=10)
    figure.axes[0].set(ylabel="progress predicted", xlim=(-2, 2.7), ylim=(-2, 2.7))
    remark = "Errors are measured on the training data. They show what an output can express, not how it generalises."
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X17", ("C071", "C072"), run, quick=Config(seeds=5, iterations=1000))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
