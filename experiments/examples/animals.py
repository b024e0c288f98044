"""Cat, lion, iguana: independent sigmoids against softmax, for any or one label.

    python -m experiments animals

An image is a synthetic row of 40 numbers, in which every animal present adds its pattern. There are two
sets of images. In one, each animal is present or absent independently; in the other, exactly one is
present. Two layers are trained on each set: three sigmoids, which predict each animal independently, and
softmax, whose three probabilities sum to 1.

Expected results: with any number of animals, the sigmoids predict all labels correctly for 0.97 to 0.99 of the
images, and softmax for 0.38, the fraction with exactly one animal. With exactly one animal, both are
correct for 0.99 or more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures, reports
from experiments.data.patterns import mixtures
from experiments.errors import at_least, needs
from experiments.examples import common

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ANIMALS = ("cat", "lion", "iguana")
TESTED, SHOWN = 2000, 10


@dataclass(frozen=True)
class Config:
    images: int = 600
    """Training images in each set."""
    iterations: int = 500
    """Full-batch steps of gradient descent."""
    learning_rate: float = 0.5
    """Learning rate."""
    seed: int = 0
    """Seed of the images."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder animals."""


class Outcome(NamedTuple):
    """Labels of the test images, and outputs and accuracy of each layer.

    `exact` is the fraction of images with all labels correct.
    """

    y: np.ndarray
    outputs: dict[str, np.ndarray]
    exact: dict[str, float]


def train(config: Config, single: bool) -> Outcome:
    """Train both layers on one of the sets; `single`: exactly one animal per image."""
    images = mixtures(config.seed, config.images + TESTED, single=single)
    x, y = images.x, images.y
    shares = y / np.maximum(y.sum(axis=1, keepdims=True), 1)
    shares = np.where(y.sum(axis=1, keepdims=True) > 0, shares, np.float32(1 / len(ANIMALS)))
    network = fnn.softmax_regression(x.shape[1], len(ANIMALS))
    outputs, exact = {}, {}
    for name, loss, target in (
        ("sigmoids", fnn.sigmoid_cross_entropy, y),
        ("softmax", fnn.softmax_cross_entropy, shares),
    ):
        data = (jnp.asarray(x[: config.images]), jnp.asarray(target[: config.images]))
        options = {"epochs": config.iterations, "batch_size": config.images, "key": jax.random.key(config.seed)}
        options["guessing"] = len(ANIMALS) * float(np.log(2))
        result = common.fit(network, loss, fnn.sgd(config.learning_rate), data, progress=False, **options)
        z = fnn.predict(network, result.state.params, jnp.asarray(x[config.images :]))
        outputs[name] = np.asarray(jax.nn.sigmoid(z) if name == "sigmoids" else jax.nn.softmax(z))
        largest = outputs[name] == outputs[name].max(axis=1, keepdims=True)
        predicted = largest if name == "softmax" or single else outputs[name] > 0.5
        exact[name] = float((predicted == (y[config.images :] > 0)).all(axis=1).mean())
    return Outcome(y[config.images :], outputs, exact)


def draw_outputs(axes: "Axes", title: str, y: np.ndarray, output: np.ndarray) -> None:
    """Draw the outputs for some images, a row per image.

    A dot marks an animal that is present.
    """
    axes.imshow(output, cmap="Blues", vmin=0, vmax=1.8, aspect="auto")
    for (row, column), value in np.ndenumerate(output):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9)
    present = np.argwhere(y > 0)
    axes.plot(present[:, 1] + 0.36, present[:, 0], "o", color=figures.ORANGE, ms=7)
    axes.set_xticks(range(len(ANIMALS)), ANIMALS)
    axes.set_yticks(range(len(y)), [""] * len(y))
    axes.set_title(title, fontsize=11)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def main(config: Config) -> None:
    """Train on both sets, compare the layers, and draw some outputs."""
    common.check_flags(config, "iterations")
    at_least("--images", config.images, 10)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "animals", "run.json")
    print(f"animals: train on {config.images} images and test on {TESTED}, in each of two sets", flush=True)
    sets = {"any number of animals": train(config, single=False), "exactly one animal": train(config, single=True)}
    for name, outcome in sets.items():
        shares = ", ".join(f"{layer} {common.percent(value)}" for layer, value in outcome.exact.items())
        print(f"{name} per image, all labels correct: {shares}")
    with figures.style():
        figure = Figure(figsize=(12, 5), layout="constrained")
        panels = figure.subplots(1, 4)
        for i, (name, outcome) in enumerate(sets.items()):
            for axes, (layer, output) in zip(panels[2 * i :], outcome.outputs.items(), strict=False):
                exact = common.percent(outcome.exact[layer])
                title = f"{name.removesuffix(' of animals')}: {layer}\nall labels correct: {exact}"
                draw_outputs(axes, title, outcome.y[:SHOWN], output[:SHOWN])
        panels[0].set_ylabel(f"the first {SHOWN} test images, a row each")
        panels[0].plot([], [], "o", color=figures.ORANGE, ms=7, label="the animal is in the image")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left")
    common.save_results(folder, config, figure, exact={name: outcome.exact for name, outcome in sets.items()})
