"""Time to accuracy on MNIST, from a cold process to 98.0 % with an MLP and 99.0 % with a convnet, beside PyTorch.

    python -m experiments speedrun

The clock starts just before a process is started and stops at its report that the target is
reached: Python's start, imports, reading and verifying the data, compiling, training and the
evaluation after each epoch are all inside. Nothing compiled earlier is used. PyTorch, where it
is installed, runs the same recipe: architecture, initial distribution, optimizer, schedule,
batch size, data. For each seed the sides run one after another, in alternating order.

As in speedruns the stopping point is read on the 10,000 test images, and the recipes were
chosen on them: this measures time; it does not estimate generalisation.

Goals, on two CPU cores: 98.0 % in 6 s, 99.0 % in 30 s (medians of 5 seeds), each at least 1.5
times as fast as PyTorch. Prints a table and the goals; saves speedrun.json, with every time,
and speedrun.png under results/speedrun/.
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
from experiments.errors import ExperimentError, at_least, needs, usage

MODULES = {"fnn": "experiments.benchmarks.speedrun_fnn", "torch": "experiments.benchmarks.speedrun_torch"}
GOALS = {"mlp": 6.0, "convnet": 30.0}
"""Seconds, on two CPU cores."""
RATIO = 1.5
"""What PyTorch's time over fnn's should be at least."""


@dataclass(frozen=True)
class Config:
    networks: tuple[str, ...] = tuple(RECIPES)
    """The networks to train: mlp, convnet."""
    seeds: int = 5
    """Trainings of each network on each side, with the seeds 0, 1, ..."""
    mlp: Recipe = field(default_factory=lambda: RECIPES["mlp"])
    """The MLP's recipe."""
    convnet: Recipe = field(default_factory=lambda: RECIPES["convnet"])
    """The convnet's recipe."""
    mlp_target: float = 0.98
    """Test accuracy at which the MLP's clock stops."""
    convnet_target: float = 0.99
    """Test accuracy at which the convnet's clock stops."""
    torch: bool = True
    """Run PyTorch too, if it is installed."""
    timeout: float = 300.0
    """Seconds after which a process that reports nothing is given up."""
    results: Path = Path("results")
    """Folder for the files; the experiment makes its own folder, speedrun, in it."""


class Run(NamedTuple):
    """One training: seconds since just before its process was started, and test accuracies, after each epoch."""

    side: str
    seed: int
    loaded: float
    seconds: tuple[float, ...]
    accuracies: tuple[float, ...]


class Summary(NamedTuple):
    """A side on a network, its runs that reached the target counted; infinite times are of those that did not."""

    side: str
    median: float
    low: float
    high: float
    reached: int
    runs: int
    epochs: float
    accuracy: float


def check_config(config: Config) -> None:
    """UsageError, naming the flag, for a value that cannot be meant."""
    wrong = [name for name in config.networks if name not in RECIPES]
    if wrong or not config.networks:
        raise usage("--networks", f"of {', '.join(RECIPES)}", ", ".join(wrong) or "none")
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
    """Seconds until the first epoch whose accuracy is the target's or higher; infinite if there is none."""
    # an accuracy is a share of 10,000: what float32 makes of it is not a miss
    return next((s for s, a in zip(run.seconds, run.accuracies, strict=True) if a >= target - 1e-6), math.inf)


def summarise(runs: list[Run], target: float) -> Summary:
    """Medians over the runs of one side; epochs and accuracy when the clock stopped, or at the end."""
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
    """Starts a cold process, reads its reports to the end; WorkerError, with its last words, if it dies or hangs."""
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
    """All seeds on each side; the order of the sides turns around from seed to seed."""
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for seed in range(config.seeds):
        for side in sides[:: -1 if seed % 2 else 1]:
            run = train(side, network, seed, config, scratch)
            runs[side].append(run)
            told = time_to(run, target_of(config, network))
            shown = f"{told:.2f} s" if told < math.inf else "not reached"
            print(f"  {network}, seed {seed}, {side}: {shown}; at the end {run.accuracies[-1]:.4f}", flush=True)
    return runs


def judge(network: str, summaries: dict[str, Summary], target: float) -> list[str]:
    """The goals, met or missed or not measured."""
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
    """Runs every network on every side, prints the table and the goals, saves everything."""
    from rich.console import Console

    check_config(config)
    needs("matplotlib")
    folder = reports.make_folder(config.results, "speedrun")
    try:
        load_mnist()  # downloads it if need be, so that the processes find it
    except ExperimentError as error:
        raise ExperimentError(f"speedrun: skipped, as MNIST is not there: {error}") from None
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
    print("the stopping point is read on the test images: a measure of time, not of generalisation")
    report, chart = folder / "speedrun.json", folder / "speedrun.png"
    values = {
        "experiment": "speedrun",
        "config": asdict(config),
        "versions": reports.versions() | peer_versions(),
        "summaries": {n: {s: speedrun_reports.finite_or_none(v._asdict()) for s, v in d.items()} for n, d in summaries.items()},
        "runs": {n: {side: [run._asdict() for run in runs] for side, runs in d.items()} for n, d in results.items()},
        "goals": verdicts,
        "skipped": skipped,
    }
    reports.save_json(report, values)
    speedrun_reports.figure(results, targets, chart)
    print(f"saved: {chart}, {report}")
