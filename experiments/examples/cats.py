"""Cat or not: learns from 209 photographs, shows which of 50 others it gets right, and looks at yours.

    python -m experiments cats
    python -m experiments cats --network 20-7-5-1 --image photo.jpg

The images are looked for in FNN_DATA's folder and in the cache, else downloaded (3 MB). Logistic
regression sees raw pixels and starts at 0; 20-7-5-1 has ReLU units; 3-2-1 has sigmoid units and needs
standardised pixels. All take full-batch steps of gradient descent.

To expect: 0.99 of the training images and 0.70 of the test images right with logistic regression;
0.72 to 0.76 with 20-7-5-1. Two of three test images show a cat, so 0.66 takes no learning.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

import fnn
from experiments import figures, reports
from experiments.data.cats import SHAPE, load_cats
from experiments.errors import UsageError, needs
from experiments.examples import commands

LOSS = fnn.sigmoid_cross_entropy
N_IN = int(np.prod(SHAPE))
SHOWN = 9  # images of each kind in the figure


class Choice(NamedTuple):
    """A network and what suits it."""

    network: fnn.Layer
    learning_rate: float
    iterations: int
    standardized: bool


NETWORKS = {
    "logistic-regression": Choice(fnn.logistic_regression(N_IN), 0.005, 2000, False),
    "3-2-1": Choice(fnn.mlp((N_IN, 3, 2, 1), fnn.sigmoid, w_init=fnn.init.xavier_normal), 0.1, 1000, True),
    "20-7-5-1": Choice(fnn.mlp((N_IN, 20, 7, 5, 1), fnn.relu, w_init=fnn.init.lecun_normal), 0.0075, 2500, False),
}


@dataclass(frozen=True)
class Config:
    network: Literal["logistic-regression", "3-2-1", "20-7-5-1"] = "logistic-regression"
    """Units of its hidden layers and of its output."""
    image: Path | None = None
    """A photograph of your own (.jpg, .png …) to look at."""
    iterations: int | None = None
    """Steps of gradient descent; None: what suits the network, 1,000 to 2,500."""
    learning_rate: float | None = None
    """Length of a step; None: what suits the network."""
    seed: int = 0
    """Draws the initial weights."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, cats, in it."""


def read_image(path: Path) -> Float32[np.ndarray, "64 64 3"]:
    """The largest square in the middle of a photograph, at the size of the others; UsageError if it is none."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            small = ImageOps.fit(upright, SHAPE[:2], Image.Resampling.LANCZOS)
    except Exception as error:  # whatever the file makes the decoder do
        reason = getattr(error, "strerror", None) or ("not an image" if "identify" in str(error) else str(error))
        raise UsageError(f"--image: cannot read {path}: {reason}") from None
    return np.asarray(small, np.float32) / np.float32(255)


def captions(classes: tuple[str, ...], probability: np.ndarray) -> list[str]:
    """What the network says, and how sure it is."""
    return [f"{classes[int(p > 0.5)]}, {max(p, 1 - p):.2f}" for p in probability]


def main(config: Config) -> None:
    """Trains, tests once, shows."""
    commands.check_flags(config, "iterations")
    needs("pooch", "h5py", "matplotlib")
    from matplotlib.figure import Figure

    own = None if config.image is None else read_image(config.image)
    folder = reports.make_folder(config.results, "cats")
    cats, choice = load_cats(), NETWORKS[config.network]
    rate, iterations = config.learning_rate or choice.learning_rate, config.iterations or choice.iterations
    rows = lambda x: jnp.asarray(x.reshape(len(x), -1))
    column = lambda y: jnp.asarray(y[:, None], jnp.float32)
    fitted = fnn.data.fit_standardization(rows(cats.train_x)) if choice.standardized else None
    seen = lambda x: rows(x) if fitted is None else fnn.data.standardize(rows(x), fitted)
    data, test = (seen(cats.train_x), column(cats.train_y)), (seen(cats.test_x), column(cats.test_y))
    print(f"cats: {len(cats.train_y)} images to learn from, {len(cats.test_y)} for the test; {config.network}\n")
    options = {"epochs": iterations, "batch_size": len(cats.train_y), "key": jax.random.key(config.seed)}
    result = commands.fit(choice.network, LOSS, fnn.sgd(rate), data, **options)

    params = result.state.params
    values = {
        name: fnn.evaluate(choice.network, LOSS, params, part) for name, part in (("train", data), ("test", test))
    }
    said = lambda x: np.asarray(jax.nn.sigmoid(fnn.predict(choice.network, params, seen(x))))[:, 0]
    probability = said(cats.test_x)
    right = (probability > 0.5) == (cats.test_y > 0)
    print()
    for name, value in values.items():
        print(f"{name:5}  cost {value['cost']:.4f}  {commands.share(value['accuracy'])} right")
    answer = {}
    if own is not None:
        answer = {"image": str(config.image), "probability_of_a_cat": float(said(own[None])[0])}
        print(f"{config.image}: a cat with probability {answer['probability_of_a_cat']:.3f}")
    with figures.style():
        figure = Figure(figsize=(13, 5.4), layout="constrained")
        parts = figure.add_gridspec(1, 3, width_ratios=(1.1, 1, 1))
        first = figure.add_subfigure(parts[0]).subplots(1 if own is None else 2, squeeze=False)[:, 0]
        first[0].plot(np.arange(1, iterations + 1), result.history["cost"], color=figures.BLUE)
        first[0].set(title=config.network, xlabel="iteration", ylabel="cost, cross-entropy per image", yscale="log")
        if own is not None:
            first[1].imshow(own)
            first[1].set_title(f"yours: {captions(cats.classes, said(own[None]))[0]}", loc="center")
            first[1].set_axis_off()
        for place, chosen, name in ((parts[1], right, "right"), (parts[2], ~right, "wrong")):
            order = np.flatnonzero(chosen)[np.argsort(-np.abs(probability[chosen] - 0.5))][:SHOWN]
            title = f"{int(chosen.sum())} of {len(right)} {name}, the surest first"
            grid = figures.titled(figure.add_subfigure(place), title)
            figures.image_grid(grid, cats.test_x[order], captions(cats.classes, probability[order]), columns=3)
    commands.finish(folder, config, figure, results=values, **answer)
