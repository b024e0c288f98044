"""Zero-centred outputs alone do not speed up training; larger rates do.

    python -m experiments zero_centring

Claim C084: the outputs of sigmoid, all positive, slow training down; those of tanh do not. However,
tanh(z) = 2σ(2z) - 1 also has four times the slope. To separate the two effects, σ is compared with σ - 1/2. Both have
the same slope everywhere and the same initial weights, in networks of 1 and 2 hidden layers that learn to read digits
with full batches, until J < 0.1.

The claim is right under a condition: at a rate that suits both there is no difference. If the rate is tuned for each,
σ - 1/2 takes larger steps and is faster, more so with more layers.

Expected results, as iterations of σ / iterations of σ - 1/2: 0.98 to 1.04 at rate 0.5; with tuned rates 1.2 to 1.4
with one hidden layer and 1.35 to 1.8 with two.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.studies.activation_speed import costs, reached
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATES = (0.5, 1.0, 2.0, 4.0, 6.0)
SAME = RATES[0]
THRESHOLD = 0.1


def centred(z: jax.Array) -> jax.Array:
    """σ(z) - 1/2"""
    return jax.nn.sigmoid(z) - 0.5


def slope(z: jax.Array) -> jax.Array:
    """σ(z) (1 - σ(z))"""
    return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)


KINDS = {"σ": fnn.sigmoid, "σ - 1/2": fnn.elementwise(centred, slope)}


@dataclass(frozen=True)
class Config:
    seeds: int = 6
    """Number of initialisations of each network."""
    examples: int = 1000
    """Number of training digits."""
    iterations: int = 1500
    """Steps of gradient descent of each run."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def panel(axes: "Axes", title: str, needed: dict[str, np.ndarray]) -> None:
    """Plot iterations over the rate: the median of the seeds and the range."""
    for (name, n), style, colour in zip(needed.items(), ("o-", "s--"), (figures.BLUE, figures.ORANGE), strict=True):
        shown = np.where(np.isfinite(n), n, np.nan)
        axes.plot(RATES, np.median(shown, axis=1), style, color=colour, label=name)
        axes.fill_between(RATES, shown.min(axis=1), shown.max(axis=1), color=colour, alpha=0.2, lw=0)
    axes.set(title=title, xlabel="learning rate", ylabel=f"iterations to J < {THRESHOLD}", xscale="log", yscale="log")
    axes.set_xticks(RATES, labels=[f"{rate:g}" for rate in RATES])
    axes.set_yticks([50, 100, 200, 500, 1000], labels=["50", "100", "200", "500", "1000"])
    axes.tick_params(which="minor", length=0, labelleft=False, labelbottom=False)


def run(config: Config) -> Outcome:
    """Train both activations in 1 and 2 hidden layers at each rate; measure their mean outputs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    z = jax.random.normal(jax.random.key(0), (100_000,))
    numbers = {f"mean output for N(0, 1), {name}": float(jnp.mean(g.forward((), z)[0])) for name, g in KINDS.items()}
    numbers["mean output for N(0, 1), tanh"] = float(jnp.mean(jnp.tanh(z)))
    criteria = []
    for depth, axes in zip((1, 2), figure.subplots(1, 2, sharey=True), strict=True):
        needed = {
            name: reached(costs(g, depth, RATES, (1.0,), config.iterations, config)[:, 0], THRESHOLD)
            for name, g in KINDS.items()
        }
        same = needed["σ"][0] / needed["σ - 1/2"][0]
        tuned = needed["σ"].min(axis=0) / needed["σ - 1/2"].min(axis=0)
        text = "iterations, σ / σ - 1/2"
        criteria.append(Criterion(f"{depth} hidden, rate {SAME}: {text}", same.tolist(), most=1.05))
        if depth == 2:
            criteria.append(Criterion(f"{depth} hidden, best rates: {text}", tuned.tolist(), least=1.25))
        numbers[f"{depth} hidden, best rates: {text}"] = tuned.tolist()
        for name, n in needed.items():
            numbers[f"{depth} hidden, {name}: iterations at rate {SAME}"] = n[0].tolist()
            numbers[f"{depth} hidden, {name}: iterations at the best rate"] = n.min(axis=0).tolist()
        panel(axes, f"{depth} hidden layer{'s' * (depth - 1)}", needed)
    figure.axes[0].legend(loc="lower left")
    remark = "The remaining gain of tanh over σ at the same rate is due to its slope, four times that of σ."
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X21", ("C084",), run, quick=Config(seeds=3, examples=400))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
