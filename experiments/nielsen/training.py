"""Trains the networks of a row of `nielsen`: an epoch of all seeds is one program, and is saved, to go on from."""

import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import special

import fnn
from experiments.data.mnist import Mnist
from experiments.errors import ExperimentError
from experiments.nielsen.rows import CHOSEN, TEST, VALIDATION, Row, rate_at
from fnn.types import GradientTransformation, Params, PRNGKey, TrainState


class Parts(NamedTuple):
    """Images as rows of 784 pixels, and their digits."""

    x: Float[Array, "train 784"]
    y: Int[Array, " train"]
    validation_x: Float[Array, "validation 784"]
    validation_y: Int[Array, " validation"]
    test_x: Float[Array, "test 784"]
    test_y: Int[Array, " test"]


class Progress(NamedTuple):
    """How far the training of a row is; what is not reached yet is 0.

    states                the states of all seeds, leaves (seeds, …)
    cost                  the mean over each epoch, with the penalty
    validation, test      images that are read right after each epoch
    epoch, seconds        epochs that are done; what they took, compilation included
    """

    states: TrainState
    cost: Float[Array, "epochs seeds"]
    validation: Int[Array, "epochs seeds"]
    test: Int[Array, "epochs seeds"]
    epoch: Int[Array, ""]
    seconds: Float[Array, ""]


Report = Callable[[Row, Progress], None]
"""Told of each epoch, after it was saved."""


def split(mnist: Mnist) -> Parts:
    """The last sixth of the training images, 10,000 of MNIST's 60,000, for validation, the others for training."""
    n = len(mnist.train_y) - len(mnist.train_y) // 6
    held_out = mnist.train_x[n:], mnist.train_y[n:]
    arrays = (mnist.train_x[:n], mnist.train_y[:n], *held_out, mnist.test_x, mnist.test_y)
    return Parts(*(jnp.asarray(array) for array in arrays))


class Programs(NamedTuple):
    """A row's compiled programs.

    start     keys (seeds,) -> states
    epoch     states, x, y -> states, mean costs (seeds,)
    outputs   states, x, images -> the outputs for images (seeds, n, 10); x: the training images, for batch_norm
    """

    start: Callable[[PRNGKey], TrainState]
    epoch: Callable[[TrainState, Array, Array], tuple[TrainState, Array]]
    outputs: Callable[[TrainState, Array, Array], Array]


@functools.cache
def programs(row: Row, examples: int) -> Programs:
    """The programs for so many training images, made once: seeds by vmap or one after another, as the row says."""
    recipe, network = row.ours, row.network
    total = recipe.epochs * -(-examples // recipe.batch_size)
    optimizer: GradientTransformation = row.optimizer(functools.partial(rate_at, recipe, total))
    one_epoch = fnn.make_epoch(fnn.make_step(network, row.loss, optimizer, recipe.penalty), recipe.batch_size)

    def over(function: Callable[..., Any], states: TrainState) -> Any:
        return jax.vmap(function)(states) if row.together else jax.lax.map(function, states)

    def start(keys: PRNGKey) -> TrainState:
        states = [fnn.init_state(network, optimizer, key) for key in keys]  # vmap's program would take long to compile
        return jax.jit(lambda states: jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))(states)

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(states: TrainState, x: Array, y: Array) -> tuple[TrainState, Array]:
        states, costs = over(lambda state: one_epoch(state, (x, y)), states)
        return states, jnp.mean(costs, axis=1)

    @jax.jit
    def outputs(states: TrainState, x: Array, images: Array) -> Array:
        def of(state: TrainState) -> Array:
            params: Params = fnn.calibrate(network, state.params, x[: row.calibrated])
            return fnn.predict(network, params, images, batch_size=1000)

        return over(of, states)

    return Programs(start, epoch, outputs)


def inputs(row: Row, x: Array) -> Array:
    """As rows, or as images of a channel where there are convolutions."""
    images = any(layer.name.startswith("conv2d") for layer in row.network.layers)
    return x.reshape(-1, 28, 28, 1) if images else x


def train(
    row: Row, parts: Parts, seeds: int, folder: Path, report: Report
) -> tuple[Progress, Float[np.ndarray, "..."]]:
    """Trains to the end, going on from what the folder holds -> (progress, outputs (seeds, validation + test, 10)).

    Interrupted anywhere and called again, it computes what it would have. ExperimentError if a cost is not finite.
    """
    x, held_out = inputs(row, parts.x), inputs(row, jnp.concatenate([parts.validation_x, parts.test_x]))
    y = parts.y if row.loss is fnn.softmax_cross_entropy else fnn.data.one_hot(parts.y, 10)
    labels = np.concatenate([parts.validation_y, parts.test_y])
    n, epochs = len(parts.validation_y), row.ours.epochs
    start, epoch, outputs = programs(row, len(parts.y))
    counts = jnp.zeros((epochs, seeds), jnp.int32)
    states = start(jax.random.split(jax.random.key(0), seeds))
    costs, zero = jnp.zeros((epochs, seeds), jnp.float32), jnp.zeros((), jnp.int32)
    progress = Progress(states, costs, counts, counts, zero, jnp.zeros((), jnp.float32))
    if fnn.checkpoint.latest(folder) is not None:
        progress = fnn.checkpoint.restore(folder, progress)
    while (done := int(progress.epoch)) < epochs:
        began = time.perf_counter()
        states, cost = epoch(progress.states, x, y)
        if not np.isfinite(cost).all():
            raise ExperimentError(f"{row.name}: the cost is not finite in epoch {done + 1}")
        right = np.asarray(outputs(states, x, held_out)).argmax(axis=2) == labels[None]
        progress = Progress(
            states,
            progress.cost.at[done].set(cost),
            progress.validation.at[done].set(jnp.asarray(right[:, :n].sum(axis=1, dtype=np.int32))),
            progress.test.at[done].set(jnp.asarray(right[:, n:].sum(axis=1, dtype=np.int32))),
            progress.epoch + 1,
            progress.seconds + jnp.float32(time.perf_counter() - began),
        )
        fnn.checkpoint.save(folder, progress, step=0)  # in place of the one before
        report(row, progress)
    return progress, np.asarray(outputs(progress.states, x, held_out))


def shares(counts: Int[Array, "epochs seeds"], examples: int) -> list[list[float]]:
    """Per cent, a list per seed."""
    return [[round(100 * right / examples, 4) for right in column] for column in np.asarray(counts).T.tolist()]


def measured(measure: str, validation: list[list[float]], test: list[list[float]]) -> list[float]:
    """Of each seed what the published accuracy is of; the first of several best epochs counts.

    >>> measured(CHOSEN, [[98.0, 99.0, 99.0]], [[97.0, 97.5, 98.5]]), measured(TEST, [[98.0]], [[97.0]])
    ([97.5], [97.0])
    """
    of = {
        TEST: lambda held_out, tested: max(tested),
        VALIDATION: lambda held_out, tested: max(held_out),
        CHOSEN: lambda held_out, tested: tested[held_out.index(max(held_out))],
    }
    return [of.get(measure, of[CHOSEN])(*pair) for pair in zip(validation, test, strict=True)]


def committee(outputs: Float[np.ndarray, "seeds n 10"], y: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Per cent that all networks together read right: by vote (of digits level, the smallest), by mean probability.

    >>> outputs = np.log(np.array([[[0.6, 0.4]], [[0.6, 0.4]], [[0.05, 0.95]]]))
    >>> committee(outputs, np.array([0])), committee(outputs, np.array([1]))
    ({'vote': 100.0, 'average': 0.0}, {'vote': 0.0, 'average': 100.0})
    """
    votes = (outputs.argmax(axis=2)[..., None] == np.arange(outputs.shape[2])[None, None]).sum(axis=0)
    probabilities = special.softmax(outputs, axis=2).mean(axis=0)
    each = {"vote": votes, "average": probabilities}
    return {name: round(100 * float((score.argmax(axis=1) == y).mean()), 4) for name, score in each.items()}


def forget(folder: Path) -> None:
    """Removes the checkpoint of a row that is done, or is to be done afresh."""
    shutil.rmtree(folder, ignore_errors=True)
