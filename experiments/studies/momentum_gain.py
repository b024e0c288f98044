"""Momentum is faster if the cost is ill-conditioned and the learning rate larger.

    python -m experiments momentum_gain

Claim C191, on momentum, is right under two conditions. In the form of the notes,

    V ← β V + (1 - β) dW,    W ← W - α V,

a step is an average of gradients, no longer than a step of plain descent. At the same α it gains little or nothing.
With α up to 1/(1 - β) times as large, on a quadratic ½ Σ λ_i w_i² with κ = λ_max/λ_min, a step shrinks the error by

    (κ - 1)/(κ + 1) for plain descent, α = 2/(λ_min + λ_max);    √β with momentum, for any κ ≤ ((1 + √β)/(1 - √β))²

so β = 0.9 is faster for κ from 38 to 1442, and slower below 38. The study counts the steps until ‖w‖ stays below
10⁻⁶ ‖w₀‖, from random initial points with a part in every direction. Each method uses the learning rate of a grid that
is best on average over the initial points; the grid of plain descent contains the formula's rate, and momentum is run
at that rate as well. The cost of digits, 64-32-10, full batch, is reported too.

Expected results: 247 to 275 steps with momentum at every κ. Plain descent needs 69, 691 and 6908 steps at κ = 10, 100
and 1000 (0.27, 2.7 and 25 to 27 times as many), and in ten dimensions 2.5 to 2.6 times as many at κ = 100. At the rate
of plain descent, momentum needs 3.7 times its steps at κ = 10, as many at 38, three quarters at 100, and 0.95 at 1000.
On digits momentum is slower at α = 0.1. At α = 1 plain descent is as fast, though less smooth: that early in training,
the condition is not met.
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
from fnn.optimizers import apply_updates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BETA = 0.9
KAPPAS = (10, 20, 38, 100, 300, 1000)
TOLERANCE = 1e-6  # relative to the initial distance
NETWORK = fnn.mlp([64, 32, 10])


@dataclass(frozen=True)
class Config:
    seeds: int = 10
    """Number of random initial points."""
    rates: int = 60
    """Learning rates in the grid of each method."""
    steps: int = 8000
    """Maximum number of steps."""
    iterations: int = 100
    """Full-batch steps on digits."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def count(alpha: jax.Array, beta: float, curvatures: jax.Array, start: jax.Array, steps: int) -> jax.Array:
    """Steps after which the distance from the minimum stays below the tolerance; infinite if it does not."""
    optimizer = fnn.momentum(alpha, beta)

    def step(carry: tuple, t: jax.Array) -> tuple[tuple, None]:
        w, state, last = carry
        updates, state = optimizer.update(curvatures * w, state)
        w = apply_updates(w, updates)
        near = jnp.linalg.norm(w) < TOLERANCE * jnp.linalg.norm(start)
        return (w, state, jnp.where(near, last, t)), None

    times = jnp.arange(1.0, steps + 1)
    (_, _, last), _ = jax.lax.scan(step, (start, optimizer.init(start), times[0]), times)
    return jnp.where(last < steps, last + 1, jnp.inf)


def tuned(counts: np.ndarray) -> np.ndarray:
    """Select the rate with the fewest steps on average: (problems, seeds, rates) -> (problems, seeds)."""
    best = np.log(counts).mean(axis=1).argmin(axis=1)
    return np.take_along_axis(counts, best[:, None, None], axis=2)[:, :, 0]


def race(curvatures: jax.Array, starts: jax.Array, config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps (problems, seeds) of plain descent, of momentum, and of momentum at the rate of plain descent.

    The first two use their best rates. Shapes: curvatures (problems, n), starts (problems, seeds, n).
    """
    best = 2 / (curvatures.min(axis=1) + curvatures.max(axis=1))
    stable = 2 * (1 + BETA) / (1 - BETA) / curvatures.max(axis=1)  # above it momentum diverges
    over_rates = jax.vmap(count, in_axes=(0, None, None, None, None))
    over_starts = jax.vmap(over_rates, in_axes=(None, None, None, 0, None))
    counts = jax.jit(jax.vmap(over_starts, in_axes=(0, None, 0, 0, None)), static_argnums=4)
    factors = jnp.geomspace(1 / 50, 1, config.rates)
    plain = counts(best[:, None] * factors[None], 0.0, curvatures, starts, config.steps)
    rates = jnp.concatenate([best[:, None], stable[:, None] * factors[None]], axis=1)
    averaged = counts(rates, BETA, curvatures, starts, config.steps)
    return tuned(np.asarray(plain)), tuned(np.asarray(averaged)), np.asarray(averaged[:, :, 0])


def digits(config: Config) -> dict[str, np.ndarray]:
    """The cost of full-batch training: (seeds, iterations) by optimizer."""
    data = load_digits()
    keys = jax.random.split(jax.random.key(1), config.seeds)
    hypers = {
        "plain, α = 0.1": (0.1, 0.0),
        f"momentum {BETA}, α = 0.1": (0.1, BETA),
        "plain, α = 1": (1.0, 0.0),
        f"momentum {BETA}, α = 1": (1.0, BETA),
    }
    make_optimizer = lambda hyper: fnn.momentum(hyper[0], hyper[1])
    run = fnn.make_run(
        NETWORK, fnn.softmax_cross_entropy, make_optimizer, data, epochs=config.iterations, batch_size=len(data[0])
    )
    stacked = tuple(jnp.asarray(values, jnp.float32) for values in zip(*hypers.values(), strict=True))
    costs = fnn.sweep(run, stacked, keys).history["cost"]
    return dict(zip(hypers, costs, strict=True))


def panel(axes: "Axes", kappas: np.ndarray, counts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Plot the median number of steps over the condition number, and the predictions of the formulas."""
    names = ("plain, best α", f"momentum {BETA}, best α", f"momentum {BETA}, α of plain")
    styles = ((figures.BLUE, "o"), (figures.ORANGE, "s"), (figures.GREY, "x"))
    for name, values, (colour, marker) in zip(names, counts, styles, strict=True):
        axes.plot(kappas, np.median(values, axis=1), color=colour, marker=marker, ms=5, lw=1.4, label=name)
    fine = np.geomspace(kappas.min(), kappas.max(), 100)
    theory = {"color": "black", "ls": ":", "lw": 1.2, "zorder": 1}
    axes.plot(fine, np.log(TOLERANCE) / np.log((fine - 1) / (fine + 1)), label="rates of the formulas", **theory)
    axes.plot(fine, np.full(len(fine), np.log(TOLERANCE) / np.log(np.sqrt(BETA))), **theory)
    axes.set(title="Quadratic in two dimensions", xscale="log", yscale="log")
    axes.set(xlabel="condition number κ", ylabel="steps until the error is 10⁻⁶ of the initial one")
    axes.legend(loc="upper left", fontsize=9.5)


def run(config: Config) -> Outcome:
    """Count steps on quadratics and train on digits."""
    from matplotlib.figure import Figure

    kappas = np.array(KAPPAS, float)
    with jax.enable_x64(True):
        shape = (len(kappas) + 1, config.seeds, 10)
        starts = jax.random.uniform(jax.random.key(0), shape, jnp.float64, 0.5, 1.5)  # a part in every direction
        plane = jnp.stack([jnp.ones(len(kappas)), jnp.asarray(kappas)], axis=1)
        counts = race(plane, starts[:-1, :, :2], config)
        ten = race(jnp.geomspace(1.0, 100.0, 10)[None], starts[-1:], config)
    costs = digits(config)

    gain = {kappa: (counts[0] / counts[1])[i].tolist() for i, kappa in enumerate(KAPPAS)}
    criteria = [
        Criterion("κ = 10: steps, plain / momentum, each tuned", gain[10], most=1.0),
        Criterion("κ = 100: steps, plain / momentum, each tuned", gain[100], least=2.0),
        Criterion("κ = 1000: steps, plain / momentum, each tuned", gain[1000], least=10.0),
        Criterion("ten dimensions, κ = 100: the same ratio", (ten[0] / ten[1])[0].tolist(), least=1.7),
    ]
    numbers = {}
    problems = {f"κ = {kappa}": [values[i] for values in counts] for i, kappa in enumerate(KAPPAS)}
    problems["ten dimensions, κ = 100"] = [values[0] for values in ten]
    for problem, values in problems.items():
        numbers |= {f"{problem}: steps, plain": values[0].tolist(), f"{problem}: steps, momentum": values[1].tolist()}
        numbers |= {f"{problem}: steps, momentum at plain's rate": values[2].tolist()}
    numbers |= {f"digits: cost after {config.iterations} steps, {name}": c[:, -1].tolist() for name, c in costs.items()}

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    panel(left, kappas, counts)
    styles = ((figures.BLUE, "-"), (figures.GREY, ":"), (figures.SKY, "-."), (figures.ORANGE, "--"))
    for (name, values), (colour, dashes) in zip(costs.items(), styles, strict=True):
        right.plot(values.T, color=colour, ls=dashes, lw=1.4, label=[name] + [None] * (len(values) - 1))
    right.set(title="Digits", xlabel="iteration", ylabel="cross-entropy per digit", yscale="log", ylim=(0.02, 3.5))
    right.legend(loc="lower left", fontsize=9.5)
    remark = "Digits: at the same learning rate, 0.1 or 1, momentum is not faster than plain descent (not a criterion)."
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X09", ("C191",), run, quick=Config(seeds=3, rates=20))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
