"""Train the networks of a row of `nielsen`, with a checkpoint per epoch.

An epoch of all seeds is one program.
"""

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
    """Images as rows of 784 pixels, and their labels, in three parts."""

    x: Float[Array, "train 784"]
    y: Int[Array, " train"]
    validation_x: Float[Array, "validation 784"]
    validation_y: Int[Array, " validation"]
    test_x: Float[Array, "test 784"]
    test_y: Int[Array, " test"]


class Progress(NamedTuple):
    """Progress of the training of a row; entries of later epochs are 0.

    states                states of all seeds, leaves (seeds, …)
    cost                  mean cost of each epoch, with the penalty
    validation, test      number of correct images after each epoch
    epoch, seconds        finished epochs and their time, including compilation
    """

    states: TrainState
    cost: Float[Array, "epochs seeds"]
    validation: Int[Array, "epochs seeds"]
    test: Int[Array, "epochs seeds"]
    epoch: Int[Array, ""]
    seconds: Float[Array, ""]


Report = Callable[[Row, Progress], None]
"""Called after each epoch, once it is saved."""


def split(mnist: Mnist) -> Parts:
    """Hold out the last sixth of the training images for validation.

    These are 10,000 of MNIST's 60,000.
    """
    n = len(mnist.train_y) - len(mnist.train_y) // 6
    held_out = mnist.train_x[n:], mnist.train_y[n:]
    arrays = (mnist.train_x[:n], mnist.train_y[:n], *held_out, mnist.test_x, mnist.test_y)
    return Parts(*(jnp.asarray(array) for array in arrays))


class Programs(NamedTuple):
    """The compiled programs of a row.

    start     keys (seeds,) -> states
    epoch     states, x, y -> states, mean costs (seeds,)
    outputs   states, x, images -> outputs for the images (seeds, n, 10); the training images x calibrate batch_norm
    """

    start: Callable[[PRNGKey], TrainState]
    epoch: Callable[[TrainState, Array, Array], tuple[TrainState, Array]]
    outputs: Callable[[TrainState, Array, Array], Array]


@functools.cache
def programs(row: Row, examples: int) -> Programs:
    """Make the programs of a row for this number of training images; they are cached."""
    recipe, network = row.ours, row.network
    total = recipe.epochs * -(-examples // recipe.batch_size)
    optimizer: GradientTransformation = row.optimizer(functools.partial(rate_at, recipe, total))
    one_epoch = fnn.make_epoch(fnn.make_step(network, row.loss, optimizer, recipe.penalty), recipe.batch_size)

    def map_seeds(function: Callable[..., Any], states: TrainState) -> Any:
        return jax.vmap(function)(states) if row.vmapped else jax.lax.map(function, states)

    def start(keys: PRNGKey) -> TrainState:
        states = [fnn.init_state(network, optimizer, key) for key in keys]  # under vmap this would compile slowly
        return jax.jit(lambda states: jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))(states)

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(states: TrainState, x: Array, y: Array) -> tuple[TrainState, Array]:
        states, costs = map_seeds(lambda state: one_epoch(state, (x, y)), states)
        return states, jnp.mean(costs, axis=1)

    @jax.jit
    def outputs(states: TrainState, x: Array, images: Array) -> Array:
        def predict(state: TrainState) -> Array:
            params: Params = fnn.calibrate(network, state.params, x[: row.calibration_images])
            return fnn.predict(network, params, images, batch_size=1000)

        return map_seeds(predict, states)

    return Programs(start, epoch, outputs)


def inputs(row: Row, x: Array) -> Array:
    """Reshape to images if the network has convolutions, else keep rows of pixels."""
    params = jax.eval_shape(row.network.init, jax.random.key(0))
    return x.reshape(-1, 28, 28, 1) if any(isinstance(layer, fnn.Conv2d) for layer in params) else x


def train(
    row: Row, parts: Parts, seeds: int, folder: Path, report: Report
) -> tuple[Progress, Float[np.ndarray, "..."]]:
    """Train a row to the end, resuming from the checkpoint in `folder`, if any.

    The result of a resumed training equals that of an uninterrupted one.

    Returns:
      The progress, and the outputs for the validation and test images, (seeds, validation + test, 10).

    Raises:
      ExperimentError: if a cost is not finite.
    """
    x, held_out = inputs(row, parts.x), inputs(row, jnp.concatenate([parts.validation_x, parts.test_x]))
    y = parts.y if row.loss is fnn.softmax_cross_entropy else fnn.data.one_hot(parts.y, 10)
    labels = np.concatenate([parts.validation_y, parts.test_y])
    n, epochs = len(parts.validation_y), row.ours.epochs
    compiled = programs(row, len(parts.y))
    counts = jnp.zeros((epochs, seeds), jnp.int32)
    states = compiled.start(jax.random.split(jax.random.key(0), seeds))
    costs, zero = jnp.zeros((epochs, seeds), jnp.float32), jnp.zeros((), jnp.int32)
    progress = Progress(states, costs, counts, counts, zero, jnp.zeros((), jnp.float32))
    if fnn.checkpoint.latest(folder) is not None:
        progress = fnn.checkpoint.restore(folder, progress)
    while (done := int(progress.epoch)) < epochs:
        start = time.perf_counter()
        states, cost = compiled.epoch(progress.states, x, y)
        if not np.isfinite(cost).all():
            raise ExperimentError(f"{row.name}: the cost is not finite in epoch {done + 1}")
        correct = np.asarray(compiled.outputs(states, x, held_out)).argmax(axis=2) == labels[None]
        progress = Progress(
            states,
            progress.cost.at[done].set(cost),
            progress.validation.at[done].set(jnp.asarray(correct[:, :n].sum(axis=1, dtype=np.int32))),
            progress.test.at[done].set(jnp.asarray(correct[:, n:].sum(axis=1, dtype=np.int32))),
            progress.epoch + 1,
            progress.seconds + jnp.float32(time.perf_counter() - start),
        )
        fnn.checkpoint.save(folder, progress, step=0)  # replaces the previous one
        report(row, progress)
    return progress, np.asarray(compiled.outputs(progress.states, x, held_out))


def percentages(counts: Int[Array, "epochs seeds"], examples: int) -> list[list[float]]:
    """Convert counts to per cent, a list per seed."""
    return [[round(100 * count / examples, 4) for count in column] for column in np.asarray(counts).T.tolist()]


def published_measure(measure: str, validation: list[list[float]], test: list[list[float]]) -> list[float]:
    """Return the accuracy of each seed, measured as the published one.

    Of equally good epochs, the first counts.

    >>> published_measure(CHOSEN, [[98.0, 99.0, 99.0]], [[97.0, 97.5, 98.5]])
    [97.5]
    >>> published_measure(TEST, [[98.0]], [[97.0]])
    [97.0]
    """
    measures = {
        TEST: lambda held_out, tested: max(tested),
        VALIDATION: lambda held_out, tested: max(held_out),
        CHOSEN: lambda held_out, tested: tested[held_out.index(max(held_out))],
    }
    return [measures.get(measure, measures[CHOSEN])(*pair) for pair in zip(validation, test, strict=True)]


def committee(outputs: Float[np.ndarray, "seeds n 10"], y: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Return the accuracy of a committee in per cent.

    It is counted by vote and by mean probability. A tied vote goes to the smallest digit.

    >>> outputs = np.log(np.array([[[0.6, 0.4]], [[0.6, 0.4]], [[0.05, 0.95]]]))
    >>> committee(outputs, np.array([0])), committee(outputs, np.array([1]))
    ({'vote': 100.0, 'average': 0.0}, {'vote': 0.0, 'average': 100.0})
    """
    votes = (outputs.argmax(axis=2)[..., None] == np.arange(outputs.shape[2])[None, None]).sum(axis=0)
    probabilities = special.softmax(outputs, axis=2).mean(axis=0)
    each = {"vote": votes, "average": probabilities}
    return {name: round(100 * float((score.argmax(axis=1) == y).mean()), 4) for name, score in each.items()}


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoint of a row that is finished, or that starts afresh."""
    shutil.rmtree(folder, ignore_errors=True)
