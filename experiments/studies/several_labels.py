"""Independent sigmoids name several labels at once; softmax names only one.

    python -m experiments several_labels

Claims C023 and C244 (cat, lion, iguana). For any number of labels: one logistic neuron per label, sharing nothing. For
exactly one: softmax. The cost of the neurons is a sum over the K outputs of an example, then a mean over the examples,

    L = -Σ_k [y_k ln a_k + (1 - y_k) ln(1 - a_k)],    J = 1/m Σ L

(the notes print a sum over the examples instead, claim C025). Each row of 40 numbers contains each of three patterns
or not. From rows with labels y, softmax learns the distribution y / Σ y (1/3 each if there are none). Its answer is
either the largest output, or all outputs above the threshold that is best on the training rows. Conversely, ten
sigmoids read handwritten digits, which have exactly one label. Every seed has its own data.

Expected results: the neurons predict all labels of 0.98 of the rows correctly, softmax above its best threshold 0.79 to
0.83 (it cannot tell no labels from all three), and its largest output 0.35 to 0.39, the share of rows with one label.
For 0.09 to 0.15 of the digits, either no sigmoid or more than one is above ½.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.data.patterns import mixtures
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, Loss, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEATURES, LABELS, TRAINED = 40, 3, 600
SIGMOIDS, ABOVE, LARGEST = "sigmoids above ½", "softmax above a threshold", "softmax, largest output"


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of draws of patterns and rows, and of splits of the digits."""
    iterations: int = 500
    """Full-batch steps of gradient descent."""
    learning_rate: float = 0.5
    """Learning rate."""
    test: int = 2000
    """Number of test rows."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def train(network: Layer, loss: Loss, x: np.ndarray, y: np.ndarray, config: Config) -> Params:
    """Train on each x (seeds, m, n), y (seeds, m, K) from zero weights: leaves (seeds, …)."""
    optimizer = fnn.sgd(config.learning_rate)
    epochs, m = config.iterations, x.shape[1]
    run = fnn.make_run(network, loss, lambda seed: optimizer, (x[0], y[0]), epochs=epochs, batch_size=m)
    runs = jax.tree.unflatten(jax.tree.structure(run), [x, y])  # the same program, with the data of every seed
    return jax.vmap(lambda run: run(0, jax.random.key(0)))(runs).params


def linear(params: fnn.Dense, x: np.ndarray) -> np.ndarray:
    """z of every row: (seeds, m, K)."""
    return np.asarray(jax.vmap(lambda params, x: fnn.dense(*params.w.shape).forward(params, x)[0])(params, x))


def alone(x: np.ndarray, y: np.ndarray, config: Config) -> Params:
    """Train each label's neuron separately and combine their parameters."""
    seeds = len(x)
    rows, labels = np.repeat(x, LABELS, axis=0), np.moveaxis(y, 2, 1).reshape(seeds * LABELS, -1, 1)
    each = train(fnn.logistic_regression(FEATURES), fnn.sigmoid_cross_entropy, rows, labels, config)
    return fnn.Dense(each.w.reshape(seeds, LABELS, FEATURES).swapaxes(1, 2), each.b.reshape(seeds, LABELS))


def shared_out(y: np.ndarray) -> np.ndarray:
    """y / Σ y, or 1/K each for rows without labels."""
    total = y.sum(axis=-1, keepdims=True)
    return np.where(total > 0, y / np.maximum(total, 1), 1 / LABELS).astype(np.float32)


def best_threshold(p: np.ndarray, y: np.ndarray) -> float:
    """The threshold at which the outputs p (m, K) match the labels y most often."""
    thresholds = np.linspace(0.01, 0.99, 99, dtype=np.float32)
    return float(thresholds[np.argmax([np.all((p > t) == (y > 0), axis=1).mean() for t in thresholds])])


def on_mixtures(config: Config) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Train on mixtures of patterns.

    Returns: which test rows have all labels right, (seeds, m) by method; the number of labels of each row; the
    largest difference between neurons trained together and separately, (seeds,).
    """
    draws = [mixtures(seed, TRAINED + config.test) for seed in range(config.seeds)]
    x, y = (np.stack(arrays) for arrays in zip(*draws, strict=True))
    x_train, y_train, x_test, y_test = x[:, :TRAINED], y[:, :TRAINED], x[:, TRAINED:], y[:, TRAINED:]
    model = fnn.softmax_regression(FEATURES, LABELS)  # the dense layer, from 0
    sigmoids = train(model, fnn.sigmoid_cross_entropy, x_train, y_train, config)
    shares = train(model, fnn.softmax_cross_entropy, x_train, shared_out(y_train), config)
    apart = jax.tree.map(
        lambda a, b: np.abs(a - b).reshape(config.seeds, -1).max(axis=1), sigmoids, alone(x_train, y_train, config)
    )
    p_train, p_test = (np.asarray(jax.nn.softmax(linear(shares, rows))) for rows in (x_train, x_test))
    thresholds = np.array([best_threshold(p, labels) for p, labels in zip(p_train, y_train, strict=True)])
    named = {
        SIGMOIDS: linear(sigmoids, x_test) > 0,
        ABOVE: p_test > thresholds[:, None, None],
        LARGEST: p_test == p_test.max(axis=2, keepdims=True),
    }
    right = {name: np.all(labels == (y_test > 0), axis=2) for name, labels in named.items()}
    return right, y_test.sum(axis=2), np.maximum(*apart)


def on_digits(config: Config) -> np.ndarray:
    """How many of ten sigmoids are above ½ for each test digit: (seeds, m)."""
    x, labels = load_digits()
    y = np.eye(10, dtype=np.float32)[labels]
    keys = jax.random.split(jax.random.key(1), config.seeds)
    parts = [fnn.data.split(key, (x, y), (0.8, 0.2)) for key in keys]
    x_train, y_train, x_test = (np.stack([part[i][j] for part in parts]) for i, j in ((0, 0), (0, 1), (1, 0)))
    params = train(fnn.softmax_regression(64, 10), fnn.sigmoid_cross_entropy, x_train, y_train, config)
    return np.sum(linear(params, x_test) > 0, axis=2)


def run(config: Config) -> Outcome:
    """Run both data sets with every seed."""
    from matplotlib.figure import Figure

    right, present, apart = on_mixtures(config)
    above = on_digits(config)
    share = {name: values.mean(axis=1) for name, values in right.items()}
    not_one = np.mean(above != 1, axis=1)
    criteria = [
        Criterion("rows with all labels right, sigmoids", share[SIGMOIDS].tolist(), least=0.93),
        Criterion(
            "the same share, sigmoids - softmax above its best threshold",
            (share[SIGMOIDS] - share[ABOVE]).tolist(),
            least=0.08,
        ),
        Criterion("digits with other than one sigmoid above ½", not_one.tolist(), least=0.02),
        Criterion("largest difference between neurons trained together and separately", apart.tolist(), most=1e-5),
    ]
    numbers = {f"rows with all labels right, {name}": values.tolist() for name, values in share.items()}
    numbers["rows with exactly one label"] = np.mean(present == 1, axis=1).tolist()
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, other = figure.subplots(1, 2, width_ratios=(1.5, 1))
    by_number(left, right, present)
    counts = np.stack([np.mean(above == k, axis=1) for k in range(4)], axis=1)
    other.bar(
        np.arange(4),
        counts.mean(axis=0),
        color=[figures.ORANGE, figures.BLUE, figures.ORANGE, figures.ORANGE],
        width=0.6,
    )
    for k, value in enumerate(counts.mean(axis=0)):
        other.text(k, value + 0.01, f"{value:.3f}", ha="center", fontsize=10)
    other.set_axisbelow(True)
    other.set(title="One label only: ten sigmoids", xlabel="outputs above ½ for a digit", ylabel="share of test digits")
    other.set(xticks=range(4), ylim=(0, 1.05))
    return Outcome(criteria, figure, numbers, [REMARK])


def by_number(axes: "Axes", right: dict[str, np.ndarray], present: np.ndarray) -> None:
    """Plot the share of rows with all labels right over their number of labels; a dot per seed."""
    styles = ((figures.BLUE, ""), (figures.SKY, "//"), (figures.GREY, ".."))
    for i, ((name, values), (colour, hatch)) in enumerate(zip(right.items(), styles, strict=True)):
        shares = np.array([[v[n == k].mean() for k in range(LABELS + 1)] for v, n in zip(values, present, strict=True)])
        at = np.arange(LABELS + 1) + 0.27 * (i - 1)
        axes.bar(at, shares.mean(axis=0), width=0.25, color=colour, hatch=hatch, edgecolor="white", lw=0, label=name)
        axes.plot(at, shares.T, ".", color="black", ms=3)
    axes.set_axisbelow(True)
    axes.set(title="Any number of labels", xlabel="labels of the row", ylabel="share of rows with all labels right")
    axes.set(xticks=range(LABELS + 1), ylim=(0, 1.02))
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=3)


REMARK = "The largest output alone can be right only for rows with exactly one label."
STUDY = Study("X14", ("C023", "C244"), run, quick=Config(seeds=3, iterations=300))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
