"""Cat, lion, iguana: any of them in an image, or exactly one; independent sigmoids against softmax.

    python -m experiments animals

Images are rows of 40 numbers, made from a seed, in each of which every animal leaves its pattern. Two
sets of them: in one every animal is there or not on its own; in the other there is exactly one. On both
a layer of three sigmoids, an answer per animal, and one of softmax, which shares out a probability of 1.

To expect: with any number of animals the sigmoids name all of them in 0.97 to 0.99 of the images, the
largest softmax output in 0.38, the share of images with one; with exactly one, both in 0.99 or more.
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
from experiments.examples import commands

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ANIMALS = ("cat", "lion", "iguana")
TESTED, SHOWN = 2000, 10


@dataclass(frozen=True)
class Config:
    images: int = 600
    """To learn from, of each set."""
    iterations: int = 500
    """Steps of gradient descent on all images."""
    learning_rate: float = 0.5
    """Length of a step."""
    seed: int = 0
    """Draws the images."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, animals, in it."""


class Answers(NamedTuple):
    """Of the test images: which animals there are, the outputs of either layer, and the share named exactly."""

    y: np.ndarray
    outputs: dict[str, np.ndarray]
    exact: dict[str, float]


def learn(config: Config, single: bool) -> Answers:
    """Trains both layers on one of the sets."""
    x, y = mixtures(config.seed, config.images + TESTED, single=single)
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
        result = commands.fit(network, loss, fnn.sgd(config.learning_rate), data, progress=False, **options)
        z = fnn.predict(network, result.state.params, jnp.asarray(x[config.images :]))
        outputs[name] = np.asarray(jax.nn.sigmoid(z) if name == "sigmoids" else jax.nn.softmax(z))
        largest = outputs[name] == outputs[name].max(axis=1, keepdims=True)
        named = largest if name == "softmax" or single else outputs[name] > 0.5
        exact[name] = float((named == (y[config.images :] > 0)).all(axis=1).mean())
    return Answers(y[config.images :], outputs, exact)


def examples(axes: "Axes", title: str, y: np.ndarray, output: np.ndarray) -> None:
    """The outputs for some images, a row each; a dot where there is the animal."""
    axes.imshow(output, cmap="Blues", vmin=0, vmax=1.8, aspect="auto")
    for (row, column), value in np.ndenumerate(output):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9)
    there = np.argwhere(y > 0)
    axes.plot(there[:, 1] + 0.36, there[:, 0], "o", color=figures.ORANGE, ms=7)
    axes.set_xticks(range(len(ANIMALS)), ANIMALS)
    axes.set_yticks(range(len(y)), [""] * len(y))
    axes.set_title(title, fontsize=11)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def main(config: Config) -> None:
    """Learns both sets, compares, shows some images."""
    commands.check_flags(config, "iterations")
    at_least("--images", config.images, 10)
    needs("matplotlib")
    from matplotlib.figure import Figure

    folder = reports.make_folder(config.results, "animals")
    print(f"animals: {config.images} images to learn from and {TESTED} for the test, of each set", flush=True)
    sets = {"any number of animals": learn(config, single=False), "exactly one animal": learn(config, single=True)}
    for name, answers in sets.items():
        shares = ", ".join(f"{layer} {commands.share(value)}" for layer, value in answers.exact.items())
        print(f"{name} in an image, all of them named: {shares}")
    with figures.style():
        figure = Figure(figsize=(12, 5), layout="constrained")
        panels = figure.subplots(1, 4)
        for i, (name, answers) in enumerate(sets.items()):
            for axes, (layer, output) in zip(panels[2 * i :], answers.outputs.items(), strict=False):
                title = (
                    f"{name.removesuffix(' of animals')}: {layer}\nall named in {commands.share(answers.exact[layer])}"
                )
                examples(axes, title, answers.y[:SHOWN], output[:SHOWN])
        panels[0].set_ylabel(f"the first {SHOWN} test images, a row each")
        panels[0].plot([], [], "o", color=figures.ORANGE, ms=7, label="the animal is in the image")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left")
    commands.finish(folder, config, figure, exact={name: answers.exact for name, answers in sets.items()})
