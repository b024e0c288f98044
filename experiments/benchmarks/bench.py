"""fnn beside its peers: the same data, architecture, batch size and epochs, each in a process of its own.

    python -m experiments bench

Rounds are interleaved: in each one every peer of a work does one unit (an epoch), one at a
time; the order turns around from round to round. Starting, compiling and one unit of warm-up
are outside the times. All start from the same weights; final test accuracies must agree.
Peers: JAX by hand, Flax NNX, Equinox, PyTorch (eager and torch.compile), scikit-learn, NumPy;
those that are not installed (pip install -e '.[bench]') are skipped by name. MNIST is used
where it is there, in $FNN_DATA or in the cache, else synthetic images of its shapes.

Prints a table per work and the goals, met or missed; saves bench.json with every time, and
bench.png, under results/bench/. `--quick` is a smoke test: its times say nothing.
"""

import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments import reports
from experiments.benchmarks import bench_reports, processes
from experiments.benchmarks.goals import judge
from experiments.benchmarks.timings import Row, Rows, disagreement, gflops, summary
from experiments.benchmarks.peers import PEERS, reason_to_skip
from experiments.benchmarks.workloads import WORKLOADS, Workload, save_arrays, shrunk
from experiments.errors import ExperimentError, at_least, needs, usage


@dataclass(frozen=True)
class Config:
    works: tuple[str, ...] = tuple(WORKLOADS)
    """The works to run, by name."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Who takes part, by name; ratios are to fnn, which always does."""
    rounds: int = 7
    """Units that each peer is timed on (works that take long: at most 3 or 5)."""
    quick: bool = False
    """A twentieth of everything, and 2 rounds: to see that it works."""
    timeout: float = 600.0
    """Seconds after which a peer that does not answer is given up."""
    results: Path = Path("results")
    """Folder for the files; the benchmark makes its own folder, bench, in it."""


def check(config: Config) -> None:
    """UsageError, naming the flag, for a value that cannot be meant."""
    for flag, names, known in (("--works", config.works, WORKLOADS), ("--peers", config.peers, PEERS)):
        wrong = [name for name in names if name not in known]
        if wrong or not names:
            raise usage(flag, f"of {', '.join(known)}", ", ".join(wrong) or "none")
    at_least("--rounds", config.rounds, 1)
    at_least("--timeout", config.timeout, 1.0)


def run_work(work: Workload, config: Config, flags: list[str], scratch: Path, say) -> Rows:
    """Every peer on one work: all are started, one after another, then the rounds, then their accuracies."""
    names = [name for name in PEERS if name == "fnn" or name in config.peers]
    rows = {name: Row(name, skipped=reason_to_skip(name, work)) for name in names}
    workers: dict[str, processes.Worker] = {}
    times: dict[str, list[dict[str, Any]]] = {}

    def attempt(name: str, command: str | None) -> dict[str, Any] | None:
        try:
            worker = workers[name]
            if command is None:
                return processes.answer(worker, config.timeout)
            return processes.ask(worker, command, config.timeout)
        except processes.WorkerError as error:
            say(f"  failed: {error}")
            rows[name] = rows[name]._replace(failed=str(error))
            processes.stop(workers.pop(name))
            return None

    with processes.stopping(workers):
        for name in (name for name in names if not rows[name].skipped):
            workers[name] = processes.start(name, ["--work", work.name, "--peer", name, *flags], scratch)
            ready = attempt(name, None)
            if ready is not None:
                told = {key: ready[key] for key in ("first_unit", "scale", "note")}
                rows[name], times[name] = rows[name]._replace(**told), []
                say(f"  {name}: ready, first unit {ready['first_unit']:.2f} s")
        for number in range(min(config.rounds, work.rounds)):
            for name in list(workers)[:: -1 if number % 2 else 1]:
                time.sleep(0.05)  # threads that wait for work stop spinning
                unit = attempt(name, "go")
                if unit is not None:
                    times[name].append(unit)
        for name in list(workers):
            end = attempt(name, "end")
            if end is not None:
                rows[name] = rows[name]._replace(accuracies=tuple(end["accuracies"]))
    return {name: with_times(row, times.get(name, [])) for name, row in rows.items()}


def with_times(row: Row, units: list[dict[str, Any]]) -> Row:
    """The row with the times of its rounds; none of a peer that failed, as what it did is not known to be right."""
    if row.failed or row.skipped:
        return row
    parts = {name: tuple(unit["parts"][name] for unit in units) for name in (units[0]["parts"] if units else ())}
    return row._replace(seconds=tuple(unit["seconds"] * row.scale for unit in units), parts=parts)


def as_json(work: Workload, rows: Rows) -> dict[str, Any]:
    """Everything that was measured on a work."""
    peers = {}
    for name, row in rows.items():
        numbers = summary(row, rows["fnn"])
        peers[name] = {
            **row._asdict(),
            **(numbers._asdict() if numbers else {}),
            "gflops": gflops(work, row),
            "disagrees": disagreement(work, row, rows["fnn"]),
        }
    return {"title": work.title, "work": work._asdict(), "peers": peers}


def save(path: Path, config: Config, works: list[Workload], sources: dict[str, str], results: dict[str, Rows]) -> None:
    """Everything that was measured so far, as JSON."""
    values = {
        "experiment": "bench",
        "config": asdict(config),
        "versions": reports.versions() | bench_reports.peer_versions(),
        "data": sources,
        "works": {work.name: as_json(work, results[work.name]) for work in works if work.name in results},
        "goals": [verdict._asdict() for verdict in judge(results)],
    }
    reports.save_json(path, json.loads(json.dumps(values, default=str)))


def main(config: Config) -> None:
    """Runs the works, prints tables and goals, saves everything."""
    from rich.console import Console

    check(config)
    needs("matplotlib", "sklearn")
    folder = reports.make_folder(config.results, "bench")
    console = Console(highlight=False, width=max(Console().width, 120))  # a table that wraps cannot be read
    if config.quick:
        config = replace(config, rounds=min(config.rounds, 2))
    shrink = 20 if config.quick else 1
    works = [shrunk(WORKLOADS[name], shrink) for name in dict.fromkeys(config.works)]
    report, chart = folder / "bench.json", folder / "bench.png"
    results: dict[str, Rows] = {}
    sources: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for work in works:
            if work.data not in sources and work.kind != "start":
                most = max(w.examples for w in works if w.data == work.data)
                sources[work.data] = save_arrays(work.data, Path(scratch), most)
            console.print(f"\n[bold]{work.name}[/]: {work.title}; {sources.get(work.data, '')}")
            flags = ["--data", scratch, "--shrink", str(shrink)]
            results[work.name] = run_work(
                work, config, flags, Path(scratch), lambda line: console.print(line, markup=False)
            )
            console.print(bench_reports.table(work, results[work.name]))
            for line in bench_reports.remarks(work, results[work.name]):
                console.print(f"  {line}", markup=False)
            save(report, config, works, sources, results)  # after each work, whatever comes
    console.print(bench_reports.goals_table(judge(results)))
    bench_reports.figure([(work, results[work.name]) for work in works], chart)
    print(f"saved: {chart}, {report}")
    failed = [f"{work} {row.peer}" for work, rows in results.items() for row in rows.values() if row.failed]
    if failed:
        raise ExperimentError(f"failed: {', '.join(failed)}; see above")
