"""Against overfitting, more data and a penalty help; a narrower network does not.

    FNN_DATA=FOLDER python -m experiments overfitting_remedies

Claim C204: a model with 96 % in training and 64 % in the test overfits, and the remedies are more data, regularisation
and a shallower model. The study uses draws of MNIST and all 10,000 test digits. Every network is trained for the same
number of steps.

1. 784-64-10 on 100 digits shows such a gap; on 1000 digits it is less than half as large.
2. 784-64-10 on 500 digits, a fifth of them with wrong labels. Each remedy alone: a penalty λ/2 ‖W‖², twice the data,
   no hidden layer (softmax regression), a hidden layer of 16. The test cost counts, because overfitting shows there
   first. The penalty, more data and the linear model lower it. The narrow network overfits as much as the wide one.

Expected results: a gap of 0.25 to 0.28 with 100 digits, and 0.38 to 0.46 of that with 1000. With wrong labels the test
cost is 0.9 to 1.04. The penalty brings it to 0.85 to 0.88 of that, twice the data to 0.78, no hidden layer to 0.93 to
0.99; 16 hidden units raise it by a factor of 1.2 to 1.3.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.mnist import Mnist, load_mnist
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from experiments.studies.weight_decay import mislabelled
from fnn.types import Batch, Layer

WIDE, NARROW, LINEAR = fnn.mlp([784, 64, 10]), fnn.mlp([784, 16, 10]), fnn.softmax_regression(784, 10)
LOSS = fnn.softmax_cross_entropy
BATCH = 50


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of draws of training digits, of wrong labels and of initial weights."""
    steps: int = 1000
    """Steps of every training, 50 digits each; a multiple of 20."""
    strength: float = 0.02
    """λ of the penalty."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


class Measures(NamedTuple):
    """Accuracies and costs: arrays (draws,)."""

    accuracy: np.ndarray
    test_accuracy: np.ndarray
    cost: np.ndarray
    test_cost: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """Training accuracy minus test accuracy. Training labels may be wrong."""
        return self.accuracy - self.test_accuracy


@functools.partial(jax.jit, static_argnums=(0, 6))
def trained(network: Layer, strength: float, keys: jax.Array, x: jax.Array, y: jax.Array, test: Batch, steps: int):
    """Train on every draw and return the four values of Measures."""

    def one(key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        epochs, strength_of = steps * BATCH // len(x), lambda strength: strength
        run = fnn.make_run(
            network, LOSS, lambda strength: fnn.sgd(0.2), (x, y), epochs=epochs, batch_size=BATCH, l2=strength_of
        )
        params = run(strength, key).params
        on = lambda x, y: (network.forward(params, x)[0], y)
        seen, unseen = on(x, y), on(*test)
        values = (fnn.accuracy(*seen), fnn.accuracy(*unseen), LOSS.forward(*seen)[0], LOSS.forward(*unseen)[0])
        return tuple(value.mean() for value in values)

    return jax.vmap(one)(keys, x, y)


def train(network: Layer, strength: float, x: np.ndarray, y: np.ndarray, test: Batch, steps: int) -> Measures:
    """Train on every draw, x (draws, examples, 784)."""
    keys = jax.random.split(jax.random.key(0), len(x))
    return Measures(*(np.asarray(value) for value in trained(network, strength, keys, x, y, test, steps)))


def draws(data: Mnist, config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1000 digits per draw: pixels, labels, and labels of which a fifth are wrong."""
    rng = np.random.default_rng(0)
    parts = np.stack([rng.choice(len(data.train_x), 1000, replace=False) for _ in range(config.seeds)])
    y = data.train_y[parts]
    return data.train_x[parts], y, mislabelled(rng, y)


def run(config: Config) -> Outcome:
    """Train on few and on many digits, then test each remedy on data with wrong labels."""
    from matplotlib.figure import Figure

    data = load_mnist()
    test, steps = (jnp.asarray(data.test_x), jnp.asarray(data.test_y)), config.steps
    x, y, wrong = draws(data, config)
    sizes = {size: train(WIDE, 0.0, x[:, :size], y[:, :size], test, steps) for size in (100, 1000)}
    few, labels = x[:, :500], wrong[:, :500]
    base = "784-64-10"
    penalised = f"with a penalty, λ = {config.strength}"
    found = {
        base: train(WIDE, 0.0, few, labels, test, steps),
        penalised: train(WIDE, config.strength, few, labels, test, steps),
        "with twice the data": train(WIDE, 0.0, x, wrong, test, steps),
        "without the hidden layer": train(LINEAR, 0.0, few, labels, test, steps),
        "784-16-10": train(NARROW, 0.0, few, labels, test, steps),
    }

    better = found[penalised].test_cost / found[base].test_cost
    criteria = [
        Criterion("100 digits: accuracy, training - test", sizes[100].gap.tolist(), least=0.2),
        Criterion("gap of accuracies, 1000 digits / 100", (sizes[1000].gap / sizes[100].gap).tolist(), most=0.6),
        Criterion("500 digits, wrong labels: test cost, with a penalty / without", better.tolist(), most=0.98),
    ]
    numbers = {}
    all_found = {f"{size} digits": values for size, values in sizes.items()}
    all_found |= {f"wrong labels, {name}": values for name, values in found.items()}
    for name, values in all_found.items():
        numbers[f"{name}: accuracy"] = values.accuracy.tolist()
        numbers[f"{name}: test accuracy"] = values.test_accuracy.tolist()
        numbers[f"{name}: test cost"] = values.test_cost.tolist()

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    for kind, colour, style in (("accuracy", figures.BLUE, "o-"), ("test_accuracy", figures.ORANGE, "s--")):
        values = np.stack([getattr(measures, kind) for measures in sizes.values()])
        label = ["test" if kind == "test_accuracy" else "training"] + [None] * (config.seeds - 1)
        left.plot([0, 1], values, style, color=colour, ms=4, lw=1.2, label=label)
    left.set_xticks([0, 1], ["100", "1000"])
    left.set(title="More data", xlabel="training digits", ylabel="accuracy", xlim=(-0.3, 1.3))
    left.legend(loc="lower right")
    names = list(found)[::-1]
    for row, name in enumerate(names):
        right.plot(
            found[name].test_cost,
            np.full(config.seeds, row),
            "o",
            color=figures.BLUE,
            ms=5,
            alpha=0.6,
            label="each draw" if row == 0 else None,
        )
        right.plot(
            found[name].test_cost.mean(),
            row,
            "|",
            color=figures.ORANGE,
            ms=16,
            mew=2.5,
            label="mean" if row == 0 else None,
        )
    right.axvline(found[base].test_cost.mean(), color=figures.GREY, ls=":", lw=1.3, label=f"mean of {base}")
    right.set_yticks(range(len(names)), names)
    right.legend(loc="upper right")
    right.set(title="A fifth of 500 labels wrong", xlabel="test cross-entropy per digit", ylim=(-0.5, len(names) - 0.5))
    remark = "The narrow network has a higher test cost than the wide one: it is no remedy here (not a criterion)."
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X29", ("C204",), run, quick=Config(seeds=3, steps=600), needs=("mnist",))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
