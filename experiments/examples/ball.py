"""Where is the ball? One small filter, slid over the image, finds it where it never was in training.

    python -m experiments ball

Discs of 6 pixels in noise, in training always in the upper left corner of 20x20 pixels. Logistic
regression has a weight for each pixel; the filter has 16 weights for all places, and the largest of its
responses decides: σ(c max_ij z_ij + d), 19 parameters in all. From half of its starts the filter learns
nothing, so there are six, and the one with the lowest training cost is kept. Both are tested with the
disc where it was, and in the lower right corner.

To expect: the filter answers right for 0.99 or more of the images in both places; logistic regression
for 0.95 or more where the ball was in training, for half where it was not.
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
from experiments.examples import commands

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = fnn.sigmoid_cross_entropy
SIDE, FILTER = 20, 4
PLACES = {"where it was in training": (0, 4), "in the opposite corner": (10, 14)}  # of the disc's corner
FILTERED = "filter and its maximum"
NETWORKS = {
    "logistic regression": fnn.serial(fnn.flatten, fnn.logistic_regression(SIDE * SIDE)),
    FILTERED: fnn.serial(fnn.conv2d(1, 1, FILTER), fnn.max_pool2d(SIDE - FILTER + 1), fnn.flatten, fnn.dense(1, 1)),
}


@dataclass(frozen=True)
class Config:
    images: int = 1000
    """To learn from, half of them with a ball; as many in either test."""
    starts: int = 6
    """Initial weights, of which those with the lowest training cost are kept."""
    epochs: int = 20
    """Passes over the images."""
    noise: float = 0.3
    """Deviation of the pixels' noise; the ball's brightness is 1."""
    learning_rate: float = 0.02
    """Length of a step of Adam."""
    seed: int = 0
    """Draws the images and the initial weights."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, ball, in it."""


def draw(config: Config, seed: int, place: tuple[int, int]) -> Images:
    """Images with the ball in this place."""
    return balls(seed, config.images, place, place, side=SIDE, noise=config.noise)


def picture(axes: "Axes", title: str, image: np.ndarray, colours: str, limit: float, low: float) -> None:
    """An image, or a map of responses."""
    axes.imshow(image, cmap=colours, vmin=low, vmax=limit, interpolation="nearest")
    axes.set_title(title, fontsize=11, loc="center")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=figures.GREY, linewidth=0.6)


def main(config: Config) -> None:
    """Trains both, tests both in both places, shows the filter at work."""
    commands.check_flags(config, "epochs", "starts")
    at_least("--images", config.images, 64)
    at_least("--noise", config.noise, 0.0)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "ball")
    column = lambda images: (jnp.asarray(images.x), jnp.asarray(images.y[:, None], jnp.float32))
    first = 3 * config.seed
    train = column(draw(config, first, PLACES["where it was in training"]))
    tests = {name: draw(config, first + 1 + i, place) for i, (name, place) in enumerate(PLACES.items())}
    values, params, costs = {}, {}, {}
    print(f"ball: {config.images} images to learn from and in either test, {config.starts} starts", flush=True)
    for name, network in NETWORKS.items():
        params[name], history = commands.best_start(
            network, LOSS, fnn.adam, config.learning_rate, train, config.starts, config.epochs, 64, config.seed
        )
        costs[name] = [float(cost) for cost in history[:, -1]]
        values[name] = {
            place: fnn.evaluate(network, LOSS, params[name], column(images))["accuracy"]
            for place, images in tests.items()
        }
    for name, value in values.items():
        print(f"{name:22}  " + ", ".join(f"{commands.share(v)} right {place}" for place, v in value.items()))
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
            row, at = np.unravel_index(z.argmax(), z.shape)
            picture(panels[f"image {i}"], f"ball {place}", x[:, :, 0], "gray_r", 1.6, -0.4)
            picture(panels[f"map {i}"], f"responses, largest {z.max():.1f}", z, "viridis", z.max(), z.min())
            panels[f"map {i}"].plot(at, row, "o", mfc="none", mec=figures.ORANGE, ms=14, mew=2)
        ends = [[value[place] for value in values.values()] for place in PLACES]
        at = np.arange(len(values))
        for offset, heights, place, colour, hatch in zip(
            (-0.2, 0.2), ends, PLACES, (figures.BLUE, figures.ORANGE), ("", "//"), strict=True
        ):
            panels["bars"].bar(
                at + offset, heights, 0.38, color=colour, hatch=hatch, edgecolor="white", lw=0, label=place
            )
        panels["bars"].set_axisbelow(True)
        panels["bars"].axhline(0.5, color=figures.GREY, ls=":", lw=1.4)
        panels["bars"].set_xticks(at, [name.replace(" ", "\n", 1) for name in values])
        panels["bars"].set(ylim=(0, 1.02), ylabel="share of test images answered right")
        figure.legend(*panels["bars"].get_legend_handles_labels(), loc="outside lower right", title="ball", ncols=2)
    commands.finish(folder, config, figure, accuracy=values, training_costs=costs)
