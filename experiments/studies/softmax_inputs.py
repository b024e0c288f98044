"""Softmax takes weighted inputs: applied to sigmoid outputs it can never be sure.

    python -m experiments softmax_inputs

Claims C029, C030, C031 and C246. Ten outputs read a digit, and the answer is the largest of them. To turn them into
probabilities, the notes first divide them by their sum, and then print softmax of the activations a = σ(z). The latter
is wrong:

    printed    p_i = exp a_i / Σ_j exp a_j    with a in (0, 1): p_i <= e / (e + 9) = 0.232, -ln p_y >= 1.461
    correct    p_i = exp z_i / Σ_j exp z_j    any distribution
    divided    p_i = a_i / Σ_j a_j            a distribution if all a_j > 0; for tanh outputs it need not be one

All three follow the same dense layer 64-10 and are trained on -ln p_y, on handwritten digits, with each learning rate.
A fourth model, ten sigmoids with cross-entropy, is read by its largest output. Every seed has its own split (60 % for
training), weights and order.

Expected results at learning rate 0.5: -ln p_y of 0.13 to 0.15 on the test digits with softmax of z or with the divided
form, and 1.6 with the printed one, whose largest probability stays at 0.23. The accuracy of the printed form is 0.92 to
0.94, which is 0.024 to 0.031 below softmax of z, and 0.013 to 0.022 below if each has its best rate.
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
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, Loss, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATES = (0.1, 0.5, 2.0)
COMPARED = RATES.index(0.5)
TRAINED = 1056  # training digits, a multiple of the batch size 32
HIGHEST = float(np.e / (np.e + 9))


def _share(a: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """p_i = a_i / Σ_j a_j"""
    total = jnp.sum(a, axis=1, keepdims=True)
    return a / total, (a / total, total)


def _share_backward(residuals: tuple[jax.Array, jax.Array], dp: jax.Array) -> jax.Array:
    """da_i = (dp_i - Σ_j dp_j p_j) / Σ_j a_j"""
    p, total = residuals
    return (dp - jnp.sum(dp * p, axis=1, keepdims=True)) / total


share = Layer(
    init=lambda key: (),
    forward=lambda params, x, key=None: _share(x),
    backward=lambda params, residuals, dp: ((), _share_backward(residuals, dp)),
    name="share",
)
DENSE = fnn.dense(64, 10)
RIGHT, PRINTED, DIVIDED, SIGMOIDS = "softmax of z", "softmax of σ(z)", "σ(z) over its sum", "ten sigmoids"
MODELS: dict[str, tuple[Layer, Loss]] = {
    RIGHT: (fnn.serial(DENSE, fnn.softmax), fnn.negative_log_likelihood),
    PRINTED: (fnn.serial(DENSE, fnn.sigmoid, fnn.softmax), fnn.negative_log_likelihood),
    DIVIDED: (fnn.serial(DENSE, fnn.sigmoid, share), fnn.negative_log_likelihood),
    SIGMOIDS: (DENSE, fnn.sigmoid_cross_entropy),
}
STYLES = {
    RIGHT: (figures.BLUE, "-"),
    PRINTED: (figures.ORANGE, "--"),
    DIVIDED: (figures.GREEN, "-."),
    SIGMOIDS: (figures.GREY, ":"),
}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of splits of the digits, initial weights and orders."""
    epochs: int = 60
    """Passes over the training digits."""
    batch_size: int = 32
    """Digits per step."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def splits(seeds: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Training x (seeds, n, 64) and y (seeds, n, 10), and test x and y."""
    x, labels = load_digits()
    y = np.eye(10, dtype=np.float32)[labels]
    keys = jax.random.split(jax.random.key(1), seeds)
    parts = [fnn.data.split(key, (x, y), (0.6, 0.4), stratify=labels) for key in keys]
    train, test = (tuple(np.stack(arrays) for arrays in zip(*part, strict=True)) for part in zip(*parts, strict=True))
    return tuple(array[:, :TRAINED] for array in train), test


def train(network: Layer, loss: Loss, data: tuple[np.ndarray, ...], config: Config) -> RunResult:
    """Train on each split with each rate: leaves (seeds, rates, …)."""
    run = fnn.make_run(
        network,
        loss,
        fnn.sgd,
        tuple(array[0] for array in data),
        epochs=config.epochs,
        batch_size=config.batch_size,
        metrics={"accuracy": fnn.accuracy},
    )
    runs = jax.tree.unflatten(jax.tree.structure(run), data)  # the same program with every split
    keys = jax.random.split(jax.random.key(0), config.seeds)
    over_rates = jax.vmap(lambda run, rate, key: run(rate, key), in_axes=(None, 0, None))
    return jax.vmap(over_rates, in_axes=(0, None, 0))(runs, jnp.asarray(RATES), keys)


def outputs(network: Layer, result: RunResult, x: np.ndarray) -> np.ndarray:
    """The outputs of each trained network for its test digits: (seeds, rates, n, 10)."""
    predict = jax.vmap(jax.vmap(lambda params, x: network.forward(params, x)[0], in_axes=(0, None)))
    return np.asarray(predict(result.params, x))


def over_epochs(axes: "Axes", cost: dict[str, np.ndarray]) -> None:
    """Plot -ln p_y of the training digits, one curve per seed."""
    from matplotlib.ticker import ScalarFormatter

    for name, values in cost.items():
        colour, style = STYLES[name]
        epochs = np.arange(1, values.shape[1] + 1)
        axes.plot(epochs, values.T, color=colour, ls=style, lw=1.4)
    axes.axhline(-np.log(HIGHEST), color=figures.GREY, lw=1.4, ls=":")
    axes.text(
        0.97,
        1.3,
        "lower bound with σ(z)",
        color=figures.GREY,
        ha="right",
        va="top",
        fontsize=10,
        transform=axes.get_yaxis_transform(),
    )
    axes.set(title="Cost", xlabel="epoch", ylabel="$-\\ln p_y$ per training digit", yscale="log", xscale="log")
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2])
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()


def certainty(axes: "Axes", top: dict[str, np.ndarray]) -> None:
    """Plot the distribution of the largest probability of each test digit."""
    for name, values in top.items():
        colour, style = STYLES[name]
        axes.hist(
            values,
            np.arange(0, 1.02, HIGHEST / 12).tolist(),
            histtype="step",
            lw=1.8,
            color=colour,
            ls=style,
            label=name,
        )
    axes.axvline(HIGHEST, color=figures.GREY, lw=1.4, ls=":")
    axes.text(HIGHEST + 0.02, 0.9, "e / (e + 9)", color=figures.GREY, transform=axes.get_xaxis_transform(), fontsize=10)
    axes.set(title="Certainty", xlabel="largest probability", ylabel="test digits, first seed", xlim=(0, 1))


def by_rate(axes: "Axes", accuracy: dict[str, np.ndarray]) -> None:
    """Plot the mean test accuracy over the learning rate."""
    for (name, values), marker in zip(accuracy.items(), "os^D", strict=True):
        colour, style = STYLES[name]
        axes.plot(RATES, values.mean(axis=0), color=colour, ls=style, marker=marker, ms=5, label=name)
    axes.set(title="Accuracy", xlabel="learning rate", ylabel="test accuracy", xscale="log")
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.minorticks_off()


def run(config: Config) -> Outcome:
    """Train the four models on every split with every rate."""
    from matplotlib.figure import Figure

    data, (x, y) = splits(config.seeds)
    results = {name: train(*model, data, config) for name, model in MODELS.items()}
    p = {name: outputs(MODELS[name][0], result, x) for name, result in results.items()}
    right = {name: np.argmax(values, axis=-1) == np.argmax(y, axis=-1)[:, None] for name, values in p.items()}
    accuracy = {name: values.mean(axis=-1) for name, values in right.items()}
    top = {name: p[name][0, COMPARED].max(axis=-1) for name in (RIGHT, PRINTED, DIVIDED)}
    cost = {name: -np.log(np.sum(p[name][:, COMPARED] * y, axis=-1)).mean(axis=-1) for name in top}
    lost = accuracy[RIGHT][:, COMPARED] - accuracy[PRINTED][:, COMPARED]
    lost_at_best = accuracy[RIGHT].max(axis=1) - accuracy[PRINTED].max(axis=1)
    read = np.minimum(accuracy[RIGHT], accuracy[SIGMOIDS])[:, COMPARED]
    criteria = [
        Criterion("softmax of z: -ln p_y, test", cost[RIGHT].tolist(), most=0.2),
        Criterion("test accuracy, softmax of z - of σ(z), learning rate 0.5", lost.tolist(), least=0.008),
        Criterion(
            "test accuracy of the largest of ten outputs, softmax of z and ten sigmoids", read.tolist(), least=0.94
        ),
    ]
    numbers: dict[str, float | list[float]] = {f"{name}: -ln p_y, test": v.tolist() for name, v in cost.items()}
    numbers |= {f"{name}: test accuracy": values[:, COMPARED].tolist() for name, values in accuracy.items()}
    numbers |= {f"{name}: largest probability": float(values.max()) for name, values in top.items()}
    numbers["test accuracy, softmax of z - of σ(z), each at its best rate"] = lost_at_best.tolist()
    numbers["1, -0.9, 0.2 divided by their sum"] = np.asarray(_share(jnp.array([[1.0, -0.9, 0.2]]))[0])[0].tolist()
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, between, last = figure.subplots(1, 3)
    over_epochs(left, {name: np.asarray(results[name].history["cost"])[:, COMPARED] for name in top})
    certainty(between, top)
    by_rate(last, accuracy)
    figure.legend(*last.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    remarks = ["Outputs divided by their sum train as well as softmax of z, because sigmoids are positive."]
    return Outcome(criteria, figure, numbers, remarks)


STUDY = Study("X15", ("C029", "C030", "C031", "C246"), run, quick=Config(seeds=3, epochs=40))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
