"""Units that start equal stay equal: weights must be random, biases need not be.

    python -m experiments symmetry

Claims C150 to C154, on initial parameters. With

    a_l = g(a_{l-1} w_l + b_l),    dz_l = (dz_{l+1} w_{l+1}ᵀ) ∘ g'(z_l),    dw_l = a_{l-1}ᵀ dz_l

for layer l, two units with equal incoming weights, bias and outgoing weights have equal activations and equal
gradients. They stay equal, and a layer of such units is as good as one unit. All three must be equal: if only the
incoming weights are equal (constant or zero) and the outgoing ones random, the gradients differ and the units part.
Equal biases do no harm beside random weights. With tanh and all parameters zero, only the output's bias can change:
a_1 = 0 makes dw_2 = 0, and w_2 = 0 makes dw_1 = 0. Zero outputs are not the reason, however. From zeros, sigmoid has
output ½, and its units stay equal as well.

The data are the planar flower, with its own draw and initial weights for each seed. The networks are 2-4-1 tanh and
2-3-2-1 sigmoid, with a sigmoid output and cross-entropy, full batch. The spread is the largest difference between units
of a layer in their incoming or outgoing parameters.

Expected results: from zeros the cost stays at ln 2 and the accuracy at 0.5. Constant weights give a spread of 0 and an
accuracy at least 0.12 below that of random ones. Equal incoming weights alone, or equal biases, give spreads of 3 to
15.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.generators import planar_flower
from experiments.errors import at_least, positive
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Params, RunResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TANH = fnn.mlp((2, 4, 1), fnn.tanh, w_init=fnn.init.normal(0.5))
SIGMOID = fnn.mlp((2, 3, 2, 1), fnn.sigmoid, w_init=fnn.init.normal(1.0))
CONSTANT, BIAS = 0.3, 0.7
SGD = fnn.sgd(0.0)
STUCK = ("all zero", "all constant")
CASES = (*STUCK, "w₁ constant, w₂ random", "w₁ zero, w₂ random", "w random, biases equal", "all random")


@dataclass(frozen=True)
class Config:
    seeds: int = 6
    """Number of draws of the data and of the random weights."""
    iterations: int = 3000
    """Full-batch steps of gradient descent; the sigmoid network takes a third of them."""
    learning_rate: float = 1.2
    """Learning rate."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def filled(params: Params, value: float) -> Params:
    """The same tree, filled with this value."""
    return jax.tree.map(lambda leaf: np.full_like(leaf, value), params)


def stacked(trees: Iterable[Params]) -> Params:
    """Stack the trees: leaves (n, …)."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def starts(network: fnn.Layer, key: jax.Array) -> Params:
    """Initial parameters of all CASES, leaves (6, …).

    All cases share the random numbers.
    """
    drawn = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), fnn.init_state(network, SGD, key).params)
    first, *rest = drawn
    biased = tuple(layer._replace(b=np.full_like(layer.b, BIAS)) if layer else layer for layer in drawn)
    cases = (
        filled(drawn, 0.0),
        filled(drawn, CONSTANT),
        (filled(first, CONSTANT), *rest),
        (filled(first, 0.0), *rest),
        biased,
        drawn,
    )
    return stacked(cases)


def train(network: fnn.Layer, iterations: int, config: Config) -> RunResult:
    """Train from each initialisation with each seed's data: leaves (seeds, cases, …)."""
    keys = jax.random.split(jax.random.key(0), config.seeds)
    sets = [planar_flower(seed) for seed in range(config.seeds)]
    x, y = (np.stack(arrays).astype(np.float64) for arrays in zip(*sets, strict=True))
    run = fnn.make_run(
        network,
        fnn.sigmoid_cross_entropy,
        lambda start: fnn.sgd(config.learning_rate),
        (x[0], y[0][:, None]),
        epochs=iterations,
        batch_size=x.shape[1],
        init=lambda start: start,
    )
    runs = jax.tree.unflatten(jax.tree.structure(run), (x, y[:, :, None]))  # the same program with each seed's data
    some = jax.vmap(lambda run, start, key: run(start, key), in_axes=(None, 0, None))
    return jax.vmap(some)(runs, stacked(starts(network, key) for key in keys), keys)


def spread(params: Params) -> jax.Array:
    """The largest difference between hidden units of a layer, over incoming and outgoing parameters."""
    layers = [layer for layer in params if layer]
    units = [jnp.concatenate([a.w, a.b[None, :], b.w.T]) for a, b in itertools.pairwise(layers)]
    return jnp.stack([jnp.ptp(unit, axis=1).max() for unit in units]).max()


def first_step(network: fnn.Layer) -> float:
    """The first step from zeros: the largest of |dw₁|, |dw₂| and the differences within dw₃."""
    flower = planar_flower(0)
    x, y = flower.x, flower.y
    params = filled(network.init(jax.random.key(0)), 0.0)
    gradient = fnn.value_and_grad(network, fnn.sigmoid_cross_entropy)
    # 300 points contain one class more often than the other; otherwise dw₃ would be 0 as well
    first, second, third = (layer.w for layer in gradient(params, x[:300], y[:300, None])[1] if layer)
    return max(float(abs(first).max()), float(abs(second).max()), float(jnp.ptp(third)))


def draw(figure: "Figure", costs: np.ndarray, spreads: np.ndarray, accuracies: np.ndarray) -> None:
    """Plot the cost over the iterations, and the final spread and accuracy of each run."""
    left, right = figure.subplots(1, 2)
    colours = (figures.GREY, "black", figures.BLUE, figures.SKY, figures.GREEN, figures.ORANGE)
    dashes = (":", "--", "-.", (0, (1, 1)), (0, (6, 2)), "-")
    styles = zip(CASES, colours, dashes, "xPovs^", costs, spreads, accuracies, strict=True)
    for name, colour, line, marker, cost, spreading, accuracy in styles:
        left.plot(np.arange(1, cost.shape[1] + 1), np.median(cost, axis=0), color=colour, ls=line, label=name)
        right.scatter(spreading, accuracy, color=colour, marker=marker, s=36, label=name)
    left.set(title="2-4-1 tanh, median of the seeds", xlabel="iteration", ylabel="cost", ylim=(0, 0.9), xscale="log")
    right.set(title="After training, each seed", xlabel="spread: largest difference between hidden units")
    right.set(ylabel="accuracy", xlim=(-0.5, None), ylim=(0.45, 1))
    for axes, place in ((left, "lower left"), (right, "center right")):
        axes.legend(loc=place, fontsize=10)


def run(config: Config) -> Outcome:
    """Train both networks from all initialisations."""
    from matplotlib.figure import Figure

    at_least("--iterations", config.iterations, 3)
    positive("--learning-rate", config.learning_rate)
    with jax.enable_x64(True):
        tanh, sigmoid = train(TANH, config.iterations, config), train(SIGMOID, config.iterations // 3, config)
        spreads, others = (np.asarray(jax.vmap(jax.vmap(spread))(net.params)).T for net in (tanh, sigmoid))
        moved = np.max([np.abs(layer.w[:, 0]).max(axis=(1, 2)) for layer in tanh.params if layer], axis=0)
    cost, accuracy = (np.moveaxis(np.asarray(tanh.history[name]), 1, 0) for name in ("cost", "accuracy"))
    final = accuracy[:, :, -1]
    gained = final[CASES.index("all random")] - final[CASES.index("all constant")]
    criteria = [
        Criterion("tanh from zeros: largest weight after training", moved.tolist(), most=0.0),
        Criterion("tanh from zeros: |cost - ln 2|", np.abs(cost[0, :, -1] - np.log(2)).tolist(), most=1e-9),
        Criterion("tanh: accuracy, all random - all constant", gained.tolist(), least=0.12),
        Criterion("sigmoid from zeros: initial dw₁, dw₂, differences within dw₃", [first_step(SIGMOID)], most=0.0),
    ]
    numbers = {}
    for name, own, other, right in zip(CASES, spreads.tolist(), others.tolist(), final.tolist(), strict=True):
        stuck, text = name in STUCK, f"{name}: spread"
        criteria.append(Criterion(f"tanh, {text}", own, most=1e-10) if stuck else Criterion(f"tanh, {text}", own, 1.0))
        if stuck:
            criteria.append(Criterion(f"sigmoid, {text}", other, most=1e-10))
        numbers |= {f"tanh, {name}: accuracy": right, f"sigmoid, {text}": other}
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    draw(figure, cost, spreads, final)
    remark = (
        "Equal incoming weights keep units equal only together with equal outgoing ones. With random w₂ the units part "
        "and reach the same accuracy as from random weights."
    )
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X04", ("C150", "C151", "C152", "C153", "C154"), run, quick=Config(seeds=3, iterations=1500))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
