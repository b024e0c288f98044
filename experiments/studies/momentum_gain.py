"""Momentum is faster where the cost is ill-conditioned, and only with a larger learning rate than plain descent takes.

    python -m experiments momentum_gain

Claim C191 (documents 000 and 002, on momentum), true under two conditions. In the form of the notes,

    V ← β V + (1 - β) dW,    W ← W - α V,

a step is an average of gradients, no longer than a step of plain descent: at the same α little or nothing is gained.
With an α of up to 1/(1 - β) times as much, on a quadratic ½ Σ λ_i w_i² with κ = λ_max/λ_min, the error shrinks by

    (κ - 1)/(κ + 1) a step, plain, α = 2/(λ_min + λ_max);    √β a step, with momentum, at any κ ≤ ((1 + √β)/(1 - √β))²

so that β = 0.9 pays from κ = 38 on (to 1442), and costs below. Steps until ‖w‖ stays below 10⁻⁶ ‖w₀‖ are counted, from
random starts with a part in every direction, for each method at the learning rate of a grid that is best on average
over the starts (that of the formula is in plain descent's grid), and with momentum at the formula's too. Then the cost
of digits, 64-32-10, full batch.

To expect: with momentum 247 to 275 steps at every κ; plain, 69, 691 and 6908 at κ = 10, 100 and 1000 (0.27, 2.7 and 25
to 27 times as many), in ten dimensions 2.5 to 2.6 times as many at κ = 100. At plain descent's rate momentum needs 3.7
times its steps at κ = 10, as many at 38, three quarters at 100, and 0.95 at 1000. On digits it is behind at α = 0.1,
and at α = 1 plain descent is as fast, if less smooth: that early in training the condition is not met.
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
TOLERANCE = 1e-6  # of the start's distance
NETWORK = fnn.mlp([64, 32, 10])


@dataclass(frozen=True)
class Config:
    seeds: int = 10
    """Random starts."""
    rates: int = 60
    """Learning rates in each method's grid."""
    steps: int = 8000
    """Steps at most."""
    iterations: int = 100
    """Steps on digits, full batch."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder in it."""


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
    """(problems, seeds) of (problems, seeds, rates): at the rate of the fewest steps on average over the starts."""
    best = np.log(counts).mean(axis=1).argmin(axis=1)
    return np.take_along_axis(counts, best[:, None, None], axis=2)[:, :, 0]


def race(curvatures: jax.Array, starts: jax.Array, config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps (problems, seeds) of plain descent, of momentum, both at their best rate, of momentum at the plain one's.

    curvatures (problems, n), starts (problems, seeds, n)
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
    """The cost (seeds, iterations) of full-batch training, by optimizer."""
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
    """Steps needed, over the condition number, of every start, with what the formulas say."""
    names = ("plain, best α", f"momentum {BETA}, best α", f"momentum {BETA}, α of plain")
    looks = ((figures.BLUE, "o"), (figures.ORANGE, "s"), (figures.GREY, "x"))
    for name, values, (colour, marker) in zip(names, counts, looks, strict=True):
        axes.plot(kappas, np.median(values, axis=1), color=colour, marker=marker, ms=5, lw=1.4, label=name)
    fine = np.geomspace(kappas.min(), kappas.max(), 100)
    theory = {"color": "black", "ls": ":", "lw": 1.2, "zorder": 1}
    axes.plot(fine, np.log(TOLERANCE) / np.log((fine - 1) / (fine + 1)), label="rates of the formulas", **theory)
    axes.plot(fine, np.full(len(fine), np.log(TOLERANCE) / np.log(np.sqrt(BETA))), **theory)
    axes.set(title="Quadratic in two dimensions", xscale="log", yscale="log")
    axes.set(xlabel="condition number κ", ylabel="steps until the error is 10⁻⁶ of the first")
    axes.legend(loc="upper left", fontsize=9.5)


def run(config: Config) -> Outcome:
    """Counts steps on quadratics, and trains on digits."""
    from matplotlib.figure import Figure

    kappas = np.array(KAPPAS, float)
    with jax.enable_x64(True):
        shape = (len(kappas) + 1, config.seeds, 10)
        starts = jax.random.uniform(jax.random.key(0), shape, jnp.float64, 0.5, 1.5)  # every direction takes part
        plane = jnp.stack([jnp.ones(len(kappas)), jnp.asarray(kappas)], axis=1)
        counts = race(plane, starts[:-1, :, :2], config)
        ten = race(jnp.geomspace(1.0, 100.0, 10)[None], starts[-1:], config)
    costs = digits(config)

    gain = {kappa: (counts[0] / counts[1])[i].tolist() for i, kappa in enumerate(KAPPAS)}
    criteria = [
        Criterion("κ = 10: steps, plain / momentum, each tuned", gain[10], most=1.0),
        Criterion("κ = 100: the same", gain[100], least=2.0),
        Criterion("κ = 1000: the same", gain[1000], least=10.0),
        Criterion("ten dimensions, κ = 100: the same", (ten[0] / ten[1])[0].tolist(), least=1.7),
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
    looks = ((figures.BLUE, "-"), (figures.GREY, ":"), (figures.SKY, "-."), (figures.ORANGE, "--"))
    for (name, values), (colour, dashes) in zip(costs.items(), looks, strict=True):
        right.plot(values.T, color=colour, ls=dashes, lw=1.4, label=[name] + [None] * (len(values) - 1))
    right.set(title="Digits", xlabel="iteration", ylabel="cross-entropy per digit", yscale="log", ylim=(0.02, 3.5))
    right.legend(loc="lower left", fontsize=9.5)
    remark = (
        "Digits: at the same learning rate momentum is not ahead of plain descent, at 0.1 nor at 1 (reported only)."
    )
    return Outcome(criteria, figure, numbers, [remark])


STUDY = Study("X09", ("C191",), run, quick=Config(seeds=3, rates=20))


def main(config: Config) -> None:
    """Runs it and reports."""
    study.main(STUDY, config)
