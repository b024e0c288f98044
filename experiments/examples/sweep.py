"""A sweep: 384 trainings as one program, over learning rate, L2 and seed.

    python -m experiments sweep

A network of 32 hidden units is trained on the 8x8 scans that come with
scikit-learn, for every combination of learning rate, L2 strength and seed. A seed
draws the initial weights and the order of the examples. The pairs of learning rate
and L2 strength are ranked by their mean validation cost over the seeds, and the
best pair is tested once. With this pair, 36 networks with hidden layers of 1 to 64
units are trained, also as one program, by masking units.

To expect: the best learning rate near 0.4, with test accuracy 0.97. Above a
learning rate near 1, trainings fail: they end no better than guessing. Accuracy
grows with the width up to about 12 units.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import STARTED, figures, reports
from experiments.errors import ExperimentError, at_least, needs, positive, usage
from experiments.examples.digits import load
from experiments.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS = fnn.softmax_cross_entropy
RANKED_BY = "validation_cost"
SHOWN = 10  # rows of the table on the screen
SIZES = (64, 32, 10)
GUESSING = float(np.log(10))  # the cost of equal probabilities for the ten digits
MOST_TRAININGS = 100_000  # their parameters take 1 GB
WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Hyper(NamedTuple):
    """Hyperparameters, arrays (n,)."""

    learning_rate: jax.Array
    l2: jax.Array


@dataclass(frozen=True)
class Config:
    rates: int = 16
    """Number of learning rates, evenly spaced on a logarithmic scale."""
    lowest_rate: float = 0.003
    """Smallest learning rate."""
    highest_rate: float = 10.0
    """Largest learning rate."""
    penalties: int = 8
    """Number of L2 strengths, evenly spaced on a logarithmic scale."""
    lowest_l2: float = 1e-6
    """Smallest L2 strength."""
    highest_l2: float = 0.1
    """Largest L2 strength."""
    seeds: int = 3
    """Trainings per pair of learning rate and L2 strength."""
    epochs: int = 30
    """Passes over the training data."""
    batch_size: int = 50
    """Examples per step."""
    chunk_size: int | None = None
    """Maximum number of trainings at a time, which bounds memory. None: all at once."""
    seed: int = 0
    """Seed of the split and of the seeds of the trainings."""
    results: Path = Path("results")
    """Folder for results. The experiment writes to its subfolder sweep."""


def check(config: Config) -> None:
    """Raise UsageError, naming the flag, for an invalid value."""
    for flag in ("rates", "penalties", "seeds", "epochs", "batch_size"):
        at_least(f"--{flag.replace('_', '-')}", getattr(config, flag), 1)
    for flag in ("lowest_rate", "highest_rate", "lowest_l2", "highest_l2"):
        positive(f"--{flag.replace('_', '-')}", getattr(config, flag))
    for lowest, highest in (("lowest_rate", "highest_rate"), ("lowest_l2", "highest_l2")):
        if getattr(config, lowest) > getattr(config, highest):
            flags = f"--{lowest.replace('_', '-')}", f"--{highest.replace('_', '-')}"
            raise usage(flags[0], f"at most {flags[1]}, {getattr(config, highest)}", getattr(config, lowest))
    number = config.rates * config.penalties * config.seeds
    if number > MOST_TRAININGS:
        flags = "--rates times --penalties times --seeds"
        raise usage(flags, f"at most {MOST_TRAININGS:,}, since all parameters are kept", f"{number:,}")
    if config.chunk_size is not None:
        at_least("--chunk-size", config.chunk_size, 1)
    if not 0 <= config.seed < 2**32:
        raise usage("--seed", "in 0..4294967295", config.seed)


def grid(config: Config) -> Hyper:
    """Return every pair of learning rate and L2 strength; the latter varies fastest."""
    rates = np.geomspace(config.lowest_rate, config.highest_rate, config.rates)
    penalties = np.geomspace(config.lowest_l2, config.highest_l2, config.penalties)
    pairs = (jnp.asarray(array.ravel(), jnp.float32) for array in np.meshgrid(rates, penalties, indexing="ij"))
    return Hyper(*pairs)


def print_ranked(table: fnn.Table, seeds: int) -> None:
    """Print the first rows of the ranked table, with standard errors over the seeds."""
    from rich.console import Console
    from rich.table import Table

    title = f"best {min(SHOWN, len(table.columns['hyper']))} of {len(table.columns['hyper'])}, after the last epoch"
    shown = Table(
        title=title + (f", mean ± standard error of {seeds} seeds" if seeds > 1 else ""), title_justify="left"
    )
    for column in ("", "learning rate", "L2", "validation cost", "validation accuracy", "training cost + L2"):
        shown.add_column(column, justify="right")
    for rank, row in enumerate(table.head(SHOWN).rows(), start=1):
        cells = [
            f"{row[name]:.4f}" + (f" ± {row[f'{name}_se']:.4f}" if seeds > 1 else "")
            for name in (RANKED_BY, "validation_accuracy", "cost")
        ]
        shown.add_row(str(rank), f"{row['learning_rate']:.3g}", f"{row['l2']:.2g}", *cells)
    Console(highlight=False, width=110).print(shown)


def width_panel(axes: "Axes", table: fnn.Table) -> None:
    """Plot accuracy over the number of hidden units, with standard errors."""
    widths = table.columns["value"]
    for name, label, colour, style in (
        ("accuracy", "training", figures.BLUE, "o-"),
        ("validation_accuracy", "validation", figures.ORANGE, "s--"),
    ):
        error = np.nan_to_num(table.columns[f"{name}_se"])
        axes.errorbar(widths, table.columns[name], error, fmt=style, color=colour, label=label, capsize=3, ms=5)
    axes.set(xscale="log", xlabel="hidden units", ylabel="share of digits read correctly")
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64], labels=["1", "2", "4", "8", "16", "32", "64"])
    axes.minorticks_off()
    axes.set_title("Width of the hidden layer")
    axes.legend(loc="lower right")


def draw(path: Path, config: Config, ranked: fnn.Table, widths: fnn.Table) -> None:
    """Save a figure with the response surface and the accuracy over the width."""
    from matplotlib.figure import Figure

    best, columns = next(ranked.rows()), ranked.sorted("hyper").columns
    rates, penalties, cost = (
        columns[name].reshape(config.rates, config.penalties) for name in ("learning_rate", "l2", RANKED_BY)
    )
    with figures.style():
        figure = Figure(figsize=(10, 4.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        image = figures.response_surface(left, rates, penalties, np.where(cost < GUESSING, cost, np.nan), GUESSING)
        bar = figure.colorbar(image, ax=left, label="validation cost, cross-entropy per digit")
        ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if tick >= np.nanmin(cost)]
        bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        bar.minorticks_off()
        label = f"best: learning rate {best['learning_rate']:.2g}, L2 {best['l2']:.1g}"
        left.plot(best["learning_rate"], best["l2"], "*", ms=17, color=figures.ORANGE, mec="white", ls="", label=label)
        left.set(title="Response to learning rate and L2", xlabel="learning rate", ylabel="L2 strength")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=10)
        width_panel(right, widths)
        figures.save(figure, path)


def main(config: Config) -> None:
    """Sweep, rank, test the best pair once, sweep the width, and save the results."""
    check(config)
    needs("sklearn", "matplotlib")
    folder = reports.make_folder(config.results, "sweep", "sweep.json")
    split_key, run_key = jax.random.split(jax.random.key(config.seed))
    data, _ = load(split_key)
    size = len(data["train"][1])
    if config.batch_size > size:
        raise usage("--batch-size", f"at most {size}, the training examples", config.batch_size)
    keys = jax.random.split(run_key, config.seeds)
    hypers = grid(config)
    number = config.rates * config.penalties * config.seeds
    print(
        f"sweep: {counted(number, 'training')}, {counted(config.rates, 'learning rate')} x "
        f"{counted(config.penalties, 'L2 strength')} x {counted(config.seeds, 'seed')}, of a network "
        f"{'-'.join(map(str, SIZES))} on {size:,} digits, {counted(config.epochs, 'epoch')}",
        flush=True,
    )

    start = time.perf_counter()
    options = {"epochs": config.epochs, "batch_size": config.batch_size, "validation": data["validation"]}
    network = fnn.mlp(SIZES)
    run = fnn.make_run(network, LOSS, lambda h: fnn.sgd(h.learning_rate), data["train"], l2=lambda h: h.l2, **options)
    results = fnn.sweep(run, hypers, keys, chunk_size=config.chunk_size)
    seconds = {"sweep": round(time.perf_counter() - start, 2)}
    ranked = results.means().sorted(RANKED_BY)
    best = next(ranked.rows())
    if not float(best[RANKED_BY]) < GUESSING:
        raise ExperimentError("no pair is better than guessing: try a lower --lowest-rate, or more --epochs")
    costs = results.history[RANKED_BY][..., -1]
    failed, diverged = int((~(costs < GUESSING)).sum()), int((~np.isfinite(costs)).sum())
    print()
    print_ranked(ranked, config.seeds)

    chosen = [jax.tree.map(lambda leaf, j=j: leaf[best["hyper"], j], results.params) for j in range(config.seeds)]
    tests = np.array([fnn.evaluate(network, LOSS, params, data["test"])["accuracy"] for params in chosen])
    ended = counted(number, "training")
    print(f"failed: {failed} of {ended} ended no better than guessing, {diverged} with a non-finite cost")
    each = ", ".join(f"{test:.4f}" for test in tests)
    print(
        f"test of the best pair, once: accuracy {tests.mean():.4f}" + (f" (per seed: {each})" if len(tests) > 1 else "")
    )

    start = time.perf_counter()
    rate, l2 = float(best["learning_rate"]), float(best["l2"])
    wide = fnn.make_run(
        lambda width: fnn.masked_mlp((64, max(WIDTHS), 10), [width]),
        LOSS,
        lambda width: fnn.sgd(rate),
        data["train"],
        l2=l2,
        **options,
    )
    widths = fnn.sweep(wide, jnp.array(WIDTHS), keys, chunk_size=config.chunk_size)
    seconds["widths"] = round(time.perf_counter() - start, 2)

    files = [folder / name for name in ("table.csv", "widths.csv", "curves.npz", "sweep.json", "sweep.png")]
    ranked.save_csv(files[0])
    widths.means().save_csv(files[1])
    curves: dict[str, Any] = results.hypers._asdict() | results.history
    np.savez_compressed(files[2], **curves)
    draw(files[4], config, ranked, widths.means())
    seconds["whole"] = round(time.perf_counter() - STARTED, 2)
    report = {
        "experiment": "sweep",
        "config": asdict(config),
        "versions": reports.versions(),
        "trainings": number,
        "failed": failed,
        "diverged": diverged,
        "best": {name: value.item() for name, value in best.items() if np.isfinite(value)},
        "test_accuracy": tests.tolist(),
        "seconds": seconds,
    }
    reports.save_json(files[3], report)
    milliseconds = 1000 * seconds["sweep"] / number
    print(f"time: {seconds['sweep']:.1f} s for {ended} with compilation ({milliseconds:.0f} ms each), ", end="")
    widths_count = len(WIDTHS) * config.seeds
    print(f"{seconds['widths']:.1f} s for {widths_count} of several widths, {seconds['whole']:.1f} s in total")
    print(f"saved: {', '.join(map(str, files))}")
