"""The planar flower: four tanh units separate petals that no straight line can.

    python -m experiments planar

A 2-4-1 network of tanh units with a sigmoid output classifies 400 points of two classes. It starts from
W = 0.01 N(0, 1) and b = 0 and takes 10,000 full-batch steps with learning rate 1.2. Logistic regression
is trained in the same way for comparison.

To expect: accuracy 0.92 to 0.96 with the network, about 0.5 with logistic regression.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures, reports
from experiments.data.generators import Classified, planar_flower
from experiments.errors import at_least, needs
from experiments.examples import common
from experiments.wording import counted
from fnn.types import Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = fnn.sigmoid_cross_entropy


@dataclass(frozen=True)
class Config:
    hidden: int = 4
    """Number of tanh units."""
    iterations: int = 10000
    """Full-batch steps of gradient descent."""
    learning_rate: float = 1.2
    """Learning rate."""
    points: int = 400
    """Number of points, half of them of each class."""
    seed: int = 0
    """Seed of the points and the initial weights."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder planar."""


def boundary(axes: "Axes", network: fnn.Layer, params: Params, points: Classified) -> None:
    """Draw P(y = 1 | x) over the plane, the decision boundary, and the points."""
    edge = 1.1 * float(np.abs(points.x).max())
    side = np.linspace(-edge, edge, 241, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    logits = fnn.predict(network, params, grid.reshape(-1, 2))
    probability = np.asarray(jax.nn.sigmoid(logits)).reshape(grid.shape[:2])
    axes.contourf(side, side, probability, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.35)
    axes.contour(side, side, probability, levels=[0.5], colors="black", linewidths=1.5)
    for label, colour, marker in ((0, figures.BLUE, "o"), (1, figures.ORANGE, "^")):
        members = points.x[points.y == label]
        axes.scatter(*members.T, s=14, color=colour, marker=marker, linewidths=0, label=f"y = {label}")
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axes.grid(False)


def main(config: Config) -> None:
    """Train the network and logistic regression, and draw both."""
    common.check_flags(config, "hidden", "iterations")
    at_least("--points", config.points, 10)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "planar", "run.json")
    points = planar_flower(config.seed, config.points)
    data = (jnp.asarray(points.x), jnp.asarray(points.y[:, None], jnp.float32))
    networks = {
        "logistic regression": fnn.logistic_regression(2),
        counted(config.hidden, "hidden unit"): fnn.mlp((2, config.hidden, 1), fnn.tanh, w_init=fnn.init.normal(0.01)),
    }
    options = {"epochs": config.iterations, "batch_size": config.points, "key": jax.random.key(config.seed)}
    options["guessing"] = float(np.log(2))
    values = {}
    with figures.style():
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        *panels, curves = figure.subplots(1, 3)
        styles = ((figures.GREY, "--"), (figures.BLUE, "-"))
        for axes, (name, network), (colour, line) in zip(panels, networks.items(), styles, strict=True):
            print(f"{name}:")
            result = common.fit(network, LOSS, fnn.sgd(config.learning_rate), data, **options)
            values[name] = fnn.evaluate(network, LOSS, result.state.params, data)
            common.check_cost(values[name]["cost"], options["guessing"])  # after the last step
            boundary(axes, network, result.state.params, points)
            axes.set_title(f"{name}: {common.percent(values[name]['accuracy'])} correct")
            steps = np.arange(1, config.iterations + 1)
            curves.plot(steps, result.history["cost"], color=colour, ls=line, label=name)
        curves.set(title="Cost", xlabel="iteration", ylabel="cross-entropy per point", xscale="log")
        curves.legend(loc="lower left")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, markerscale=1.5)
    print()
    for name, value in values.items():
        print(f"{name:20}  cost {value['cost']:.4f}  {common.percent(value['accuracy'])} correct")
    common.save_results(folder, config, figure, results=values)
