"""Cat or not: train on 209 photographs, test on 50 others, classify your own.

    python -m experiments cats
    python -m experiments cats --network 20-7-5-1 --image photo.jpg

The images are read from the folder in FNN_DATA or from the cache, and downloaded (3 MB) if they are in
neither. Logistic regression sees raw pixels and starts at 0. 20-7-5-1 has ReLU units. 3-2-1 has sigmoid
units and needs standardised pixels. All are trained by full-batch gradient descent.

To expect: accuracy 0.99 on the training images and 0.70 on the test images with logistic regression;
0.72 to 0.76 on the test images with 20-7-5-1. Two of three test images show a cat, so a constant answer
reaches 0.66.
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
from experiments.errors import DataError, needs
from experiments.examples import common

LOSS = fnn.sigmoid_cross_entropy
N_IN = int(np.prod(SHAPE))
SHOWN = 9  # images of each kind in the figure


class Choice(NamedTuple):
    """A network and its default training options."""

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
    """Units of the hidden layers and of the output, or logistic regression."""
    image: Path | None = None
    """Your own photograph (.jpg, .png …) to classify."""
    iterations: int | None = None
    """Steps of gradient descent. None: a default for the network, 1,000 to 2,500."""
    learning_rate: float | None = None
    """Learning rate. None: a default for the network."""
    seed: int = 0
    """Seed of the initial weights."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder cats."""


def read_image(path: Path) -> Float32[np.ndarray, "64 64 3"]:
    """Read a photograph, crop its central square and resize it.

    Raise DataError if it is not an image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            small = ImageOps.fit(upright, SHAPE[:2], Image.Resampling.LANCZOS)
    except Exception as error:  # a damaged file can make the decoder raise anything
        reason = getattr(error, "strerror", None) or ("not an image" if "identify" in str(error) else str(error))
        raise DataError(f"--image: cannot read {path}: {reason}") from None
    return np.asarray(small, np.float32) / np.float32(255)


def captions(classes: tuple[str, ...], probability: np.ndarray) -> list[str]:
    """Return the predicted class of each image and its probability."""
    return [f"{classes[int(p > 0.5)]}, {max(p, 1 - p):.2f}" for p in probability]


def main(config: Config) -> None:
    """Train, test once, and draw the results."""
    common.check_flags(config, "iterations")
    needs("pooch", "h5py", "matplotlib")
    from matplotlib.figure import Figure

    written = [config.results / "cats" / name for name in ("figure.png", "run.json")]
    if config.image is not None:
        reports.distinct("--image", "a file that this run does not replace (see --results)", config.image, written)
    own = None if config.image is None else read_image(config.image)
    folder = reports.make_folder(config.results, "cats", "run.json")
    cats, choice = load_cats(), NETWORKS[config.network]
    rate, iterations = config.learning_rate or choice.learning_rate, config.iterations or choice.iterations
    rows = lambda x: jnp.asarray(x.reshape(len(x), -1))
    column = lambda y: jnp.asarray(y[:, None], jnp.float32)
    fitted = fnn.data.fit_standardization(rows(cats.train_x)) if choice.standardized else None
    inputs = lambda x: rows(x) if fitted is None else fnn.data.standardize(rows(x), fitted)
    data, test = (inputs(cats.train_x), column(cats.train_y)), (inputs(cats.test_x), column(cats.test_y))
    print(f"cats: train on {len(cats.train_y)} images, test on {len(cats.test_y)}; {config.network}\n")
    options = {"epochs": iterations, "batch_size": len(cats.train_y), "key": jax.random.key(config.seed)}
    options["guessing"] = float(np.log(2))
    result = common.fit(choice.network, LOSS, fnn.sgd(rate), data, **options)

    params = result.state.params
    values = {
        name: fnn.evaluate(choice.network, LOSS, params, part) for name, part in (("train", data), ("test", test))
    }
    common.check_cost(values["train"]["cost"], options["guessing"])  # after the last step
    predict = lambda x: np.asarray(jax.nn.sigmoid(fnn.predict(choice.network, params, inputs(x))))[:, 0]
    probability = predict(cats.test_x)
    right = (probability > 0.5) == (cats.test_y > 0)
    print()
    for name, value in values.items():
        print(f"{name:5}  cost {value['cost']:.4f}  {common.percent(value['accuracy'])} correct")
    answer = {}
    if own is not None:
        answer = {"image": str(config.image), "probability_of_a_cat": float(predict(own[None])[0])}
        print(f"{config.image}: a cat with probability {answer['probability_of_a_cat']:.3f}")
    with figures.style():
        figure = Figure(figsize=(13, 5.4), layout="constrained")
        parts = figure.add_gridspec(1, 3, width_ratios=(1.1, 1, 1))
        first = figure.add_subfigure(parts[0]).subplots(1 if own is None else 2, squeeze=False)[:, 0]
        first[0].plot(np.arange(1, iterations + 1), result.history["cost"], color=figures.BLUE)
        first[0].set(title=config.network, xlabel="iteration", ylabel="cost, cross-entropy per image", yscale="log")
        if own is not None:
            first[1].imshow(own)
            first[1].set_title(f"yours: {captions(cats.classes, predict(own[None]))[0]}", loc="center")
            first[1].set_axis_off()
        for place, chosen, name in ((parts[1], right, "correct"), (parts[2], ~right, "wrong")):
            order = np.flatnonzero(chosen)[np.argsort(-np.abs(probability[chosen] - 0.5))][:SHOWN]
            title = f"{int(chosen.sum())} of {len(right)} {name}, most confident first"
            grid = figures.add_title(figure.add_subfigure(place), title)
            figures.image_grid(grid, cats.test_x[order], captions(cats.classes, probability[order]), columns=3)
    common.save_results(folder, config, figure, results=values, **answer)
