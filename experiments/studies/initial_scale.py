"""Large initial weights saturate; 0.01 suits one hidden layer, but not four.

    python -m experiments initial_scale

Claims C159 and C160, on w = 0.01 · randn. For inputs of variance 1, the weighted input of a unit has standard
deviation σ √n_in, where σ is that of the weights. A large σ puts tanh where its slope 1 - a² is almost 0, which is the
reason for a small factor. A small σ has a price as well, in deep networks: every layer multiplies the signal, forward
and backward, by about σ √n. With 0.01 and 50 units that is 0.07 per layer, and four hidden layers leave too little of
the gradient to learn from. σ = √(1/n_in) (LeCun) and √(2/n_in) (He, for ReLU) avoid both problems.

Networks 64-50-50-50-50-10 and 64-50-10 learn the digits in batches of 16. Each seed has its own initial weights and
order.

Expected results: with 784 inputs, 0.01 saturates (|a| > 0.99) no unit, and 1 saturates more than nine tenths. With
0.01, four hidden layers stay at the accuracy of guessing; with LeCun's and He's rules they reach 0.95 and more. One
hidden layer learns well with 0.01.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.errors import positive
from experiments.studies.shared import study
from experiments.studies.shared.initial_params import scaled_params
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEEP, SHALLOW = (64, 50, 50, 50, 50, 10), (64, 50, 10)
RULES = {  # name -> standard deviation as a function of n_in
    "0.01": lambda n_in: 0.01,
    "LeCun √(1/n)": lambda n_in: (1 / n_in) ** 0.5,
    "He √(2/n)": lambda n_in: (2 / n_in) ** 0.5,
    "1": lambda n_in: 1.0,
    "3": lambda n_in: 3.0,
}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of initialisations and orders of the digits, the same for all scales."""
    epochs: int = 30
    """Passes over the digits."""
    learning_rate: float = 0.1
    """Learning rate."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def train(
    sizes: tuple[int, ...], g: fnn.Layer, rules: tuple[str, ...], config: Config, train: Data, test: Data
) -> dict[str, dict[str, np.ndarray]]:
    """The training history for each rule: arrays (seeds, epochs) by name."""
    network = fnn.mlp(sizes, g, w_init=fnn.init.normal(1.0))
    run = fnn.make_run(
        network,
        fnn.softmax_cross_entropy,
        lambda start: fnn.sgd(config.learning_rate),
        train,
        epochs=config.epochs,
        batch_size=16,
        init=lambda start: start,
        validation=test,
    )
    keys = jax.random.split(jax.random.key(1), config.seeds)
    start = scaled_params(network, [RULES[rule] for rule in rules], config.seeds)
    history = jax.vmap(run)(start, keys[np.tile(np.arange(config.seeds), len(rules))]).history
    of_rule = lambda values, i: np.asarray(values)[i * config.seeds : (i + 1) * config.seeds]
    return {rule: {name: of_rule(values, i) for name, values in history.items()} for i, rule in enumerate(rules)}


def saturated(seed: int) -> list[float]:
    """Shares of |tanh(x w)| > 0.99 for 784 inputs x ~ N(0, 1) and w of deviation 0.01, 1 and 10."""
    x_key, w_key = jax.random.split(jax.random.key(seed))
    x, w = jax.random.normal(x_key, (200, 784)), jax.random.normal(w_key, (784, 100))
    layer = fnn.serial(fnn.dense(784, 100), fnn.tanh)
    a = [layer.forward((fnn.Dense(std * w, jnp.zeros(100)), ()), x)[0] for std in (0.01, 1.0, 10.0)]
    return [float(jnp.mean(jnp.abs(each) > 0.99)) for each in a]


def panel(axes: "Axes", title: str, lines: dict[str, np.ndarray]) -> None:
    """Plot the test accuracy over the epochs: the median of the seeds and the range."""
    from matplotlib.ticker import MaxNLocator

    colours = (figures.GREY, figures.BLUE, figures.SKY, figures.PINK)
    styles = zip(colours, ("--", "-", "-", "-."), "x^os", strict=True)
    for (name, values), (colour, line, marker) in zip(lines.items(), styles, strict=True):
        epochs = np.arange(1, values.shape[1] + 1)
        every = max(1, len(epochs) // 6)
        axes.plot(epochs, np.median(values, 0), color=colour, ls=line, marker=marker, ms=5, markevery=every, label=name)
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    axes.set(title=title, xlabel="epoch", ylabel="test accuracy", ylim=(0, 1.02), xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def run(config: Config) -> Outcome:
    """Train with every scale."""
    from matplotlib.figure import Figure

    positive("--learning-rate", config.learning_rate)
    x, y = load_digits()
    parts = fnn.data.split(jax.random.key(0), (x, y), (0.8, 0.2), stratify=y)
    tanh = train(DEEP, fnn.tanh, ("0.01", "LeCun √(1/n)", "1", "3"), config, *parts)
    relu = train(DEEP, fnn.relu, ("0.01", "He √(2/n)", "1"), config, *parts)
    one = train(SHALLOW, fnn.tanh, ("0.01", "LeCun √(1/n)", "1", "3"), config, *parts)
    small, large, huge = zip(*map(saturated, range(config.seeds)), strict=True)
    accuracy = lambda runs, rule: runs[rule]["validation_accuracy"][:, -1].tolist()
    criteria = [
        Criterion("4 x tanh, 0.01: test accuracy", accuracy(tanh, "0.01"), most=0.2),
        Criterion("4 x ReLU, 0.01: test accuracy", accuracy(relu, "0.01"), most=0.2),
        Criterion("4 x tanh, LeCun: test accuracy", accuracy(tanh, "LeCun √(1/n)"), least=0.93),
        Criterion("4 x ReLU, He: test accuracy", accuracy(relu, "He √(2/n)"), least=0.93),
        Criterion("1 x tanh, 0.01: test accuracy", accuracy(one, "0.01"), least=0.93),
        Criterion(
            "1 x tanh: test accuracy, 0.01 - 3",
            np.subtract(accuracy(one, "0.01"), accuracy(one, "3")).tolist(),
            least=0.03,
        ),
        Criterion("784 inputs, 0.01: share of |tanh| > 0.99", small, most=0.01),
        Criterion("784 inputs, 1: share of |tanh| > 0.99", large, least=0.9),
    ]
    numbers = {
        "784 inputs, 10: share of |tanh| > 0.99": list(huge),
        "4 x tanh, 0.01: cost": tanh["0.01"]["cost"][:, -1].tolist(),
    }
    for name, runs in (("4 x tanh", tanh), ("4 x ReLU", relu), ("1 x tanh", one)):
        numbers |= {f"{name}, {rule}: test accuracy": accuracy(runs, rule) for rule in runs}
    lost = int(np.sum(~(np.array(accuracy(relu, "1")) >= 0.2)))
    remark = f"ReLU with deviation 1: {lost} of {config.seeds} runs end below an accuracy of 0.2, dead or not finite."
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    of_test = lambda runs: {name: history["validation_accuracy"] for name, history in runs.items()}
    panel(left, "Four hidden layers of tanh", of_test(tanh))
    panel(right, "One hidden layer of tanh", of_test(one))
    right.legend(title="deviation of the weights", loc="lower right")
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X32", ("C159", "C160"), run, quick=Config(seeds=3, epochs=20))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
