"""What both sides of the speedrun share, without JAX or PyTorch: recipes, the schedule, the data, what is reported.

Both start loading the data in a thread before they import their library: reading and verifying it takes its own core.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from experiments.data.mnist import Mnist, find_mnist
from experiments.errors import ExperimentError, usage

STARTED = time.perf_counter()

EXAMPLES = 60000  # of MNIST, to train on
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels


@dataclass(frozen=True)
class Recipe:
    """Nesterov's momentum on mini-batches; the step length climbs to its peak, then falls to 0, both in a line."""

    filters: tuple[int, ...] = ()
    """Filters of each convolution (5x5, then ReLU and 2x2 max pooling)."""
    sizes: tuple[int, ...] = (256, 10)
    """Units of each dense layer, with ReLU between them."""
    batch_size: int = 120
    """Examples in a step; what divides 60,000 leaves no remainder, whose step would be compiled too."""
    epochs: int = 3
    """Passes over the training data: the schedule's end."""
    peak: float = 0.1
    """Largest step length α."""
    warm_up: float = 0.2
    """Share of the steps until the peak."""
    beta: float = 0.9
    """Momentum β."""


class Arrays(NamedTuple):
    """Standardised images, (n, 784) or (n, 28, 28), and digits."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


RECIPES = {
    "mlp": Recipe(),
    "convnet": Recipe(filters=(16, 32), sizes=(10,), batch_size=80, epochs=3, peak=0.05),
}

Loaded = Callable[[], Arrays]
"""The data, waited for."""

Report = Callable[[int, float], None]
"""Told the number of each epoch, from 1, and the test accuracy after it."""


def check(flag: str, recipe: Recipe) -> None:
    """UsageError, naming the flag, for a value that cannot be meant."""
    if not recipe.sizes or recipe.sizes[-1] != 10 or min((*recipe.filters, *recipe.sizes)) < 1:
        raise usage(f"{flag}.sizes", "of positive numbers, the last of them 10", recipe.sizes)
    if len(recipe.filters) > 2:
        raise usage(f"{flag}.filters", "of at most two convolutions: images are 28x28", recipe.filters)
    for name, value in (("batch-size", recipe.batch_size), ("epochs", recipe.epochs)):
        if value < 1:
            raise usage(f"{flag}.{name}", "at least 1", value)
    if not (math.isfinite(recipe.peak) and recipe.peak > 0):
        raise usage(f"{flag}.peak", "finite and above 0", recipe.peak)
    for name, value in (("warm-up", recipe.warm_up), ("beta", recipe.beta)):
        if not 0 <= value < 1:
            raise usage(f"{flag}.{name}", "at least 0 and below 1", value)


def dense_inputs(recipe: Recipe) -> int:
    """Features that reach the dense layers.

    >>> dense_inputs(Recipe()), dense_inputs(Recipe(filters=(16, 32)))
    (784, 512)
    """
    side = 28
    for _ in recipe.filters:
        side = (side - 4) // 2
    return side * side * (recipe.filters[-1] if recipe.filters else 1)


def total_steps(recipe: Recipe, examples: int) -> int:
    """Of the whole training; the remainder of an epoch is a step."""
    return recipe.epochs * -(-examples // recipe.batch_size)


def learning_rate(recipe: Recipe, total: int, step, smaller=min):
    """α of a step, counted from 0: in a line from 0 to the peak and back to 0; `smaller`: jnp.minimum under jit.

    >>> [round(learning_rate(Recipe(peak=1.0, warm_up=0.5), 4, t), 3) for t in range(4)]
    [0.25, 0.75, 0.75, 0.25]
    """
    share = (step + 0.5) / total
    falling = (1 - share) / (1 - recipe.warm_up)
    return recipe.peak * (smaller(share / recipe.warm_up, falling) if recipe.warm_up else falling)


def arrays(recipe: Recipe, mnist: Mnist) -> Arrays:
    """The data of a side: images as rows, or as squares where there are convolutions."""

    def standardised(x: np.ndarray) -> np.ndarray:
        x = x - np.float32(MEAN)
        x *= np.float32(1 / STD)  # in place: fresh memory takes longer than the arithmetic
        return x.reshape(-1, 28, 28) if recipe.filters else x

    return Arrays(standardised(mnist.train_x), mnist.train_y, standardised(mnist.test_x), mnist.test_y)


def _load(recipe: Recipe) -> Arrays:
    mnist = find_mnist()
    if mnist is None:
        raise ExperimentError("MNIST is not there: put its four files into a folder, FNN_DATA=folder")
    return arrays(recipe, mnist)


def start_loading(recipe: Recipe) -> "Future[Arrays]":
    """The data, being loaded in a thread; `result()` waits for them."""
    return ThreadPoolExecutor(1).submit(_load, recipe)


def arguments(program: str, given: list[str]) -> tuple[Recipe, int]:
    """-> (recipe, seed) of the flags."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--network", choices=RECIPES, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", type=json.loads, default={}, help="JSON: its fields that differ")
    flags = parser.parse_args(given)
    fields = asdict(RECIPES[flags.network]) | flags.recipe
    lists = {name: tuple(fields[name]) for name in ("filters", "sizes")}
    return Recipe(**fields | lists), flags.seed


def print_json(**values: object) -> None:
    """A line of JSON with the seconds since this module was imported."""
    print(json.dumps({"seconds": time.perf_counter() - STARTED, **values}), flush=True)


def report(epoch: int, accuracy: float) -> None:
    """The line of an epoch."""
    print_json(epoch=epoch, accuracy=accuracy)


def run(train: Callable[[Recipe, Loaded, int, Report], object], recipe: Recipe, seed: int, data: "Future[Arrays]"):
    """What a side does once its library is imported: says so, trains; `train` says when it needs the data."""
    print_json(imported=True)

    def loaded() -> Arrays:
        arrays = data.result()
        print_json(loaded=True)
        return arrays

    train(recipe, loaded, seed, report)
