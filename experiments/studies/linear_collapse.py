"""A deep network without activations is one linear layer: depth adds nothing.

    python -m experiments linear_collapse

Claims C069, C070 and C071, on activations. With g(z) = z,

    a = ((x W₁ + b₁) W₂ + b₂) W₃ + b₃ = x W̃ + b̃,    W̃ = W₁ W₂ W₃,    b̃ = (b₁ W₂ + b₂) W₃ + b₃,

so a network 2-4-4-1 of linear layers with a sigmoid output is logistic regression (with the identity as output:
linear regression). With tanh in its hidden layers its decision boundary can bend. Both networks are trained by
full-batch descent from the same initial weights, on the planar flower and on two moons. Logistic regression, which
finds the best line, is trained as well.

Expected results: the outputs of the linear network are within 1e-14 of x W̃ + b̃, and its accuracy is that of logistic
regression. tanh gains about 0.4 on the flower and 0.1 on the moons.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.generators import moons, planar_flower
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Params, RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (2, 4, 4, 1)
LOSS = fnn.sigmoid_cross_entropy
NETWORKS = {
    "logistic regression": fnn.logistic_regression(2),
    "linear layers": fnn.mlp(SIZES, fnn.identity, w_init=fnn.init.xavier_normal),
    "tanh": fnn.mlp(SIZES, fnn.tanh, w_init=fnn.init.xavier_normal),
}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of initialisations of each network."""
    iterations: int = 3000
    """Full-batch steps of momentum."""
    learning_rate: float = 1.0
    """Learning rate."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def train(network: fnn.Layer, x: jax.Array, y: jax.Array, config: Config) -> RunResult:
    """Train from each seed, in the precision of x: leaves (seeds, …)."""
    keys = jax.random.split(jax.random.key(0), config.seeds)
    starts = jax.tree.map(lambda leaf: leaf.astype(x.dtype), jax.vmap(network.init)(keys))
    optimizer = fnn.momentum(config.learning_rate, beta=0.9)
    run = fnn.make_run(
        network,
        LOSS,
        lambda start: optimizer,
        (x, y),
        epochs=config.iterations,
        batch_size=len(x),
        init=lambda start: start,
    )
    return jax.vmap(run)(starts, keys)


def collapsed(params: Params) -> fnn.Dense:
    """W̃ and b̃ of a chain of linear layers."""
    first, *others = (layer for layer in params if layer)
    w, b = first.w, first.b
    for layer in others:
        w, b = w @ layer.w, b @ layer.w + layer.b
    return fnn.Dense(w, b)


def deviation(params: Params, x: jax.Array) -> jax.Array:
    """The largest |network(x) - (x W̃ + b̃)|."""
    single = collapsed(params)
    logits = fnn.predict(NETWORKS["linear layers"], params, x)
    return jnp.abs(logits - (x @ single.w + single.b)).max()


def panel(axes: "Axes", title: str, lines: dict[str, np.ndarray]) -> None:
    """Plot the accuracy over the iterations, one curve per seed."""
    styles: tuple[dict[str, Any], ...] = (
        {"color": figures.GREY, "ls": "--", "zorder": 3},
        {"color": figures.BLUE},
        {"color": figures.ORANGE},
    )
    for (name, accuracies), style in zip(lines.items(), styles, strict=True):
        axes.plot(accuracies.T, lw=1.6, label=[name] + [None] * (len(accuracies) - 1), **style)
    axes.set(title=title, xlabel="iteration", ylabel="accuracy", ylim=(0.4, 1.02))


def run(config: Config) -> Outcome:
    """Train the three networks on both data sets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    criteria, numbers = [], {}
    sets = {"planar flower": (planar_flower(0), 0.3), "moons": (moons(0), 0.05)}
    with jax.enable_x64(True):
        for axes, (name, (data, gain)) in zip(figure.subplots(1, 2, sharey=True), sets.items(), strict=True):
            x, y = jnp.asarray(data.x, jnp.float64), jnp.asarray(data.y[:, None], jnp.float64)
            results = {network: train(layer, x, y, config) for network, layer in NETWORKS.items()}
            accuracy = {network: np.asarray(result.history["accuracy"]) for network, result in results.items()}
            off = jax.vmap(deviation, in_axes=(0, None))(results["linear layers"].params, x)
            gained = accuracy["tanh"][:, -1] - accuracy["linear layers"][:, -1]
            criteria += [
                Criterion(f"{name}: largest |linear network - (x W̃ + b̃)|", off.tolist(), most=1e-10),
                Criterion(f"{name}: accuracy, tanh - linear layers", gained.tolist(), least=gain),
            ]
            for network, result in results.items():
                numbers[f"{name}: accuracy, {network}"] = accuracy[network][:, -1].tolist()
                numbers[f"{name}: cost, {network}"] = np.asarray(result.history["cost"])[:, -1].tolist()
            panel(axes, name, accuracy)
    figure.axes[1].legend(loc="lower right")
    return Outcome(criteria, figure, numbers)


STUDY = Study("X05", ("C069", "C070", "C071"), run, quick=Config(seeds=3, iterations=2000))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
