"""The speedrun with fnn: train a recipe from a cold start and report every epoch.

    python -m experiments.benchmarks.speedrun_fnn --network mlp --seed 0

Reports are lines of JSON. No compilation cache of JAX is used.
"""

import os
import sys

from experiments.benchmarks import speedrun_recipes
from experiments.benchmarks.speedrun_recipes import Loaded, Recipe, Report

if __name__ == "__main__":  # before JAX is imported: turn its cache off, and load the data in the meantime
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    RECIPE, SEED = speedrun_recipes.arguments("experiments.benchmarks.speedrun_fnn", sys.argv[1:])
    LOADING = speedrun_recipes.start_loading(RECIPE)

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.types import Params


def make_network(recipe: Recipe) -> fnn.Layer:
    """Return the network, with He's initialisation, zero biases and logits as outputs."""
    if recipe.filters:
        return fnn.convnet((28, 28, 1), recipe.filters, 5, recipe.sizes)
    return fnn.mlp((speedrun_recipes.dense_inputs(recipe), *recipe.sizes))


def images(recipe: Recipe, x: np.ndarray) -> jax.Array:
    """Return the images on the device, with a channel axis if there are convolutions."""
    return jnp.asarray(x[..., None] if recipe.filters else x)


def train(
    recipe: Recipe,
    loaded: Loaded,
    seed: int,
    report: Report,
    params: Params = None,
    examples: int = speedrun_recipes.EXAMPLES,
) -> Params:
    """Train from `params` or from random ones, report every epoch, and return the trained parameters.

    The initialisation, which takes half a second to compile, runs while the data are being loaded.
    """
    network, total = make_network(recipe), speedrun_recipes.total_steps(recipe, examples)

    def schedule(step: jax.Array) -> jax.Array:
        return speedrun_recipes.learning_rate(recipe, total, step.astype(jnp.float32), jnp.minimum)

    optimizer = fnn.nesterov(schedule, recipe.beta)
    epoch = fnn.make_epoch(fnn.make_step(network, fnn.softmax_cross_entropy, optimizer), recipe.batch_size)
    state = fnn.init_state(network, optimizer, jax.random.key(seed))
    state = state if params is None else state._replace(params=params)
    data = loaded()
    train_data = images(recipe, data.x), jnp.asarray(data.y)
    test_x = images(recipe, data.test_x)
    for number in range(1, recipe.epochs + 1):
        state, _ = epoch(state, train_data)
        logits = np.asarray(fnn.predict(network, state.params, test_x, batch_size=1000))
        report(number, float(np.mean(logits.argmax(axis=1) == data.test_y)))
    return state.params


def main() -> None:
    """Train the recipe given by the flags."""
    speedrun_recipes.run(train, RECIPE, SEED, LOADING)


if __name__ == "__main__":
    main()
