"""A penalty on weights reduces weights, generalisation gap and input sensitivity.

    FNN_DATA=FOLDER python -m experiments weight_decay

Claims C201, C202 and C203, on L2 regularisation. The cost is J + λ/2 ‖W‖², over weights but not biases, so a step is
W ← (1 - α λ) W - α dJ/dW. A network 784-64-10 is trained on draws of 1000 digits of MNIST with λ from 0 to 0.1, and
again with a fifth of the labels replaced by random wrong ones. The test uses all 10,000 test digits.

The penalty reduces overfitting up to a point: the gap keeps falling with λ, but the test cost rises again at 0.1. The
gain in accuracy shows if labels are wrong. The notes also say that the penalty makes learning smoother, which is not
defined. Instead, the study reports the size of the derivative of the log-probabilities with respect to the pixels: the
mean Frobenius norm of d log p/dx over test digits.

Expected results: ‖W‖² is 255, 194, 58, 30 and 13. At λ = 0.01 the gap is 0.57 to 0.6 of that at 0, and the test cost
0.84 to 0.85. With wrong labels the accuracy at 0.03 is 0.08 to 0.11 above that at 0. ‖d log p/dx‖ falls from 25.5 to
2.9.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.mnist import load_mnist
from experiments.errors import usage
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Batch, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NETWORK = fnn.mlp([784, 64, 10])
LOSS = fnn.softmax_cross_entropy
STRENGTHS = (0.0, 1e-3, 1e-2, 3e-2, 1e-1)  # λ
WRONG = 0.2  # share of labels replaced by one of the other nine


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of draws of training digits, of wrong labels and of initial weights."""
    examples: int = 1000
    """Number of training digits."""
    epochs: int = 50
    """Passes over the training digits."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


class Measures(NamedTuple):
    """Measurements: arrays (draws, λ)."""

    norm: np.ndarray  # ‖W‖²
    cost: np.ndarray  # on the training digits, without the penalty
    test_cost: np.ndarray
    test_accuracy: np.ndarray
    slope: np.ndarray  # mean ‖d log p/dx‖ over test digits


def mislabelled(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Replace a share WRONG of the labels by another label."""
    other = (y + rng.integers(1, 10, size=y.shape, dtype=np.int32)) % 10
    return np.where(rng.random(y.shape) < WRONG, other, y)


def slope(params: Params, x: jax.Array) -> jax.Array:
    """The mean Frobenius norm of the derivative of the log-probabilities with respect to the pixels."""
    log_p = lambda row: jax.nn.log_softmax(NETWORK.forward(params, row[None])[0][0])
    return jnp.sqrt(jnp.square(jax.vmap(jax.jacrev(log_p))(x)).sum(axis=(1, 2))).mean()


def measure(
    strength: jax.Array, key: jax.Array, x: jax.Array, y: jax.Array, test: Batch, epochs: int
) -> tuple[jax.Array, ...]:
    """Train on (x, y) with λ = strength and return the five values of Measures."""
    rate = lambda strength: fnn.sgd(0.2)
    strength_of = lambda strength: strength
    train = fnn.make_run(NETWORK, LOSS, rate, (x, y), epochs=epochs, batch_size=50, l2=strength_of)
    params = train(strength, key).params
    cost = LOSS.forward(NETWORK.forward(params, x)[0], y)[0].mean()
    logits = NETWORK.forward(params, test[0])[0]
    accuracy = fnn.accuracy(logits, test[1]).mean()
    test_cost = LOSS.forward(logits, test[1])[0].mean()
    norm = jnp.stack([jnp.sum(jnp.square(layer.w)) for layer in params if layer]).sum()
    return norm, cost, test_cost, accuracy, slope(params, test[0][:200])


def draw(figure: "Figure", true: Measures, wrong: Measures) -> None:
    """Plot weights and slope, costs, and accuracy over λ. λ = 0 is drawn at the left edge."""
    axis = np.array([3e-4, *STRENGTHS[1:]])
    ticks = ["0", *(f"{strength:g}" for strength in STRENGTHS[1:])]
    first, second, third = figure.subplots(1, 3)

    def lines(axes: "Axes", values: np.ndarray, colour: str, style: str, label: str) -> None:
        axes.plot(axis, np.asarray(values).T, style, color=colour, ms=4, lw=1.2)
        axes.plot([], [], style, color=colour, ms=4, lw=1.2, label=label)

    lines(first, true.norm / true.norm[:, :1], figures.BLUE, "o-", "‖W‖²")
    lines(first, true.slope / true.slope[:, :1], figures.ORANGE, "s--", "‖d log p/dx‖")
    first.set(title="Weights, slope", ylabel="relative to λ = 0", yscale="log")
    lines(second, true.cost, figures.BLUE, "o-", "training")
    lines(second, true.test_cost, figures.ORANGE, "s--", "test")
    second.set(title="True labels", ylabel="cross-entropy per digit", ylim=(0, None))
    lines(third, true.test_accuracy, figures.BLUE, "o-", "true labels")
    lines(third, wrong.test_accuracy, figures.ORANGE, "s--", f"{WRONG:.0%} wrong")
    third.set(title="Test", ylabel="share of test digits read right")
    for axes in (first, second, third):
        axes.set(xscale="log", xlabel="strength λ")
        axes.set_xticks(axis, ticks, fontsize=9)
        axes.minorticks_off()
        axes.legend(fontsize=9.5)


def run(config: Config) -> Outcome:
    """Train every draw with each λ, with true and with wrong labels."""
    from matplotlib.figure import Figure

    data, rng = load_mnist(), np.random.default_rng(0)
    if config.examples > len(data.train_x):
        raise usage("--examples", f"at most {len(data.train_x)}", config.examples)
    parts = np.stack([rng.choice(len(data.train_x), config.examples, replace=False) for _ in range(config.seeds)])
    x, y = data.train_x[parts], data.train_y[parts]
    labels = np.stack([y, mislabelled(rng, y)])
    over_strengths = jax.vmap(measure, in_axes=(0, None, None, None, None, None))
    over_draws = jax.vmap(over_strengths, in_axes=(None, 0, 0, 0, None, None))
    over_labels = jax.jit(jax.vmap(over_draws, in_axes=(None, None, None, 0, None, None)), static_argnums=5)
    keys, test = jax.random.split(jax.random.key(0), config.seeds), (data.test_x, data.test_y)
    found = over_labels(jnp.array(STRENGTHS), keys, x, labels, test, config.epochs)
    true, wrong = (Measures(*(np.asarray(leaf[i], np.float64) for leaf in found)) for i in range(2))  # (draws, λ)

    gap = true.test_cost - true.cost
    ratios = lambda values: (values[:, 1:] / values[:, :-1]).max(axis=1).tolist()
    at = STRENGTHS.index
    accuracy = wrong.test_accuracy
    criteria = [
        Criterion("‖W‖²: largest ratio between neighbouring λ", ratios(true.norm), most=1.0),
        Criterion("gap of the costs, test - training: the same ratio", ratios(gap), most=1.0),
        Criterion("gap at λ = 0.01 / at 0", (gap[:, at(1e-2)] / gap[:, 0]).tolist(), most=0.75),
        Criterion(
            "test cost at λ = 0.01 / at 0", (true.test_cost[:, at(1e-2)] / true.test_cost[:, 0]).tolist(), most=0.92
        ),
        Criterion(
            "a fifth of labels wrong: test accuracy at λ = 0.03 - at 0",
            (accuracy[:, at(3e-2)] - accuracy[:, 0]).tolist(),
            least=0.04,
        ),
        Criterion("‖d log p/dx‖ at λ = 0.01 / at 0", (true.slope[:, at(1e-2)] / true.slope[:, 0]).tolist(), most=0.5),
    ]
    numbers = {}
    for i, strength in enumerate(STRENGTHS):
        numbers |= {
            f"λ = {strength:g}: {what}": values[:, i].tolist()
            for what, values in {
                "‖W‖²": true.norm,
                "training cost": true.cost,
                "test cost": true.test_cost,
                "test accuracy": true.test_accuracy,
                "‖d log p/dx‖": true.slope,
                "test accuracy, wrong labels": accuracy,
            }.items()
        }
    figure = Figure(figsize=(11.5, 4.2), layout="constrained")
    draw(figure, true, wrong)
    remark = "Too strong a penalty hurts: at λ = 0.1 the test cost is higher than without one (not a criterion)."
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X08", ("C201", "C202", "C203"), run, quick=Config(seeds=3, epochs=50), needs=("mnist",))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
