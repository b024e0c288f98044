"""Time to accuracy on MNIST from a cold start: 98.0 % (MLP) and 99.0 % (convnet).

    python -m experiments speedrun

The clock starts just before a process starts and stops when the process reports that it has reached the target. It
includes Python's start, imports, reading and verifying the data, compilation, training, and the evaluation after each
epoch. No compilation cache is used. If PyTorch is installed, it runs the same recipe: architecture, initial
distribution, optimizer, schedule, batch size, data. For each seed the libraries run one after another, in alternating
order.

As in other speedruns, the stopping point is determined on the 10,000 test images, and the recipes were tuned on them.
The result is a time, not an estimate of generalisation.

Goals on two CPU cores: 98.0 % in 6 s and 99.0 % in 30 s (medians of 5 seeds), each at least 1.5 times as fast as
PyTorch. Prints a table and the goals. Saves speedrun.json, with every time, and speedrun.png under results/speedrun/.
"""

import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from experiments import reports
from experiments.benchmarks import processes, speedrun_reports
from experiments.benchmarks.bench_reports import peer_versions
from experiments.benchmarks.speedrun_recipes import RECIPES, Recipe, check
from experiments.data.mnist import load_mnist
from experiments.errors import ExperimentError, among, at_least, needs, usage

MODULES = {"fnn": "experiments.benchmarks.speedrun_fnn", "torch": "experiments.benchmarks.speedrun_torch"}
GOALS = {"mlp": 6.0, "convnet": 30.0}
"""Seconds on two CPU cores."""
RATIO = 1.5
"""Goal for PyTorch's time / fnn's time."""


@dataclass(frozen=True)
class Config:
    networks: tuple[str, ...] = tuple(RECIPES)
    """Names of the networks to train: mlp, convnet."""
    seeds: int = 5
    """Number of trainings of each network with each library, with seeds 0, 1, ..."""
    mlp: Recipe = field(default_factory=lambda: RECIPES["mlp"])
    """Recipe of the MLP."""
    convnet: Recipe = field(default_factory=lambda: RECIPES["convnet"])
    """Recipe of the convnet."""
    mlp_target: float = 0.98
    """Test accuracy at which the MLP's clock stops."""
    convnet_target: float = 0.99
    """Test accuracy at which the convnet's clock stops."""
    torch: bool = True
    """Run PyTorch as well, if it is installed."""
    timeout: float = 300.0
    """Seconds without a report after which a process counts as failed."""
    results: Path = Path("results")
    """Folder for the results; the experiment creates its subfolder speedrun."""


class Run(NamedTuple):
    """One training: test accuracies after each epoch, and seconds since just before its process started."""

    side: str
    seed: int
    loaded: float
    seconds: tuple[float, ...]
    accuracies: tuple[float, ...]


class Summary(NamedTuple):
    """Statistics of a library on a network.

    Times of runs that missed the target are infinite.
    """

    side: str
    median: float
    low: float
    high: float
    reached: int
    runs: int
    epochs: float
    accuracy: float


def check_config(config: Config) -> None:
    """Raise UsageError if a flag has an invalid value."""
    among("--networks", config.networks, RECIPES)
    at_least("--seeds", config.seeds, 1)
    at_least("--timeout", config.timeout, 1.0)
    for name in RECIPES:
        check(f"--{name}", recipe_of(config, name))
        target = target_of(config, name)
        if not 0 < target <= 1:
            raise usage(f"--{name}-target", "above 0 and at most 1", target)


def recipe_of(config: Config, network: str) -> Recipe:
    return {"mlp": config.mlp, "convnet": config.convnet}[network]


def target_of(config: Config, network: str) -> float:
    return {"mlp": config.mlp_target, "convnet": config.convnet_target}[network]


def time_to(run: Run, target: float) -> float:
    """Return the seconds until an epoch first reaches the target; infinite if none does."""
    # accuracies are multiples of 1/10,000: tolerate the rounding error of float32
    return next((s for s, a in zip(run.seconds, run.accuracies, strict=True) if a >= target - 1e-6), math.inf)


def summarise(runs: list[Run], target: float) -> Summary:
    """Return statistics over the runs of a library.

    Epochs and accuracy are those at the stop, or at the end.
    """
    times = [time_to(run, target) for run in runs]
    stops = [run.seconds.index(t) if t < math.inf else len(run.seconds) - 1 for run, t in zip(runs, times, strict=True)]
    return Summary(
        runs[0].side,
        statistics.median(times),
        min(times),
        max(times),
        sum(t < math.inf for t in times),
        len(runs),
        statistics.median(stop + 1 for stop in stops),
        statistics.median(run.accuracies[stop] for run, stop in zip(runs, stops, strict=True)),
    )


def train(side: str, network: str, seed: int, config: Config, scratch: Path) -> Run:
    """Run a training in a cold process and collect its reports.

    Raises WorkerError if it dies or hangs.
    """
    recipe = recipe_of(config, network)
    flags = ["--network", network, "--seed", str(seed), "--recipe", json.dumps(asdict(recipe))]
    seconds, accuracies, loaded = [], [], 0.0
    start = time.perf_counter()
    worker = processes.start(f"{side}, seed {seed}", flags, scratch, (sys.executable, "-m", MODULES[side]))
    with processes.stopping({side: worker}):
        while len(seconds) < recipe.epochs:
            line = processes.answer(worker, config.timeout)
            now = time.perf_counter() - start
            if "loaded" in line:
                loaded = now
            if "accuracy" in line:
                seconds.append(now)
                accuracies.append(float(line["accuracy"]))
    return Run(side, seed, loaded, tuple(seconds), tuple(accuracies))


def run_network(network: str, sides: list[str], config: Config, scratch: Path) -> dict[str, list[Run]]:
    """Run all seeds with each library.

    The order of the libraries alternates from seed to seed.
    """
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for seed in range(config.seeds):
        for side in sides[:: -1 if seed % 2 else 1]:
            run = train(side, network, seed, config, scratch)
            runs[side].append(run)
            seconds = time_to(run, target_of(config, network))
            text = f"{seconds:.2f} s" if seconds < math.inf else "not reached"
            print(f"  {network}, seed {seed}, {side}: {text}; final accuracy {run.accuracies[-1]:.4f}", flush=True)
    return runs


def judge(network: str, summaries: dict[str, Summary], target: float) -> list[str]:
    """Return the goals: met, missed or not measured."""
    ours, theirs = summaries["fnn"], summaries.get("torch")
    within = _verdict(ours.median <= GOALS[network])
    lines = [f"{network}: {target:.1%} within {GOALS[network]:g} s on two CPU cores: {within}"]
    if theirs is None:
        return [*lines, f"{network}: {RATIO:g} times as fast as PyTorch: not measured"]
    ratio = speedrun_reports.ratio(theirs, ours)
    verdict = "not measured" if ratio is None else _verdict(ratio >= RATIO)
    return [*lines, f"{network}: {RATIO:g} times as fast as PyTorch: {verdict}"]


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def main(config: Config) -> None:
    """Run every network with every library, print the table and the goals, and save everything."""
    from rich.console import Console

    check_config(config)
    needs("matplotlib")
    folder = reports.make_folder(config.results, "speedrun")
    try:
        load_mnist()  # downloads it if necessary, so that the processes find it
    except ExperimentError as error:
        raise ExperimentError(f"speedrun: skipped, because MNIST was not found: {error}") from None
    sides, skipped = ["fnn"], ""
    if config.torch and "torch" in peer_versions():
        sides.append("torch")
    elif config.torch:
        skipped = "PyTorch: skipped, not installed (pip install -e '.[bench]')"
    console = Console(highlight=False, width=max(Console().width, 100))
    results: dict[str, dict[str, list[Run]]] = {}
    verdicts: list[str] = []
    summaries: dict[str, dict[str, Summary]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for network in dict.fromkeys(config.networks):
            target = target_of(config, network)
            results[network] = run_network(network, sides, config, Path(scratch))
            summaries[network] = {side: summarise(runs, target) for side, runs in results[network].items()}
            verdicts += judge(network, summaries[network], target)
    targets = {network: target_of(config, network) for network in results}
    console.print(speedrun_reports.table(summaries, targets))
    for line in filter(None, [*verdicts, skipped]):
        console.print(line, markup=False)
    print("the stopping point is determined on the test images: a measure of time, not of generalisation")
    report, chart = folder / "speedrun.json", folder / "speedrun.png"
    values = {
        "experiment": "speedrun",
        "config": asdict(config),
        "versions": reports.versions() | peer_versions(),
        "summaries": {
            n: {s: speedrun_reports.finite_or_none(v._asdict()) for s, v in d.items()} for n, d in summaries.items()
        },
        "runs": {n: {side: [run._asdict() for run in runs] for side, runs in d.items()} for n, d in results.items()},
        "goals": verdicts,
        "skipped": skipped,
    }
    reports.save_json(report, values)
    speedrun_reports.figure(results, targets, chart)
    print(f"saved: {chart}, {report}")
