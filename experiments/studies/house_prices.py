"""House prices: one ReLU neuron fits a kink, and a network finds hidden factors.

    python -m experiments house_prices

Claims C038, C043, C044, C241, C242 and C266.

1. Price from size, y = max(1.5 x - 2, 0) + noise. A fitted line becomes negative; one neuron max(a x + b, 0)
   does not. The neuron starts at that line. From random weights some neurons die, with output 0 everywhere.
2. Price from size, bedrooms, zip code and wealth. The price depends on three factors (family size, walkability,
   school quality) that the network never sees. A 4-3-1 ReLU network, the best of five initialisations by
   training cost, is compared with a linear fit to the features and one to the true factors.
3. A 4-8-1 network learns from 10 to 1400 houses. The median over its initialisations counts. For ten houses,
   the mean over five groups of ten counts.

Every seed draws its own houses. Errors and R² in parts 2 and 3 are measured on 600 other houses.

Expected results: the squared error of the neuron is 0.11 to 0.14 times that of the line, which falls to -0.8 or less.
Half of the random initialisations of the neuron die. R² is 0.97 to 0.99 for the 4-3-1 network and 0.71 to 0.74 for the
line, and for 4-8-1 0.55 to 0.65 after 10 houses and 0.99 after 1400.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.data.prices import OFFSET, SLOPE, houses, prices_by_size
from experiments.least_squares import fit_linear, predict_linear, r_squared
from experiments.studies.shared import study
from experiments.studies.shared.study import Criterion, Outcome, Study
from fnn.types import Layer, Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINED, TESTED = 1400, 600
FEWER = (10, 30, 100)
GROUPS = 5  # groups of ten houses
TRIES = 5  # initialisations of the 4-3-1 network, of which the best counts
NEURON = fnn.serial(fnn.dense(1, 1), fnn.relu)


def network(width: int | jax.Array) -> Layer:
    """4-width-1 with ReLU, embedded in 4-8-1, so that all widths share one program."""
    return fnn.masked_mlp((4, 8, 1), (width,))


@dataclass(frozen=True)
class Config:
    seeds: int = 5
    """Number of draws of the houses."""
    starts: int = 10
    """Number of initialisations of the networks for each draw."""
    iterations: int = 2000
    """Full-batch steps of Adam."""
    results: Path = Path("results")
    """Folder for the results; the study creates its own subfolder."""


def neurons(x: np.ndarray, y: np.ndarray, fits: np.ndarray) -> tuple[Params, np.ndarray]:
    """The neuron after descent from each draw's line, and the share of 20 random initialisations that die."""
    starts = jax.vmap(NEURON.init)(jax.random.split(jax.random.key(0), 20))
    lines = (fnn.Dense(jnp.asarray(fits[:, :1]), jnp.asarray(fits[:, 1])), ())
    inits = jax.tree.map(
        lambda fit, random: np.concatenate([fit[:, None], np.broadcast_to(random, (len(x), *random.shape))], axis=1),
        lines,
        starts,
    )
    optimizer = fnn.sgd(0.1)
    run = fnn.make_run(
        NEURON,
        fnn.squared_error,
        lambda start: optimizer,
        (x[0], y[0]),
        epochs=1000,
        batch_size=x.shape[1],
        init=lambda start: start,
    )
    runs = jax.tree.unflatten(jax.tree.structure(run), [x, y])
    every = jax.vmap(jax.vmap(lambda run, start: run(start, jax.random.key(0)), in_axes=(None, 0)))
    trained = every(runs, inits).params[0]
    w, b = trained.w, trained.b
    died = np.mean(np.asarray(w)[:, 1:, 0] * x.max(axis=1)[:, None] + np.asarray(b)[:, 1:] <= 0, axis=1)[:, 0]
    return (fnn.Dense(w[:, 0], b[:, 0]), ()), died


def train(
    x: np.ndarray, y: np.ndarray, widths: tuple[int, ...], weights: np.ndarray, config: Config
) -> tuple[Params, np.ndarray]:
    """Train networks of k widths from each initialisation.

    The houses are x (seeds, m, 4), with example weights (k, m). Returns parameters and costs: (seeds, k, starts, …).
    """
    optimizer, data = fnn.adam(0.02), (x[0], y[0], weights[0])
    epochs, m = config.iterations, x.shape[1]
    run = fnn.make_run(network, fnn.squared_error, lambda width: optimizer, data, epochs=epochs, batch_size=m)
    whole = jax.tree.structure(run)
    one = lambda x, y, width, weight, key: jax.tree.unflatten(whole, [x, y, weight])(width, key)
    over_starts = jax.vmap(one, in_axes=(None, None, None, None, 0))
    over_widths = jax.vmap(over_starts, in_axes=(None, None, 0, 0, None))
    keys = jax.random.split(jax.random.key(1), (len(x), config.starts))
    over_draws = jax.vmap(over_widths, in_axes=(0, 0, None, None, 0))
    trained = over_draws(x, y, jnp.asarray(widths), weights, keys)
    return trained.params, np.asarray(trained.history["cost"])[..., -1]


def tested(params: Params, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """R² of each network on the test houses of its draw: (seeds, k, starts)."""
    whole = network(8)  # the units that a narrower network does not use stay 0
    one = lambda params, x: whole.forward(params, x)[0]
    over_runs = jax.vmap(jax.vmap(one, in_axes=(0, None)), in_axes=(0, None))
    return r_squared(np.asarray(jax.jit(jax.vmap(over_runs))(params, x)), y[:, None, None])


def by_size(axes: "Axes", x: np.ndarray, y: np.ndarray, fit: np.ndarray, neuron: Params) -> None:
    """Plot price over size with the line and the neuron."""
    at = np.linspace(0, x.max(), 200, dtype=np.float32)[:, None]
    axes.scatter(x, y, s=8, color=figures.GREY, alpha=0.6, linewidths=0, rasterized=True)
    axes.plot(at, predict_linear(fit, at), color=figures.ORANGE, ls="--", label="line")
    axes.plot(at, NEURON.forward(neuron, jnp.asarray(at))[0], color=figures.BLUE, label="max(a x + b, 0)")
    axes.axhline(0, color="black", lw=0.8)
    axes.set(title="One neuron", xlabel="size", ylabel="price")
    axes.legend(loc="upper left")


def by_model(axes: "Axes", shares: dict[str, np.ndarray]) -> None:
    """Plot R² of each model, a dot per run."""
    styles = zip(shares.items(), (figures.ORANGE, figures.SKY, figures.BLUE, figures.GREEN), "s.o^", strict=True)
    for i, ((_, values), colour, marker) in enumerate(styles):
        at = i + np.linspace(-0.2, 0.2, values.size)
        axes.plot(at, values.ravel(), marker, color=colour, ms=5, alpha=0.8)
    axes.set_xticks(range(len(shares)), list(shares), fontsize=10)
    axes.set(
        title="Factors found",
        ylabel="R² on 600 test houses",
        ylim=(min(0.7, shares["4-3-1,\nall"].min() - 0.02), 1.01),
    )


def by_amount(axes: "Axes", medians: np.ndarray) -> None:
    """Plot R² over the number of houses, a line per draw."""
    amounts = (*FEWER, TRAINED)
    axes.plot(amounts, medians.T, color=figures.BLUE, marker="o", ms=4, lw=1.2)
    axes.set(title="More houses, 4-8-1", xlabel="training houses", ylabel="R² on 600 test houses", xscale="log")
    axes.set_xticks(amounts, [str(n) for n in amounts])
    axes.minorticks_off()
    axes.set_ylim(max(-1.0, medians.min() - 0.05), 1.03)


def run(config: Config) -> Outcome:
    """Run the three parts for every draw."""
    from matplotlib.figure import Figure

    x, y = (np.stack(arrays) for arrays in zip(*(prices_by_size(seed) for seed in range(config.seeds)), strict=True))
    fits = np.stack([fit_linear(*draw) for draw in zip(x, y, strict=True)])
    neuron, died = neurons(x, y, fits)
    with_line = np.stack([predict_linear(fit, sizes) for fit, sizes in zip(fits, x, strict=True)])
    kinked = np.asarray(jax.vmap(lambda params, x: NEURON.forward(params, x)[0])(neuron, x))
    error = {
        name: np.mean((values - y) ** 2, axis=(1, 2))
        for name, values in (("line", with_line), ("clipped", np.maximum(with_line, 0)), ("neuron", kinked))
    }
    off = np.maximum(np.abs(neuron[0].w[:, 0, 0] - SLOPE), np.abs(neuron[0].b[:, 0] - OFFSET))

    draws = [houses(seed, TRAINED + TESTED) for seed in range(config.seeds)]
    features, price, factors = (np.stack(arrays) for arrays in zip(*draws, strict=True))
    cut = lambda array: (array[:, :TRAINED], array[:, TRAINED:])
    (x_train, x_test), (y_train, y_test), (f_train, f_test) = cut(features), cut(price), cut(factors)
    by_line = lambda train, test: np.array(
        [
            r_squared(predict_linear(fit_linear(a, b), c), d)
            for a, b, c, d in zip(train, y_train, test, y_test, strict=True)
        ]
    )
    most, costs = train(x_train, y_train, (3, 8), np.ones((2, TRAINED), np.float32), config)
    at = np.arange(max(FEWER))
    tens = [at // FEWER[0] == group for group in range(GROUPS)]
    some = np.stack([*tens, *(at < n for n in FEWER[1:])]).astype(np.float32)
    fewer, _ = train(x_train[:, : max(FEWER)], y_train[:, : max(FEWER)], (8,) * len(some), some, config)
    of_most = tested(most, x_test, y_test)
    chosen, all_three = np.argmin(costs[:, 0, :TRIES], axis=1), of_most[:, 0]
    best = all_three[np.arange(config.seeds), chosen]
    linear, ideal = by_line(x_train, x_test), by_line(f_train, f_test)
    of_fewer = np.median(tested(fewer, x_test, y_test), axis=2)
    ten = of_fewer[:, :GROUPS].mean(axis=1, keepdims=True)
    medians = np.concatenate([ten, of_fewer[:, GROUPS:], np.median(of_most[:, 1:], axis=2)], axis=1)

    gained = medians[:, -1] - medians[:, 0]
    criteria = [
        Criterion("squared error, neuron / line", (error["neuron"] / error["line"]).tolist(), most=0.5),
        Criterion(
            "squared error, neuron / line clipped at 0", (error["neuron"] / error["clipped"]).tolist(), most=0.35
        ),
        Criterion("lowest price on the line", with_line.min(axis=(1, 2)).tolist(), most=-0.4),
        Criterion("larger deviation of a and b from 1.5 and -2", off.tolist(), most=0.15),
        Criterion(f"R², 4-3-1, best of {TRIES} initialisations by training cost", best.tolist(), least=0.95),
        Criterion("R², 4-3-1 - line through the features", (best - linear).tolist(), least=0.1),
        Criterion("R², 4-8-1, 1400 houses", medians[:, -1].tolist(), least=0.97),
        Criterion(f"R², 4-8-1, 1400 houses - 10 houses, mean of {GROUPS} groups of ten", gained.tolist(), least=0.3),
    ]
    numbers: dict[str, float | list[float]] = {f"squared error, {name}": v.tolist() for name, v in error.items()}
    numbers["share of random initialisations of the neuron that died"] = died.tolist()
    numbers["R², line through the features"] = linear.tolist()
    numbers["R², line through the true factors"] = ideal.tolist()
    numbers["R², 4-3-1, worst initialisation"] = all_three.min(axis=1).tolist()
    numbers |= {f"R², 4-8-1, {n} houses": medians[:, i].tolist() for i, n in enumerate((*FEWER, TRAINED))}
    numbers["|correlation| of each factor with its nearest hidden unit, first draw"] = found(
        most, chosen[0], x_test[0], f_test[0]
    )
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, between, right = figure.subplots(1, 3)
    by_size(left, x[0], y[0], fits[0], jax.tree.map(lambda leaf: leaf[0], neuron))
    by_model(between, {"line": linear, "4-3-1,\nall": all_three, "4-3-1,\nbest": best, "line, true\nfactors": ideal})
    by_amount(right, medians)
    return Outcome(criteria, figure, numbers, REMARKS)


def found(params: Params, start: int, x: np.ndarray, factors: np.ndarray) -> list[float]:
    """For each factor, the largest |correlation| with a hidden unit of the first draw's network."""
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[0, 0, start], params)[0]
    hidden = np.maximum(x @ first.w + first.b, 0)
    live = hidden[:, hidden.std(axis=0) > 0]
    return [max(abs(float(np.corrcoef(unit, factor)[0, 1])) for unit in live.T) for factor in factors.T]


REMARKS = [
    "A 4-3-1 network may lose a unit, and a factor with it, so the initialisation with the best training cost counts.",
    "The result of 10 houses depends on which they are, so several groups are averaged: single ones gave 0.55 to 0.70.",
]
STUDY = Study("X16", ("C038", "C043", "C044", "C241", "C242", "C266"), run, quick=Config(seeds=3, iterations=1000))


def main(config: Config) -> None:
    """Run the study and report its results."""
    study.main(STUDY, config)
