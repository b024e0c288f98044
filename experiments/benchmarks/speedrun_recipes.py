"""Recipes, schedule, data and reports that both libraries of the speedrun share.

This module imports neither JAX nor PyTorch. Each process starts loading the data in a thread before it imports its
library, because reading and verifying the data keeps one core busy.
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
from experiments.wording import GET_DATA

STARTED = time.perf_counter()

EXAMPLES = 60000  # training images of MNIST
MEAN, STD = 0.1307, 0.3081  # statistics of MNIST's training pixels


@dataclass(frozen=True)
class Recipe:
    """Nesterov's momentum on mini-batches.

    The learning rate rises linearly to its peak and falls linearly to 0.
    """

    filters: tuple[int, ...] = ()
    """Filters of each convolution (5x5, followed by ReLU and 2x2 max pooling)."""
    sizes: tuple[int, ...] = (256, 10)
    """Units of each dense layer, with ReLU between them."""
    batch_size: int = 120
    """Examples per step. A divisor of 60,000 avoids compiling a second step for the remainder."""
    epochs: int = 3
    """Passes over the training data, at the end of which the learning rate is 0."""
    peak: float = 0.1
    """Largest learning rate α."""
    warm_up: float = 0.2
    """Share of the steps before the peak."""
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
"""Waits for the data and returns them."""

Report = Callable[[int, float], None]
"""Called with the number of each epoch, from 1, and the test accuracy after it."""


def check(flag: str, recipe: Recipe) -> None:
    """Raise UsageError, naming the flag, if the recipe has an invalid value."""
    if min(recipe.filters, default=1) < 1:
        raise usage(f"{flag}.filters", "positive numbers", recipe.filters)
    if not recipe.sizes or recipe.sizes[-1] != 10 or min(recipe.sizes) < 1:
        raise usage(f"{flag}.sizes", "positive numbers, the last one 10", recipe.sizes)
    if len(recipe.filters) > 2:
        raise usage(f"{flag}.filters", "at most two numbers, because images are 28x28", recipe.filters)
    for name, value in (("batch-size", recipe.batch_size), ("epochs", recipe.epochs)):
        if value < 1:
            raise usage(f"{flag}.{name}", "at least 1", value)
    if not (math.isfinite(recipe.peak) and recipe.peak > 0):
        raise usage(f"{flag}.peak", "finite and above 0", recipe.peak)
    for name, value in (("warm-up", recipe.warm_up), ("beta", recipe.beta)):
        if not 0 <= value < 1:
            raise usage(f"{flag}.{name}", "at least 0 and below 1", value)


def dense_inputs(recipe: Recipe) -> int:
    """Return the number of inputs of the first dense layer.

    >>> dense_inputs(Recipe()), dense_inputs(Recipe(filters=(16, 32)))
    (784, 512)
    """
    side = 28
    for _ in recipe.filters:
        side = (side - 4) // 2
    return side * side * (recipe.filters[-1] if recipe.filters else 1)


def total_steps(recipe: Recipe, examples: int) -> int:
    """Return the number of steps of the whole training.

    The remainder of an epoch counts as a step.
    """
    return recipe.epochs * -(-examples // recipe.batch_size)


def learning_rate(recipe: Recipe, total: int, step, smaller=min):
    """Return α of a step, counted from 0: linear from 0 to the peak and back to 0.

    `smaller` is the function that takes the minimum: use jnp.minimum under jit.

    >>> [round(learning_rate(Recipe(peak=1.0, warm_up=0.5), 4, t), 3) for t in range(4)]
    [0.25, 0.75, 0.75, 0.25]
    """
    share = (step + 0.5) / total
    falling = (1 - share) / (1 - recipe.warm_up)
    return recipe.peak * (smaller(share / recipe.warm_up, falling) if recipe.warm_up else falling)


def arrays(recipe: Recipe, mnist: Mnist) -> Arrays:
    """Return the standardised data: images as rows, or as squares if there are convolutions."""

    def standardised(x: np.ndarray) -> np.ndarray:
        x = x - np.float32(MEAN)
        x *= np.float32(1 / STD)  # in place, because fresh memory takes longer than the arithmetic
        return x.reshape(-1, 28, 28) if recipe.filters else x

    return Arrays(standardised(mnist.train_x), mnist.train_y, standardised(mnist.test_x), mnist.test_y)


def _load(recipe: Recipe) -> Arrays:
    mnist = find_mnist()
    if mnist is None:
        raise ExperimentError(f"MNIST was not found: {GET_DATA}")
    return arrays(recipe, mnist)


def start_loading(recipe: Recipe) -> "Future[Arrays]":
    """Load the data in a thread. `result()` waits for them."""
    return ThreadPoolExecutor(1).submit(_load, recipe)


def arguments(program: str, given: list[str]) -> tuple[Recipe, int]:
    """Return (recipe, seed) from the flags."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--network", choices=RECIPES, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--recipe", type=json.loads, default={}, help="JSON with the fields that differ from the default"
    )
    flags = parser.parse_args(given)
    fields = asdict(RECIPES[flags.network]) | flags.recipe
    lists = {name: tuple(fields[name]) for name in ("filters", "sizes")}
    return Recipe(**fields | lists), flags.seed


def print_json(**values: object) -> None:
    """Print a line of JSON, with the seconds since this module was imported."""
    print(json.dumps({"seconds": time.perf_counter() - STARTED, **values}), flush=True)


def report(epoch: int, accuracy: float) -> None:
    """Print the report of an epoch."""
    print_json(epoch=epoch, accuracy=accuracy)


def run(train: Callable[[Recipe, Loaded, int, Report], object], recipe: Recipe, seed: int, data: "Future[Arrays]"):
    """Report that the library is imported, and train.

    `train` calls its argument `loaded` to wait for the data.
    """
    print_json(imported=True)

    def loaded() -> Arrays:
        arrays = data.result()
        print_json(loaded=True)
        return arrays

    train(recipe, loaded, seed, report)
