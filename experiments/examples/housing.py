"""House prices: a small network finds the factors between a house and its price that a line cannot.

    python -m experiments housing
    python -m experiments housing --house 1.0 0.5 -0.3 0.8

Size, bedrooms, zip and wealth of a house (each of mean 0 and deviation 1, made from a seed) act on its
price by way of family size, walkability and school quality, each with a kink, which the network never
sees. A 4-3-1 ReLU network starts five times, the start with the lowest training cost is kept; beside it
the best line (least squares). --house gives the price of one of your own.

To expect: on houses not seen R² = 0.99 with the network, 0.74 with the line.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures, reports
from experiments.data.prices import houses
from experiments.errors import at_least, needs, usage
from experiments.examples import commands
from experiments.least_squares import line, on_line, r_squared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = fnn.squared_error
FEATURES = ("size", "bedrooms", "zip", "wealth")
TESTED = 600


@dataclass(frozen=True)
class Config:
    house: tuple[float, float, float, float] | None = None
    """Size, bedrooms, zip and wealth of a house of your own."""
    hidden: int = 3
    """ReLU units."""
    houses: int = 1400
    """To learn from."""
    starts: int = 5
    """Initial weights, of which the best is kept."""
    iterations: int = 2000
    """Steps of Adam on all houses."""
    learning_rate: float = 0.02
    """Length of a step."""
    seed: int = 0
    """Draws the houses and the initial weights."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, housing, in it."""


def agreement(axes: "Axes", title: str, colour: str, prediction: np.ndarray, y: np.ndarray) -> None:
    """Predicted over true prices."""
    axes.plot(y, prediction, "o", color=colour, ms=3, alpha=0.5, rasterized=True)
    axes.axline((0, 0), slope=1, color="black", lw=1, ls="--")
    axes.set(title=title, xlabel="price", ylabel="predicted price")


def main(config: Config) -> None:
    """Trains, compares on other houses, answers for the one given."""
    commands.check_flags(config, "hidden", "starts", "iterations")
    at_least("--houses", config.houses, 10)
    if config.house is not None and not np.isfinite(config.house).all():
        raise usage("--house", "four finite numbers", config.house)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "housing")
    x, y, _ = houses(config.seed, config.houses + TESTED)
    train_x, train_y, test_x, test_y = x[: config.houses], y[: config.houses], x[config.houses :], y[config.houses :]
    network = fnn.mlp((len(FEATURES), config.hidden, 1))
    print(f"housing: {config.houses:,} houses to learn from, {TESTED} for the test", flush=True)
    params, costs = commands.best_start(
        network,
        LOSS,
        fnn.adam,
        config.learning_rate,
        (train_x, train_y),
        config.starts,
        config.iterations,
        len(train_x),
        config.seed,
    )
    fitted = line(train_x, train_y)
    models = {
        "line": lambda x: on_line(fitted, x),
        f"4-{config.hidden}-1 network": lambda x: np.asarray(fnn.predict(network, params, jnp.asarray(x))),
    }
    values = {name: float(r_squared(model(test_x), test_y)) for name, model in models.items()}
    for name, value in values.items():
        print(f"{name:14}  R² {value:.4f} on houses not seen")
    answer = {}
    if config.house is not None:
        own = np.array([config.house], np.float32)
        answer = {"prices_of_your_house": {name: float(model(own)[0, 0]) for name, model in models.items()}}
        about = ", ".join(f"{name} {value:g}" for name, value in zip(FEATURES, config.house, strict=True))
        prices = ", ".join(f"{name} {price:.2f}" for name, price in answer["prices_of_your_house"].items())
        print(f"{about}: {prices}")
    with figures.style():
        figure = Figure(figsize=(13, 4.4), layout="constrained")
        curves, *panels = figure.subplots(1, 3)
        steps = np.arange(1, config.iterations + 1)
        order = np.argsort(costs[:, -1])  # NaN last
        for i in order[::-1]:
            kept = i == order[0]
            look = {"color": figures.BLUE, "lw": 2} if kept else {"color": figures.GREY, "lw": 1, "ls": "--"}
            curves.plot(steps, costs[i], **look, label="start kept" if kept else "other starts")
        curves.set(title="Training", xlabel="iteration", ylabel="half the squared error", xscale="log", yscale="log")
        handles = dict(zip(*reversed(curves.get_legend_handles_labels()), strict=True))
        curves.legend(handles.values(), handles.keys(), loc="lower left")
        for axes, (name, model), colour in zip(panels, models.items(), (figures.ORANGE, figures.BLUE), strict=True):
            agreement(axes, f"{name}: R² {values[name]:.3f}", colour, model(test_x), test_y)
    commands.finish(folder, config, figure, r_squared=values, **answer)
