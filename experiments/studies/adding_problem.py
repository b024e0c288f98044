"""Gated cells learn to add two numbers 150 positions apart; a tanh network does not.

    python -m experiments adding_problem

Claims C037 and C225, on recurrent networks and on gradients that vanish. In the adding problem (Hochreiter and
Schmidhuber 1997) each position has a random number from 0 to 1 and a mark, which is 1 at two positions, one in each
half of the sequence, and 0 elsewhere. The target is the sum of both marked numbers. A network that ignores its inputs
does best by guessing 1, with a mean squared error of 1/6 = 0.167. To do better it must carry the first number over as
many as 150 positions, and the gradient must return the same way (see `gradients_through_time`).

The networks are tanh, GRU and LSTM with 64 units, and a dense layer on the last state. They train with Adam at 3e-3,
gradients clipped to norm 1, in batches of 64 new sequences per step, so that the cost is that of sequences not seen
before. The error at the end is the mean of the last 50 steps.

Expected results: after 1,000 steps tanh is at 0.16 to 0.18 and the LSTM at 0.001 to 0.005. The GRU is at 0.001 to
0.003 after 600.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnn
from experiments import figures
from experiments.errors import at_least
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Batch, Layer, TrainState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS, BATCH, LAST = 64, 64, 50
OPTIMIZER: Any = fnn.adam(3e-3)
GUESS = 1 / 6  # the variance of the sum of two numbers, each uniform in [0, 1]
CELLS = {"tanh": fnn.rnn(2, UNITS), "GRU": fnn.gru(2, UNITS), "LSTM": fnn.lstm(2, UNITS)}
SHARE = {"tanh": 1.0, "GRU": 0.6, "LSTM": 1.0}  # of the steps: a GRU needs fewer


@dataclass(frozen=True)
class Config:
    seeds: int = 2
    """Number of initialisations, each with sequences of its own."""
    time: int = 150
    """Number of positions of a sequence."""
    steps: int = 1000
    """Number of steps (GRU: 0.6 times as many)."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def sequences(key: jax.Array, time: int) -> Batch:
    """A batch of numbers with marks, x (batch, time, 2), and the sums of the marked numbers, y (batch, 1)."""
    number_key, early_key, late_key = jax.random.split(key, 3)
    numbers = jax.random.uniform(number_key, (BATCH, time))
    early = jax.random.randint(early_key, (BATCH,), 0, time // 2)
    late = jax.random.randint(late_key, (BATCH,), time // 2, time)
    marks = jax.nn.one_hot(early, time) + jax.nn.one_hot(late, time)
    return jnp.stack([numbers, marks], axis=-1), jnp.sum(numbers * marks, axis=1, keepdims=True)


def train(cell: Layer, steps: int, time: int, seeds: int) -> np.ndarray:
    """The mean squared error of each step: (seeds, steps)."""
    network = fnn.serial(cell, fnn.last(), fnn.dense(UNITS, 1))
    optimizer: Any = optax.chain(optax.clip_by_global_norm(1.0), OPTIMIZER)
    step = fnn.make_step(network, fnn.squared_error, optimizer)

    def one(state: TrainState, key: jax.Array) -> tuple[TrainState, jax.Array]:
        state, cost = step(state, sequences(key, time))
        return state, 2 * cost  # `squared_error` is half of it

    run = jax.jit(lambda state, keys: jax.lax.scan(one, state, keys)[1])
    keys = [jax.random.key(seed) for seed in range(seeds)]
    states = [fnn.init_state(network, optimizer, key) for key in keys]
    return np.stack(
        [run(s, jax.random.split(jax.random.fold_in(k, 1), steps)) for s, k in zip(states, keys, strict=True)]
    )


def panel(axes: "Axes", errors: dict[str, np.ndarray], time: int) -> None:
    """Plot the error of each seed over the steps, averaged over 20 steps."""
    styles = ((figures.GREY, ":"), (figures.BLUE, "--"), (figures.ORANGE, "-"))
    for (name, values), (colour, dashes) in zip(errors.items(), styles, strict=True):
        steps = values.shape[1] // 20
        means = values[:, : 20 * steps].reshape(-1, steps, 20).mean(axis=2)
        labels = [name] + [None] * (len(means) - 1)
        axes.plot(20 * np.arange(1, steps + 1), means.T, color=colour, ls=dashes, lw=1.6, label=labels)
    axes.axhline(GUESS, color="black", lw=1, label="guessing 1")
    axes.set(title=f"Adding two numbers among {time}", xlabel="step", ylabel="mean squared error", yscale="log")
    axes.legend(loc="lower left")


def run(config: Config) -> Outcome:
    """Train each cell."""
    from matplotlib.figure import Figure

    at_least("--time", config.time, 2)
    at_least("--steps", config.steps, 34)  # a point of the figure is the mean of 20 steps
    errors = {}
    for name, cell in CELLS.items():
        steps = max(1, int(SHARE[name] * config.steps))
        errors[name] = train(cell, steps, config.time, config.seeds)
    final = {name: values[:, -LAST:].mean(axis=1).tolist() for name, values in errors.items()}
    criteria = [Criterion("tanh: mean squared error at the end", final["tanh"], least=0.15)]
    criteria += [
        Criterion(f"{name}: mean squared error at the end", final[name], most=0.01) for name in ("GRU", "LSTM")
    ]
    numbers = {}
    for name in ("GRU", "LSTM"):
        means = np.array([np.convolve(values, np.ones(20) / 20, "valid") for values in errors[name]])
        numbers[f"{name}: steps until the error is below 0.05"] = first_below(means, 0.05)
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    panel(figure.subplots(), errors, config.time)
    return Outcome(criteria, figure, numbers)


def first_below(means: np.ndarray, threshold: float) -> list[float]:
    """The number of steps of each seed until the mean of 20 steps is below the threshold; infinite if it never is."""
    below = means < threshold
    return np.where(below.any(axis=1), below.argmax(axis=1) + 20.0, np.inf).tolist()


STUDY = Study("X35", ("C037", "C225"), run, quick=Config(seeds=1, time=100, steps=800))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
