"""Cats: logistic regression memorises 209 photos; a deep network does better.

    python -m experiments cats_and_networks

Claims C004, C008, C022, C243 and, for the network 3-2-1, C245. An image of 64x64 pixels in three colours is a row x
of 12,288 numbers. The model

    ŷ = σ(x w + b) = P(y = 1 | x),    J = -1/m Σ [y log ŷ + (1 - y) log(1 - ŷ)],    w = b = 0 initially,

takes 2,000 full-batch steps with learning rate 0.005. It is compared with two networks, each from several
initialisations: one with hidden layers of 20, 7 and 5 ReLU units, and one with hidden layers of 3 and 2 sigmoid units.
The latter is trained once on raw pixels and once on standardised ones (mean 0, deviation 1 over the training images).

Expected results: logistic regression ends at a cost of 0.1357, with 0.99 of the training images and 0.70 of the test
images right; 0.66 of the test images show a cat. The median of the deep network is 0.74 or more, but single
initialisations fall below 0.70. One of the 50 test images is 0.02. The network 3-2-1 learns only from standardised
pixels: on raw pixels it calls every image a non-cat.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.cats import Cats, load_cats
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_IN = 64 * 64 * 3
LOSS = fnn.sigmoid_cross_entropy
Builder = Callable[[int], fnn.Layer]  # inputs -> network


def line(n_in: int) -> fnn.Layer:
    """Logistic regression."""
    return fnn.serial(fnn.logistic_regression(n_in))


def deep(n_in: int) -> fnn.Layer:
    """Hidden layers of 20, 7 and 5 ReLU units."""
    return fnn.mlp((n_in, 20, 7, 5, 1), fnn.relu, w_init=fnn.init.lecun_normal)


def small(n_in: int) -> fnn.Layer:
    """Hidden layers of 3 and 2 sigmoid units."""
    return fnn.mlp((n_in, 3, 2, 1), fnn.sigmoid, w_init=fnn.init.xavier_normal)


@dataclass(frozen=True)
class Config:
    seeds: int = 21
    """Number of initialisations of each network with hidden layers."""
    deep_iterations: int = 2500
    """Training steps of the network with three hidden layers."""
    small_iterations: int = 1000
    """Training steps of the network 3-2-1."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


class Part(NamedTuple):
    """Training and test images as rows, labels as columns, an orthonormal basis of the training images."""

    x: jax.Array
    y: jax.Array
    test_x: jax.Array
    test_y: jax.Array
    basis: jax.Array


class Trained(NamedTuple):
    """For each initialisation: the cost before each step, the final accuracies, and the final cost."""

    costs: np.ndarray
    train: list[float]
    test: list[float]
    final: list[float]
    probability: np.ndarray


def rows(cats: Cats) -> Part:
    """The images as rows."""
    column = lambda y: jnp.asarray(y[:, None], jnp.float32)
    flat = lambda x: jnp.asarray(x.reshape(len(x), -1))
    x = flat(cats.train_x)
    return Part(x, column(cats.train_y), flat(cats.test_x), column(cats.test_y), spanning(x))


def spanning(x: jax.Array) -> jax.Array:
    """An orthonormal basis of the span of the rows: (12288, m)."""
    return jnp.asarray(np.linalg.qr(np.asarray(x).T)[0])


def standardized(data: Part) -> Part:
    """Standardise each pixel of each colour by its mean and deviation over the training images."""
    fitted = fnn.data.fit_standardization(data.x)
    x, test_x = (fnn.data.standardize(part, fitted) for part in (data.x, data.test_x))
    return data._replace(x=x, test_x=test_x, basis=spanning(x))


def train(build: Builder, data: Part, rate: float, iterations: int, seeds: int) -> Trained:
    """Full-batch gradient descent from each initialisation, as one program.

    Descent uses coordinates of the images: dW = Xᵀ dZ lies in the span of the m images, so W changes only within this
    span. With an orthonormal basis Q of the span, (12288, m), we have X W = (X Q) U and W - W₀ = Q (U - U₀), where U₀
    = Qᵀ W₀. The steps are the same, with m inputs instead of 12,288.
    """
    network = build(N_IN)
    starts = jax.jit(jax.vmap(network.init))(jax.random.split(jax.random.key(0), seeds))
    basis, w = data.basis, starts[0].w
    u = jnp.einsum("fm,sfn->smn", basis, w)
    run = fnn.make_run(
        build(len(data.x)),
        LOSS,
        lambda start: fnn.sgd(rate),
        (data.x @ basis, data.y),
        epochs=iterations,
        batch_size=len(data.x),
        init=lambda start: start,
    )
    results = fnn.sweep(run, (starts[0]._replace(w=u), *starts[1:]), jax.random.key(0))
    ended = jax.tree.map(lambda leaf: jnp.asarray(leaf[:, 0]), results.params)
    moved = w + jnp.einsum("fm,smn->sfn", basis, ended[0].w - u)
    ended = (ended[0]._replace(w=moved), *ended[1:])
    x, y = jnp.concatenate([data.x, data.test_x]), np.concatenate([data.y, data.test_y])
    logits = np.asarray(jax.vmap(fnn.predict, in_axes=(None, 0, None))(network, ended, x), np.float64)
    right, m = (logits > 0) == (y > 0.5)[None], len(data.x)
    costs = np.logaddexp(0, np.where(y[None] > 0.5, -logits, logits))
    return Trained(
        results.history["cost"][:, 0],
        right[:, :m].mean(axis=(1, 2)).tolist(),
        right[:, m:].mean(axis=(1, 2)).tolist(),
        costs[:, :m].mean(axis=(1, 2)).tolist(),
        1 / (1 + np.exp(-logits[:, :m])),
    )


def difference(data: Part, rate: float, iterations: int = 200) -> float:
    """The largest difference that these coordinates make to the ŷ of logistic regression."""
    network, data_xy = line(N_IN), (data.x, data.y)
    run = fnn.make_run(network, LOSS, fnn.sgd, data_xy, epochs=iterations, batch_size=len(data.x))
    params = run(jnp.float32(rate), jax.random.key(0)).params
    whole = 1 / (1 + np.exp(-np.asarray(fnn.predict(network, params, data.x), np.float64)))
    return float(np.abs(whole - train(line, data, rate, iterations, 1).probability[0]).max())


DRAWN = 5  # number of initialisations whose costs are plotted
STYLES = {
    "logistic regression": ("black", "--"),
    "20-7-5-1": (figures.BLUE, "-"),
    "3-2-1, standardised": (figures.ORANGE, "-"),
    "3-2-1, raw pixels": (figures.PINK, ":"),
}


def cost_panel(axes: "Axes", results: dict[str, Trained]) -> None:
    """Plot the cost over the iterations, one curve per initialisation."""
    for name, result in results.items():
        colour, line = STYLES[name]
        costs = result.costs[:DRAWN]
        front = len(costs) == 1
        labels = [name] + [None] * (len(costs) - 1)
        axes.plot(costs.T, color=colour, ls=line, lw=2 if front else 0.9, zorder=3 if front else 2, label=labels)
    axes.set(
        title=f"Training (up to {DRAWN} initialisations each)",
        xlabel="iteration",
        ylabel="cost, cross-entropy per image",
        yscale="log",
    )


def accuracy_panel(axes: "Axes", results: dict[str, Trained], majority: float) -> None:
    """Plot training and test accuracies, one mark per initialisation."""
    for i, (name, result) in enumerate(results.items()):
        spread = np.linspace(-0.12, 0.12, len(result.test)) if len(result.test) > 1 else np.zeros(1)
        axes.plot(i + spread, result.train, "o", mfc="none", color=STYLES[name][0], ms=7)
        axes.plot(i + spread, result.test, "D", color=STYLES[name][0], ms=6)
    axes.plot([], [], "o", mfc="none", color="black", label="training images")
    axes.plot([], [], "D", color="black", label="test images")
    axes.axhline(majority, color="black", lw=1, ls="--", label="test, if all are called cats")
    axes.set_xticks(range(len(results)), [name.replace(", ", "\n").replace("c r", "c\nr") for name in results])
    axes.set(title="After the last step", ylabel="share of images classified right", ylim=(0.3, 1.03))


def run(config: Config) -> Outcome:
    """Train the four models."""
    from matplotlib.figure import Figure

    cats = load_cats()
    data = rows(cats)
    scaled, seeds = standardized(data), config.seeds
    results = {
        "logistic regression": train(line, data, 0.005, 2000, 1),
        "20-7-5-1": train(deep, data, 0.0075, config.deep_iterations, seeds),
        "3-2-1, standardised": train(small, scaled, 0.1, config.small_iterations, seeds),
        "3-2-1, raw pixels": train(small, data, 0.0075, config.small_iterations, seeds),
    }
    regression, layers, standard, raw = results.values()
    gained = (np.array(standard.train) - np.array(raw.train)).tolist()
    edges = [float(regression.probability.min()), float(1 - regression.probability.max())]
    better = float(np.median(layers.test)) - regression.test[0]
    criteria = [
        Criterion("logistic regression: cost after 2,000 steps", regression.final, least=0.1337, most=0.1377),
        Criterion("logistic regression: training accuracy", regression.train, least=0.95),
        Criterion("logistic regression: smallest ŷ and 1 - ŷ", edges, least=1e-12),
        Criterion("test accuracy: median of 20-7-5-1 - logistic regression", [better], least=0),
        Criterion("coordinates of the images: largest difference of ŷ", [difference(data, 0.005)], most=1e-4),
        Criterion("3-2-1: training accuracy, standardised - raw pixels", gained, least=0.2),
    ]
    share = float(cats.test_y.mean())
    numbers = {"share of cats, training": float(cats.train_y.mean()), "share of cats, test": share}
    numbers["logistic regression: mean ŷ, training"] = float(regression.probability.mean())
    for name, result in results.items():
        numbers |= {f"{name}: accuracy, training": result.train, f"{name}: accuracy, test": result.test}
        numbers[f"{name}: cost"] = result.final
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    cost_panel(left, results)
    accuracy_panel(right, results, share)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=10)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=10)
    remark = (
        "One of the 50 test images is 0.02, and the standard error of an accuracy of 0.7 is 0.065. No difference "
        "between two networks in this study is significant."
    )
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study(
    "X28",
    ("C004", "C008", "C022", "C243", "C245"),
    run,
    quick=Config(seeds=5),
    needs=("cats",),
)


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
