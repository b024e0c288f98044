"""Large networks need large data: alike on 50 images, the largest wins on 10,000.

    python -m experiments scale_of_data

Claims C251 to C254, on the progress of deep learning. Logistic regression (softmax, 784-10) and ReLU networks 784-16-10
and 784-256-10 are trained on the first n images of a random order of MNIST's training set, n from 50 to 10,000. Each
takes the same number of steps W := W - α dW, α = 0.3, on batches of 50 drawn from the n images, and is tested on all
10,000 test images. A draw is an order of the images and initial weights.

As the notes say, with little data no model is consistently best, and with much data the large network is. The claim
needs a qualification: traditional learners do not fail on large data sets; their accuracy levels off. From 1,000 images
to 10,000 logistic regression
still gains a few hundredths, less than the network of 256 units, and stays below it.

Expected results: at 50 images about 0.6 to 0.7 for all; the means over the draws of logistic regression and of 256
units are within 0.01. At 10,000 images about 0.91 and 0.96; in each draw the largest network is ahead by 0.04 or more.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.mnist import load_mnist
from experiments.errors import usage
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, PRNGKey, TrainState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW, MANY = 50, 10000
NETWORKS = {
    "logistic regression": fnn.softmax_regression(784, 10),
    "16 hidden units": fnn.mlp((784, 16, 10)),
    "256 hidden units": fnn.mlp((784, 256, 10)),
}


@dataclass(frozen=True)
class Config:
    draws: int = 6
    """Number of draws. With fewer than 6, the means at 50 images differ by chance."""
    between: tuple[int, ...] = (200, 1000)
    """Numbers of training images besides 50 and 10,000."""
    steps: int = 2000
    """Steps of gradient descent for every n."""
    batch_size: int = 50
    """Images per step."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


@functools.partial(jax.jit, static_argnums=(0, 1))
def accuracies(network: Layer, config: Config, train, test, sizes: jax.Array, keys: PRNGKey) -> jax.Array:
    """Test accuracy of a training for each pair of n and key."""
    x, y = train
    optimizer = fnn.sgd(0.3)
    step = fnn.make_step(network, fnn.softmax_cross_entropy, optimizer)

    def one(run: tuple[jax.Array, PRNGKey]) -> jax.Array:
        n, key = run
        order = jax.random.permutation(jax.random.fold_in(key, 1), x.shape[0])[:MANY]

        def next_step(state: TrainState, key: PRNGKey) -> tuple[TrainState, None]:
            batch = order[jax.random.randint(key, (config.batch_size,), 0, n)]
            return step(state, (x[batch], y[batch]))[0], None

        keys = jax.random.split(jax.random.fold_in(key, 2), config.steps)
        state, _ = jax.lax.scan(next_step, fnn.init_state(network, optimizer, key), keys)
        return jnp.mean(fnn.accuracy(fnn.predict(network, state.params, test[0]), test[1]))

    return jax.lax.map(one, (sizes, keys))


def panel(axes: "Axes", sizes: list[int], accuracy: dict[str, np.ndarray]) -> None:
    """Plot the test accuracy over n: each draw and the mean."""
    styles = (("^:", figures.GREY), ("s--", figures.ORANGE), ("o-", figures.BLUE))
    for (name, values), (style, colour) in zip(accuracy.items(), styles, strict=True):
        axes.plot(sizes, values.mean(axis=1), style, color=colour, label=name)
        axes.plot(np.repeat(sizes, values.shape[1]), values.ravel(), ".", color=colour, ms=4, alpha=0.6)
    axes.set(xscale="log", xlabel="training images", ylabel="test accuracy")
    axes.set_xticks(sizes, labels=[f"{n:,}" for n in sizes])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_title("Accuracy")
    axes.legend(loc="lower right")


def gap_panel(axes: "Axes", sizes: list[int], gaps: dict[str, np.ndarray]) -> None:
    """Plot the lead of the networks over logistic regression, in each draw."""
    axes.axhline(0, color=figures.GREY, lw=1.2, ls=":")
    for (name, values), style, colour in zip(gaps.items(), ("s--", "o-"), (figures.ORANGE, figures.BLUE), strict=True):
        axes.plot(sizes, values.mean(axis=1), style, color=colour, label=name)
        axes.plot(np.repeat(sizes, values.shape[1]), values.ravel(), ".", color=colour, ms=4, alpha=0.6)
    axes.set(xscale="log", xlabel="training images", ylabel="accuracy - logistic regression's")
    axes.set_xticks(sizes, labels=[f"{n:,}" for n in sizes])
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_title("Lead over logistic regression")


def run(config: Config) -> Outcome:
    """Train each network on each number of images in each draw."""
    from matplotlib.figure import Figure

    if any(n > MANY for n in config.between):
        raise usage("--between", f"at most {MANY}", max(config.between))
    data = load_mnist()
    train, test = (data.train_x, data.train_y), (data.test_x, data.test_y)
    sizes = sorted({FEW, *config.between, MANY})
    keys = jnp.tile(jax.random.split(jax.random.key(0), config.draws), len(sizes))
    ns = jnp.repeat(jnp.array(sizes), config.draws)
    accuracy = {
        name: np.asarray(accuracies(network, config, train, test, ns, keys)).reshape(len(sizes), -1)
        for name, network in NETWORKS.items()
    }
    base, *larger = accuracy
    gaps = {name: accuracy[name] - accuracy[base] for name in larger}
    largest = gaps[larger[-1]]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    panel(left, sizes, accuracy)
    gap_panel(right, sizes, gaps)
    text = "256 hidden units - logistic regression"
    criteria = [
        Criterion(f"10,000 images, test accuracy: {text}, every draw", largest[-1].tolist(), least=0.03),
        Criterion(f"50 images, test accuracy: {text}, mean of the draws", [float(largest[0].mean())], -0.015, 0.015),
        Criterion(f"{base}: test accuracy, 10,000 images - 50", (accuracy[base][-1] - accuracy[base][0]).tolist(), 0.1),
    ]
    numbers = {
        f"{n:,} images, {name}": values[i].tolist() for i, n in enumerate(sizes) for name, values in accuracy.items()
    }
    numbers[f"50 images: {text}"] = largest[0].tolist()
    return Outcome(criteria, figure, numbers)


STUDY = Study("X25", ("C251", "C252", "C253", "C254"), run, quick=Config(between=(), steps=1500), needs=("mnist",))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
