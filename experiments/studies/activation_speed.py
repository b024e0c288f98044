"""ReLU and tanh train faster than sigmoid, most of all in deep networks.

    python -m experiments activation_speed

Claims C083, C088 and C096 on activations, C101 and C254 on what made deep learning work, and C164 on initial weights
for sigmoid. Networks 64-30-…-30-10 with 1, 2 and 4 hidden layers learn to read digits by full-batch descent,
W := W - α dW. The measure is the number of iterations until J < 0.1 (with 4 hidden layers: J < 0.2). The slope of σ
is at most 1/4, that of tanh and ReLU at most 1. With the same α for all, every sigmoid layer costs a factor.

The learning rate is a condition of the claims. If α is tuned for each activation, among factors of two, one hidden
layer of sigmoids is nearly as fast as the others. The remaining gain is one of depth. Sigmoid hidden layers do
train, but slowly. Initial weights are N(0, 1/n) for tanh and N(0, 2/n) for ReLU. For sigmoid both are tried and the
better one counts. That is N(0, 2/n), as the notes say, although this rule is ReLU's: with four layers it takes half
to three quarters of the iterations.

Expected results: at α = 0.5, sigmoid needs 4 to 6 times the iterations of tanh and ReLU with one hidden layer, and
more with two. With tuned α it needs 1.1 to 1.7 times as many with one hidden layer and 3.4 to 10 times with four,
where at α = 0.5 it does not reach J < 0.2 in 900 iterations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAME = 0.5  # the learning rate used with every activation
DEEP = 4


class Kind(NamedTuple):
    """An activation, gains of its initial weights N(0, gain/n), candidate rates, number of iterations."""

    g: Layer
    gains: tuple[float, ...]
    rates: tuple[float, ...]
    iterations: int


KINDS = {
    "sigmoid": Kind(fnn.sigmoid, (1.0, 2.0), (0.5, 1.0, 2.0, 4.0, 8.0), 900),
    "tanh": Kind(fnn.tanh, (1.0,), (0.125, 0.25, 0.5, 1.0, 2.0), 250),
    "ReLU": Kind(fnn.relu, (2.0,), (0.125, 0.25, 0.5, 1.0, 2.0), 250),
}


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of initialisations of each network."""
    examples: int = 1000
    """Number of training digits."""
    shallow: tuple[int, ...] = (1, 2)
    """Numbers of hidden layers at which the activations are compared at the same rate."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def digits(examples: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `examples` digits of the data set of 13 writers."""
    x, y = load_digits()
    return x[:examples], y[:examples]


def costs(
    g: Layer, depth: int, rates: Sequence[float], gains: Sequence[float], iterations: int, config: Any
) -> np.ndarray:
    """J at each iteration: (rates, gains, seeds, iterations).

    Gains scale the same weights of each seed.
    """
    network = fnn.mlp((64, *[30] * depth, 10), g, w_init=fnn.init.lecun_normal)
    x, y = digits(config.examples)
    starts = jax.vmap(network.init)(jax.random.split(jax.random.key(0), config.seeds))
    shape = len(rates), len(gains), config.seeds
    rate, gain, seed = (
        jnp.asarray(axis.ravel()) for axis in np.meshgrid(rates, gains, range(config.seeds), indexing="ij")
    )
    scale = jnp.sqrt(gain).astype(jnp.float32)
    chosen = jax.tree.map(lambda leaf: leaf[seed] * scale.reshape(-1, *[1] * (leaf.ndim - 1)), starts)  # biases are 0
    run = fnn.make_run(
        network,
        fnn.softmax_cross_entropy,
        lambda hyper: fnn.sgd(hyper[0]),
        (x, y),
        epochs=iterations,
        batch_size=len(x),
        init=lambda hyper: hyper[1],
        metrics={},
    )
    history = fnn.sweep(run, (rate.astype(jnp.float32), chosen), jax.random.key(0)).history
    return history["cost"].reshape(*shape, iterations)


def reached(cost: np.ndarray, threshold: float) -> np.ndarray:
    """Iterations along the last axis until J falls below the threshold; infinite if it never does."""
    below = cost < threshold
    return np.where(below.any(axis=-1), below.argmax(axis=-1) + 1.0, np.inf)


def times_slower(needed: dict[str, np.ndarray], other: str) -> list[float]:
    """Ratio of iterations, sigmoid / other, per seed.

    A lower bound where sigmoid never reaches the threshold.
    """
    slow = np.minimum(needed["sigmoid"], KINDS["sigmoid"].iterations)
    return (slow / needed[other]).tolist()


def panel(axes: "Axes", title: str, curves: dict[str, np.ndarray], threshold: float) -> None:
    """Plot J over the iterations, one curve per seed."""
    styles = (("-", figures.BLUE), ("--", figures.GREEN), ("-.", figures.ORANGE))
    for (name, values), (style, colour) in zip(curves.items(), styles, strict=True):
        axes.plot(values.T, style, color=colour, lw=1.4, label=[name] + [None] * (len(values) - 1))
    axes.axhline(threshold, color=figures.GREY, ls=":", lw=1.2)
    place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "fontsize": 10}
    axes.text(0.98, threshold, f"J = {threshold}", color=figures.GREY, **place)
    axes.set(title=title, xlabel="iteration", ylabel="cost J", yscale="log", ylim=(0.05, 4))
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2], labels=["0.1", "0.2", "0.5", "1", "2"])
    axes.tick_params(axis="y", which="minor", labelleft=False, length=0)


def run(config: Config) -> Outcome:
    """Train each activation at each depth with each rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    criteria, numbers = [], {}
    for depth in (*config.shallow, DEEP):
        threshold, layers = (0.1 if depth < DEEP else 0.2), f"{depth} hidden"
        trained = {
            name: costs(kind.g, depth, kind.rates, kind.gains, kind.iterations, config) for name, kind in KINDS.items()
        }
        needed = {name: reached(cost, threshold) for name, cost in trained.items()}
        same = {name: n[KINDS[name].rates.index(SAME)].min(axis=0) for name, n in needed.items()}
        best = {name: n.min(axis=(0, 1)) for name, n in needed.items()}
        for name in KINDS:
            numbers[f"{layers}: iterations to J < {threshold}, {name}, rate {SAME}"] = same[name].tolist()
            numbers[f"{layers}: iterations to J < {threshold}, {name}, best rate"] = best[name].tolist()
        for other in ("tanh", "ReLU"):
            text = f"iterations, sigmoid / {other}"
            if depth < DEEP:
                criteria.append(Criterion(f"{layers}, rate {SAME}: {text}", times_slower(same, other), least=3))
                numbers[f"{layers}, best rates: {text}"] = times_slower(best, other)
            else:
                criteria.append(Criterion(f"{layers}, best rates: {text}", times_slower(best, other), least=2))
        if depth == DEEP:
            narrow, wide = np.minimum(needed["sigmoid"].min(axis=0), KINDS["sigmoid"].iterations)
            text = f"{layers}, sigmoid, best rates: iterations from N(0, 1/n) / from N(0, 2/n)"
            criteria.append(Criterion(text, (narrow / wide).tolist(), least=1.2))
        if depth == config.shallow[0]:
            curves = {name: cost[KINDS[name].rates.index(SAME), 0] for name, cost in trained.items()}
            panel(axes[0], f"{layers} layer, all at rate {SAME}", curves, threshold)
        if depth == DEEP:
            order = {name: np.unravel_index(n.mean(axis=-1).argmin(), n.shape[:2]) for name, n in needed.items()}
            panel(
                axes[1], f"{layers} layers, each at its best rate", {k: trained[k][order[k]] for k in KINDS}, threshold
            )
    axes[1].legend(loc="upper right")
    remark = (
        f"With one hidden layer, most of the gain is due to the common rate {SAME}: with tuned rates little is left."
    )
    return Outcome(criteria, figure, numbers, [remark])


CLAIMS = ("C083", "C088", "C096", "C101", "C164", "C254")
STUDY = Study("X20", CLAIMS, run, quick=Config(seeds=3, examples=400, shallow=(1,)))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
