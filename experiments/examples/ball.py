"""Find a ball: one convolution filter generalises to positions never trained on.

    python -m experiments ball

A ball is a disc of 6 pixels in a noisy image of 20x20 pixels. In training it is always near the upper
left corner. Logistic regression has a weight per pixel. The convolutional network has one filter of 4x4
weights, and its largest response decides: σ(c max_ij z_ij + d), 19 parameters in total. About half of
the filter's random starts learn nothing, so it is trained from six, and the start with the lowest
training cost is kept. Both models are tested with the ball at the trained position and in the opposite
corner.

To expect: accuracy 0.99 or more at both positions with the filter. Logistic regression reaches 0.95 or
more at the trained position, and 0.5 in the opposite corner.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures, reports
from experiments.data.patterns import Images, balls
from experiments.errors import at_least, needs
from experiments.examples import common
from experiments.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = fnn.sigmoid_cross_entropy
GUESSING = float(np.log(2))  # the cost of equal probabilities
SIDE, FILTER = 20, 4
PLACES = {"where it was in training": (0, 4), "in the opposite corner": (10, 14)}  # range of the disc's corner pixel
FILTERED = "filter and its maximum"
NETWORKS = {
    "logistic regression": fnn.serial(fnn.flatten, fnn.logistic_regression(SIDE * SIDE)),
    FILTERED: fnn.serial(fnn.conv2d(1, 1, FILTER), fnn.max_pool2d(SIDE - FILTER + 1), fnn.flatten, fnn.dense(1, 1)),
}


@dataclass(frozen=True)
class Config:
    images: int = 1000
    """Training images, half of them with a ball; each test has as many."""
    starts: int = 6
    """Number of random starts, of which the one with the lowest training cost is kept."""
    epochs: int = 20
    """Passes over the images."""
    noise: float = 0.3
    """Standard deviation of the pixel noise; the ball's brightness is 1."""
    learning_rate: float = 0.02
    """Learning rate of Adam."""
    seed: int = 0
    """Seed of the images and the initial weights."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder ball."""


def draw_images(config: Config, seed: int, position: tuple[int, int]) -> Images:
    """Draw images with the ball at this position."""
    return balls(seed, config.images, position, position, side=SIDE, noise=config.noise)


def picture(axes: "Axes", title: str, image: np.ndarray, colours: str, limit: float, low: float) -> None:
    """Draw an image or a response map."""
    axes.imshow(image, cmap=colours, vmin=low, vmax=limit, interpolation="nearest")
    axes.set_title(title, fontsize=11, loc="center")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=figures.GREY, linewidth=0.6)


def main(config: Config) -> None:
    """Train both models, test them at both positions, and draw the responses."""
    common.check_flags(config, "epochs", "starts")
    at_least("--images", config.images, 64)
    at_least("--noise", config.noise, 0.0)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "ball", "run.json")
    as_data = lambda images: (jnp.asarray(images.x), jnp.asarray(images.y[:, None], jnp.float32))
    first = 3 * config.seed
    train = as_data(draw_images(config, first, PLACES["where it was in training"]))
    tests = {name: draw_images(config, first + 1 + i, position) for i, (name, position) in enumerate(PLACES.items())}
    values, params, costs = {}, {}, {}
    print(f"ball: {config.images} images to train on and in each test, {counted(config.starts, 'start')}", flush=True)
    for name, network in NETWORKS.items():
        params[name], history = common.fit_best_start(
            network,
            LOSS,
            fnn.adam,
            config.learning_rate,
            train,
            config.starts,
            config.epochs,
            64,
            config.seed,
            GUESSING,
        )
        costs[name] = [float(cost) for cost in history[:, -1]]
        values[name] = {
            place: fnn.evaluate(network, LOSS, params[name], as_data(images))["accuracy"]
            for place, images in tests.items()
        }
    for name, value in values.items():
        print(f"{name:22}  " + ", ".join(f"{common.percent(v)} correct {place}" for place, v in value.items()))
    kernel = np.asarray(params[FILTERED][0].w)[:, :, 0, 0]
    sliding = NETWORKS[FILTERED].layers[0]
    with figures.style():
        figure = Figure(figsize=(12, 5.6), layout="constrained")
        panels = figure.subplot_mosaic(
            [["weights", "image 0", "map 0", "bars"], ["filter", "image 1", "map 1", "bars"]]
        )
        weights = np.asarray(params["logistic regression"][1].w).reshape(SIDE, SIDE)
        for key, title, array in (
            ("weights", "logistic regression's weights", weights),
            ("filter", "the filter", kernel),
        ):
            limit = float(np.abs(array).max())
            picture(panels[key], title, array, "RdBu_r", limit, -limit)
        for i, (place, images) in enumerate(tests.items()):
            x = images.x[int(np.argmax(images.y))]
            z = np.asarray(fnn.predict(sliding, params[FILTERED][0], jnp.asarray(x[None])))[0, :, :, 0]
            row, column = np.unravel_index(z.argmax(), z.shape)
            picture(panels[f"image {i}"], f"ball {place}", x[:, :, 0], "gray_r", 1.6, -0.4)
            picture(panels[f"map {i}"], f"responses, largest {z.max():.1f}", z, "viridis", z.max(), z.min())
            panels[f"map {i}"].plot(column, row, "o", mfc="none", mec=figures.ORANGE, ms=14, mew=2)
        accuracies = [[value[place] for value in values.values()] for place in PLACES]
        positions = np.arange(len(values))
        for offset, heights, place, colour, hatch in zip(
            (-0.2, 0.2), accuracies, PLACES, (figures.BLUE, figures.ORANGE), ("", "//"), strict=True
        ):
            panels["bars"].bar(
                positions + offset,
                heights,
                0.38,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                lw=0,
                label=f"ball {place}",
            )
        panels["bars"].set_axisbelow(True)
        panels["bars"].axhline(0.5, color=figures.GREY, ls=":", lw=1.4, label="guessing")
        panels["bars"].set_xticks(positions, [name.replace(" ", "\n", 1) for name in values])
        panels["bars"].set(ylim=(0, 1.02), ylabel="share of test images classified correctly")
        figure.legend(*panels["bars"].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    common.save_results(folder, config, figure, accuracy=values, training_costs=costs)
