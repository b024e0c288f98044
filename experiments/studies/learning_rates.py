"""Learning rates: the limit of convergence, decay, and when Adam pays.

    python -m experiments learning_rates

Claims C179, C193, C194, C195 and C239, on gradient descent and its learning rate.

1. On ½ Σ λ_i w_i² with λ = (1, 10), a step multiplies each coordinate by 1 - α λ_i. It shrinks if and only if
   α < 2/λ_i.
2. Digits, 64-32-10, full batch: the cost after 300 steps as a function of the learning rate.
3. Least squares, y = w* x + noise, with a new example at each step. The excess risk ½ ‖w - w*‖² falls at a speed
   proportional to α, down to a floor proportional to α. With a decaying rate α/(1 + t/τ), descent is fast at first and
   accurate later. A constant rate achieves only one of these: the best constant for a given number of steps ends as
   low, but takes many more steps to lose most of its error.
4. Raw wine measurements, whose units differ by factors of a thousand. Adam, which divides each parameter's step by
   the size of its gradients, is compared with gradient descent, each at its best learning rate, on draws of four fifths
   of the set.

Expected results: at α = 0.19 the distance shrinks to 2e-5 of its initial value in 100 steps; at 0.21 it grows by a
factor of 9700. Digits: 0.07 at α = 0.5, 2.3 to 2.4 at 0.001 and 2.2 to 2.3 at 3, where guessing costs ln 10 = 2.30.
Least squares: α = 0.05 ends at an excess risk of 0.09, decay at 0.5 to 1.5 % of that; 0.0005 ends as low as decay, but
needs 40 to 70 times as many steps to lose nine tenths of its risk. Wines: 0.64 to 0.70 for gradient descent at its
best rate, 0.0001 to 0.03 for Adam.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.bundled import load_digits, load_wine
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.optimizers import apply_updates
from fnn.types import Batch, TrainState

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVATURES = (1.0, 10.0)
DIGITS = (0.001, 0.01, 0.1, 0.5, 1.0, 3.0)  # learning rates
FEATURES, TAU = 5, 200
SCHEDULES = {"α = 0.05": (0.05, np.inf), "α = 0.005": (0.005, np.inf), "α = 0.0005": (0.0005, np.inf)} | {
    f"α = 0.05/(1 + t/{TAU})": (0.05, TAU)
}
DECAY = list(SCHEDULES)[-1]


@dataclass(frozen=True)
class Config:
    seeds: int = 8
    """Number of draws of least-squares examples and of wines, and of initialisations for digits."""
    examples: int = 20000
    """Steps of least squares, one example each."""
    iterations: int = 1000
    """Full-batch steps on wines."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def quadratic(alpha: float, steps: int = 100) -> np.ndarray:
    """The distance from the minimum, starting at (1, 1): before each step and after the last."""
    optimizer = fnn.sgd(alpha)

    def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        w, state = carry
        updates, state = optimizer.update(jnp.array(CURVATURES) * w, state)
        w = apply_updates(w, updates)
        return (w, state), jnp.linalg.norm(w)

    w = jnp.ones(2)
    _, norms = jax.lax.scan(step, (w, optimizer.init(w)), None, length=steps)
    return np.append(np.sqrt(2), norms)


def digits(seeds: int) -> np.ndarray:
    """The cost of full-batch training: (rates, seeds, steps)."""
    x, y = load_digits()
    network = fnn.mlp([64, 32, 10])
    run = fnn.make_run(network, fnn.softmax_cross_entropy, fnn.sgd, (x, y), epochs=300, batch_size=len(x))
    return fnn.sweep(run, jnp.array(DIGITS), jax.random.split(jax.random.key(0), seeds)).history["cost"]


def least_squares(key: jax.Array, alpha: jax.Array, tau: jax.Array, examples: int) -> jax.Array:
    """The excess risk before the first step and after each.

    Inputs, noise and w* are standard normal.
    """
    network, optimizer = (
        fnn.dense(FEATURES, 1, w_init=fnn.init.zeros),
        fnn.sgd(lambda t: alpha / (1 + t.astype(tau.dtype) / tau)),
    )
    train = fnn.make_step(network, fnn.squared_error, optimizer)
    keys = jax.random.split(key, 3)
    x, target = jax.random.normal(keys[0], (examples, FEATURES)), jax.random.normal(keys[1], (FEATURES, 1))
    y = x @ target + jax.random.normal(keys[2], (examples, 1))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        state, _ = train(state, batch)
        line = state.params
        return state, 0.5 * (jnp.square(line.w - target).sum() + jnp.square(line.b).sum())

    after = fnn.make_epoch(step, 1)(fnn.init_state(network, optimizer, key), (x, y))[1]
    return jnp.concatenate([0.5 * jnp.square(target).sum()[None], after])


def wines(optimizer: Any, rates: np.ndarray, config: Config) -> np.ndarray:
    """The cost of softmax regression on four fifths of the raw wine measurements: (seeds, rates)."""
    x, y = (jnp.asarray(array) for array in load_wine())
    network = fnn.softmax_regression(x.shape[1], 3)

    def one(alpha: jax.Array, key: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        part = jax.random.permutation(key, len(x))[: len(x) * 4 // 5]
        drawn = (x[part], y[part])
        run = fnn.make_run(
            network, fnn.softmax_cross_entropy, optimizer, drawn, epochs=config.iterations, batch_size=len(part)
        )
        return run(alpha, key).history["cost"][-1]

    over_rates = jax.vmap(one, in_axes=(0, None, None, None))
    over_draws = jax.jit(jax.vmap(over_rates, in_axes=(None, 0, None, None)))
    keys = jax.random.split(jax.random.key(2), config.seeds)
    return np.asarray(over_draws(jnp.asarray(rates, jnp.float32), keys, x, y))


def draw_risks(axes: "Axes", risks: np.ndarray) -> None:
    """Plot the excess risk over the steps, averaged over the draws and over short intervals of steps."""
    styles = ((figures.BLUE, "-"), (figures.SKY, "-."), (figures.GREY, ":"), (figures.ORANGE, "--"))
    edges = np.unique(np.geomspace(1, risks.shape[2], 60).astype(int))
    for label, values, (colour, dashes) in zip(SCHEDULES, risks.mean(axis=1), styles, strict=True):
        means = [part.mean() for part in np.split(values, edges[1:-1])]
        axes.plot(edges[1:], means, color=colour, ls=dashes, label=label)
    axes.set(
        title="Least squares, one example per step", xscale="log", yscale="log", xlabel="step", ylabel="excess risk"
    )


def run(config: Config) -> Outcome:
    """Measure the four cases."""
    from matplotlib.figure import Figure

    norms = {alpha: quadratic(alpha) for alpha in (0.19, 0.21)}
    costs = digits(config.seeds)[:, :, -1]
    at = lambda rate: costs[DIGITS.index(rate)].tolist()

    keys = jax.random.split(jax.random.key(1), config.seeds)
    over_keys = jax.vmap(least_squares, in_axes=(0, None, None, None))
    over_schedules = jax.jit(jax.vmap(over_keys, in_axes=(None, 0, 0, None)), static_argnums=3)
    alphas, taus = (jnp.asarray(values, jnp.float32) for values in zip(*SCHEDULES.values(), strict=True))
    risks = np.asarray(over_schedules(keys, alphas, taus, config.examples))  # (schedules, seeds, steps)
    final = dict(zip(SCHEDULES, risks[:, :, -config.examples // 10 :].mean(axis=2), strict=True))
    steps = dict(zip(SCHEDULES, (risks <= 0.1 * risks[:, :, :1]).argmax(axis=2), strict=True))

    rates = {"gradient descent": np.geomspace(1e-8, 1e-2, 13), "Adam": np.geomspace(1e-4, 1, 13)}
    optimizers = {"gradient descent": fnn.sgd, "Adam": fnn.adam}
    wine = {name: wines(optimizers[name], values, config) for name, values in rates.items()}
    best = {name: np.nanmin(values, axis=1) for name, values in wine.items()}

    criteria = [
        Criterion(
            "quadratic, α = 0.19 < 2/λ_max: distance after 100 steps / before",
            [norms[0.19][-1] / norms[0.19][0]],
            most=1e-3,
        ),
        Criterion("quadratic, α = 0.21 > 2/λ_max: the same ratio", [norms[0.21][-1] / norms[0.21][0]], least=1e3),
        Criterion("digits, α = 0.5: cost after 300 steps", at(0.5), most=0.15),
        Criterion("digits, α = 0.001 and 3: cost after 300 steps", at(0.001) + at(3.0), least=2.0),
        Criterion(
            "least squares: final excess risk, decay / α = 0.05", (final[DECAY] / final["α = 0.05"]).tolist(), most=0.1
        ),
        Criterion(
            "least squares: steps to lose 90 % of the risk, α = 0.0005 / decay",
            (steps["α = 0.0005"] / steps[DECAY]).tolist(),
            least=10.0,
        ),
        Criterion(
            "raw wines: cost, Adam / gradient descent, each at its best rate",
            (best["Adam"] / best["gradient descent"]).tolist(),
            most=0.2,
        ),
    ]
    numbers: dict[str, list[float]] = {f"digits: cost after 300 steps, α = {rate:g}": at(rate) for rate in DIGITS}
    numbers |= {f"least squares: final excess risk, {name}": value.tolist() for name, value in final.items()}
    numbers |= {f"least squares: steps to lose 90 % of the risk, {name}": v.tolist() for name, v in steps.items()}
    numbers |= {f"raw wines: cost, {name} at its best rate": value.tolist() for name, value in best.items()}

    figure = Figure(figsize=(10, 7.6), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    for (alpha, values), (colour, dashes) in zip(
        norms.items(), ((figures.BLUE, "-"), (figures.ORANGE, "--")), strict=True
    ):
        first.plot(values, color=colour, ls=dashes, label=f"α = {alpha}")
    first.set(title="Quadratic, λ = 1 and 10", xlabel="step", ylabel="distance from the minimum", yscale="log")
    second.plot(DIGITS, costs, "o-", color=figures.BLUE, ms=4, lw=1, label=["each seed"] + [None] * (config.seeds - 1))
    second.axhline(np.log(10), color=figures.GREY, ls=":", label="guessing, ln 10")
    second.set(
        title="Digits, full batch", xscale="log", yscale="log", xlabel="learning rate", ylabel="cost after 300 steps"
    )
    draw_risks(third, risks)
    for (name, values), (colour, dashes) in zip(
        wine.items(), ((figures.BLUE, "o-"), (figures.ORANGE, "s--")), strict=True
    ):
        fourth.plot(rates[name], np.median(values, axis=0), dashes, color=colour, ms=4, lw=1.4, label=name)
    fourth.set(title="Wines as measured", xscale="log", yscale="log", xlabel="learning rate", ylim=(None, 30))
    fourth.set_ylabel(f"cost after {config.iterations} steps")
    for axes in (first, second, third, fourth):
        axes.legend(fontsize=9.5)
    return Outcome(criteria, figure, numbers)


STUDY = Study("X24", ("C179", "C193", "C194", "C195", "C239"), run, quick=Config(seeds=4))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
