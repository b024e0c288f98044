"""The planar flower: four tanh units draw the border between petals that no straight line can draw.

    python -m experiments planar

400 points of two classes, a network 2-4-1 of tanh units and a sigmoid, W = 0.01 N(0, 1) and b = 0 at the
start, 10,000 full-batch steps of length 1.2; beside it logistic regression, trained the same way.

To expect: 0.92 to 0.96 of the points right with the network, about 0.5 with the line.
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
from experiments.examples import commands
from fnn.types import Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = fnn.sigmoid_cross_entropy


@dataclass(frozen=True)
class Config:
    hidden: int = 4
    """Tanh units."""
    iterations: int = 10000
    """Steps of gradient descent on all points."""
    learning_rate: float = 1.2
    """Length of a step."""
    points: int = 400
    """Half of them of each class."""
    seed: int = 0
    """Draws the points and the initial weights."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, planar, in it."""


def boundary(axes: "Axes", network: fnn.Layer, params: Params, points: Classified) -> None:
    """P(y = 1 | x) over the plane, in ten shades with the border at 1/2, and the points."""
    edge = 1.1 * float(np.abs(points.x).max())
    side = np.linspace(-edge, edge, 241, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    logits = fnn.predict(network, params, grid.reshape(-1, 2))
    probability = np.asarray(jax.nn.sigmoid(logits)).reshape(grid.shape[:2])
    axes.contourf(side, side, probability, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.35)
    axes.contour(side, side, probability, levels=[0.5], colors="black", linewidths=1.5)
    for label, colour, marker in ((0, figures.BLUE, "o"), (1, figures.ORANGE, "^")):
        some = points.x[points.y == label]
        axes.scatter(*some.T, s=14, color=colour, marker=marker, linewidths=0, label=f"y = {label}")
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axes.grid(False)


def main(config: Config) -> None:
    """Trains both, shows both."""
    commands.check_flags(config, "hidden", "iterations")
    at_least("--points", config.points, 10)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "planar")
    points = planar_flower(config.seed, config.points)
    data = (jnp.asarray(points.x), jnp.asarray(points.y[:, None], jnp.float32))
    networks = {
        "logistic regression": fnn.logistic_regression(2),
        f"{config.hidden} hidden units": fnn.mlp((2, config.hidden, 1), fnn.tanh, w_init=fnn.init.normal(0.01)),
    }
    options = {"epochs": config.iterations, "batch_size": config.points, "key": jax.random.key(config.seed)}
    values = {}
    with figures.style():
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        *panels, curves = figure.subplots(1, 3)
        looks = ((figures.GREY, "--"), (figures.BLUE, "-"))
        for axes, (name, network), (colour, line) in zip(panels, networks.items(), looks, strict=True):
            print(f"{name}:")
            result = commands.fit(network, LOSS, fnn.sgd(config.learning_rate), data, **options)
            values[name] = fnn.evaluate(network, LOSS, result.state.params, data)
            boundary(axes, network, result.state.params, points)
            axes.set_title(f"{name}: {commands.share(values[name]['accuracy'])} right")
            steps = np.arange(1, config.iterations + 1)
            curves.plot(steps, result.history["cost"], color=colour, ls=line, label=name)
        curves.set(title="Cost", xlabel="iteration", ylabel="cross-entropy per point", xscale="log")
        curves.legend(loc="lower left")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, markerscale=1.5)
    print()
    for name, value in values.items():
        print(f"{name:20}  cost {value['cost']:.4f}  {commands.share(value['accuracy'])} right")
    commands.finish(folder, config, figure, results=values)
