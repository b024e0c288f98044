"""fnn's side of the speedrun: trains a recipe from a cold start, with a line of JSON after each epoch.

    python -m experiments.benchmarks.speedrun_fnn --network mlp --seed 0

Nothing that was compiled before is used: JAX's compilation cache is off.
"""

import os
import sys

from experiments.benchmarks import speedrun_recipes
from experiments.benchmarks.speedrun_recipes import Loaded, Recipe, Report

if __name__ == "__main__":  # before JAX is imported: the data load beside it, and no cache of compiled programs
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    RECIPE, SEED = speedrun_recipes.arguments("experiments.benchmarks.speedrun_fnn", sys.argv[1:])
    LOADING = speedrun_recipes.start_loading(RECIPE)

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.types import Params


def make_network(recipe: Recipe) -> fnn.Layer:
    """He's initialisation, zero biases; ends in logits."""
    if recipe.filters:
        return fnn.convnet((28, 28, 1), recipe.filters, 5, recipe.sizes)
    return fnn.mlp((speedrun_recipes.dense_inputs(recipe), *recipe.sizes))


def images(recipe: Recipe, x: np.ndarray) -> jax.Array:
    """On the device, with a channel if there are convolutions."""
    return jnp.asarray(x[..., None] if recipe.filters else x)


def train(
    recipe: Recipe,
    loaded: Loaded,
    seed: int,
    report: Report,
    params: Params = None,
    examples: int = speedrun_recipes.EXAMPLES,
) -> Params:
    """Reports after each epoch; starts at `params` if they are given. -> the trained parameters.

    The first are drawn, by a program that takes half a second to compile, while the data are still being loaded.
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
    """Trains the recipe of the flags."""
    speedrun_recipes.run(train, RECIPE, SEED, LOADING)


if __name__ == "__main__":
    main()
