"""The trainings of a search: all runs as one program of `make_run` and `sweep`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fnn.optimizers import adam
from fnn.search.folds import held_out_rows
from fnn.search.network import initial_params, skip_network
from fnn.search.plan import Plan
from fnn.search.records import Task
from fnn.sweeps.run import make_run
from fnn.sweeps.sweep import sweep
from fnn.types import GradientTransformation, Loss


class Runs(NamedTuple):
    """What the runs of a program differ in: arrays with a row for each run.

    Attributes:
      params: initial parameters.
      l2: λ.
      dropout: the rate of dropout.
      weight: weights of the rows; 0 for those of the fold that is held out.
      held_out: the rows at which the run is evaluated, padded with -1.
      stop: the number of steps.
    """

    params: Any
    l2: Float[np.ndarray, " runs"]
    dropout: Float[np.ndarray, " runs"]
    weight: Float[np.ndarray, "runs n"]
    held_out: Int[np.ndarray, "runs most"]
    stop: Int[np.ndarray, " runs"]


class Slot(NamedTuple):
    """What one run of a program trains.

    Attributes:
      candidate: the index of the candidate.
      fold: the fold that is held out; -1 to train on all rows.
      stop: the number of steps.
      seed: seed of the initial weights.
    """

    candidate: int
    fold: int
    stop: int
    seed: int


class Trained(NamedTuple):
    """The final parameters of all runs, and their outputs for the held-out rows at each report."""

    params: Any
    outputs: Float[np.ndarray, "runs reports most k"]


Train = Callable[[list[Slot]], Trained]


def first_bias(task: Task) -> Float[np.ndarray, " k"]:
    """Return the outputs of a network that does not look at x: logarithms of the shares of the classes, or log-odds."""
    if task.output == "identity":
        return np.zeros(task.k)
    total = task.weight.sum() + 1
    if task.output == "softmax":
        return np.log((np.bincount(task.y, task.weight, task.k) + 1 / task.k) / total)
    share = (task.weight @ task.y + 0.5) / total
    return np.log(share / (1 - share))


class Program(NamedTuple):
    """What a compiled program of trainings depends on besides the shapes of its hyperparameters.

    Attributes:
      sizes: d, the width of the widest network, and k.
      loss: the loss.
      target: shape and dtype of y.
      batch_size: examples per step.
      report_at: the steps of the reports.
      learning_rate: the rate of Adam at the start.
      decays: whether it falls.
    """

    sizes: tuple[int, int, int]
    loss: Loss
    target: tuple[tuple[int, ...], str]
    batch_size: int
    report_at: tuple[int, ...]
    learning_rate: float
    decays: bool


@functools.lru_cache(maxsize=8)
def _run_structure(program: Program) -> Any:
    """Return the structure of a run of `make_run`, without its data.

    Runs of one structure share their compiled program, so that a second search on a table of the same shape, as in a
    cross-validation, compiles nothing.
    """
    last = program.report_at[-1]

    def optimizer(runs: Runs) -> GradientTransformation:
        """Adam; its rate is 0 after the last step of the run. This compiles faster than `stop` (jax 0.10, CPU)."""

        def rate(step: Array) -> Array:
            done = step.astype(jnp.float32) / last
            rate = program.learning_rate * (jnp.maximum(0.05, 1 - 0.95 * done) if program.decays else 1.0)
            return jnp.where(step < runs.stop, rate, 0.0)

        return adam(rate)

    shape, dtype = program.target
    run = make_run(
        lambda runs: skip_network(*program.sizes, runs.dropout),
        program.loss,
        optimizer,
        (np.zeros((shape[0], program.sizes[0]), np.float32), np.zeros(shape, dtype), np.ones(shape[0], np.float32)),
        steps=last,
        batch_size=program.batch_size,
        l2=lambda runs: runs.l2,
        init=lambda runs: runs.params,
        metrics={},
        weight=lambda runs: runs.weight,
        report_at=program.report_at,
        held_out=lambda runs: runs.held_out,
        outputs=lambda prediction: prediction,
    )
    return jax.tree.structure(run)


def make_training(task: Task, plan: Plan, folds: Int[np.ndarray, " n"], seed: int) -> Train:
    """Return a function that trains a list of `plan.runs` slots; each list runs the same compiled program.

    All runs share the batches and the random numbers of dropout, which are drawn once for all of them in each step.
    """
    sizes = task.x.shape[1], plan.width, task.k
    held_out = held_out_rows(folds, plan.trained_folds)[:, : plan.most_held_out]
    bias, target = first_bias(task), (task.y.shape, task.y.dtype.name)
    program = Program(sizes, task.loss, target, plan.batch_size, plan.report_at, plan.learning_rate, plan.decays)
    run = jax.tree.unflatten(_run_structure(program), [jnp.asarray(leaf) for leaf in (task.x, task.y, task.weight)])
    key = jax.random.key(seed)

    def train(slots: list[Slot]) -> Trained:
        candidates = [plan.candidates[slot.candidate] for slot in slots]
        fold = np.array([slot.fold for slot in slots])
        words = np.array([(seed, slot.seed) for slot in slots])
        runs = Runs(
            initial_params(sizes, np.array([c.width for c in candidates]), words, bias),
            np.array([c.l2 for c in candidates], np.float32),
            np.array([c.dropout for c in candidates], np.float32),
            ((folds != fold[:, None]) | (fold[:, None] < 0)).astype(np.float32),
            held_out[np.maximum(fold, 0)],
            np.array([slot.stop for slot in slots], np.int32),
        )
        results = sweep(run, runs, key)
        first = lambda leaf: np.asarray(leaf)[:, 0]  # of the one key
        return Trained(jax.tree.map(first, results.params), first(results.outputs))

    return train
