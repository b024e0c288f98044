"""House prices: a small network learns hidden factors that a linear model cannot.

    python -m experiments housing
    python -m experiments housing --house 1.0 0.5 -0.3 0.8

The data are synthetic. A house has four features of mean 0 and standard deviation 1: size, bedrooms, zip
and wealth. They determine three hidden factors, each with a kink: family size, walkability and school
quality. The price is their sum; the network sees only features and price. A 4-3-1 ReLU network is trained
from five random starts, and the start with the lowest training cost is kept. A linear model (least
squares) is fitted for comparison. --house predicts the price of your own house.

To expect: R² = 0.99 on unseen houses with the network, 0.74 with the linear model.
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
from experiments.examples import common
from experiments.least_squares import fit_linear, predict_linear, r_squared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = fnn.squared_error
FEATURES = ("size", "bedrooms", "zip", "wealth")
TESTED = 600


@dataclass(frozen=True)
class Config:
    house: tuple[float, float, float, float] | None = None
    """Size, bedrooms, zip and wealth of your own house, in standard deviations from the mean."""
    hidden: int = 3
    """Number of ReLU units."""
    houses: int = 1400
    """Number of houses to train on."""
    starts: int = 5
    """Number of random starts, of which the best is kept."""
    iterations: int = 2000
    """Full-batch steps of Adam."""
    learning_rate: float = 0.02
    """Learning rate."""
    seed: int = 0
    """Seed of the houses and the initial weights."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder housing."""


def agreement(axes: "Axes", title: str, colour: str, prediction: np.ndarray, y: np.ndarray) -> None:
    """Plot predicted against true prices."""
    axes.plot(y, prediction, "o", color=colour, ms=3, alpha=0.5, rasterized=True)
    axes.axline((0, 0), slope=1, color="black", lw=1, ls="--", label="predicted = true")
    axes.set(title=title, xlabel="price", ylabel="predicted price")
    axes.legend(loc="upper left", fontsize=10)


def main(config: Config) -> None:
    """Train, compare on unseen houses, and predict for the house of --house."""
    common.check_flags(config, "hidden", "starts", "iterations")
    at_least("--houses", config.houses, 10)
    if config.house is not None and not np.isfinite(config.house).all():
        raise usage("--house", "four finite numbers", config.house)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "housing", "run.json")
    drawn = houses(config.seed, config.houses + TESTED)
    train_x, train_y = drawn.x[: config.houses], drawn.y[: config.houses]
    test_x, test_y = drawn.x[config.houses :], drawn.y[config.houses :]
    network = fnn.mlp((len(FEATURES), config.hidden, 1))
    print(f"housing: train on {config.houses:,} houses, test on {TESTED}", flush=True)
    params, costs = common.fit_best_start(
        network,
        LOSS,
        fnn.adam,
        config.learning_rate,
        (train_x, train_y),
        config.starts,
        config.iterations,
        len(train_x),
        config.seed,
        guessing=float(np.var(train_y)) / 2,
    )
    fitted = fit_linear(train_x, train_y)
    models = {
        "line": lambda x: predict_linear(fitted, x),
        f"4-{config.hidden}-1 network": lambda x: np.asarray(fnn.predict(network, params, jnp.asarray(x))),
    }
    values = {name: float(r_squared(model(test_x), test_y)) for name, model in models.items()}
    for name, value in values.items():
        print(f"{name:14}  R² {value:.4f} on unseen houses")
    answer = {}
    if config.house is not None:
        own = np.array([config.house], np.float32)
        answer = {"prices_of_your_house": {name: float(model(own)[0, 0]) for name, model in models.items()}}
        features = ", ".join(f"{name} {value:g}" for name, value in zip(FEATURES, config.house, strict=True))
        prices = ", ".join(f"{name} {price:.2f}" for name, price in answer["prices_of_your_house"].items())
        print(f"{features}: {prices}")
    with figures.style():
        figure = Figure(figsize=(13, 4.4), layout="constrained")
        curves, *panels = figure.subplots(1, 3)
        steps = np.arange(1, config.iterations + 1)
        order = np.argsort(costs[:, -1])  # NaN last
        for i in order[::-1]:
            kept = i == order[0]
            style = {"color": figures.BLUE, "lw": 2} if kept else {"color": figures.GREY, "lw": 1, "ls": "--"}
            curves.plot(steps, costs[i], **style, label="best start (kept)" if kept else "other starts")
        curves.set(title="Training", xlabel="iteration", ylabel="half the squared error", xscale="log", yscale="log")
        handles = dict(zip(*reversed(curves.get_legend_handles_labels()), strict=True))
        curves.legend(handles.values(), handles.keys(), loc="lower left")
        for axes, (name, model), colour in zip(panels, models.items(), (figures.ORANGE, figures.BLUE), strict=True):
            agreement(axes, f"{name}: R² {values[name]:.3f}", colour, model(test_x), test_y)
    common.save_results(folder, config, figure, r_squared=values, **answer)
