"""Compare fnn with its peers: same data, architecture, batch size and epochs.

    python -m experiments bench

Each peer runs in its own process. Rounds are interleaved: in each round every peer of a workload does one unit (an
epoch), one peer at a time, and the order alternates from round to round. Start-up, compilation and one warm-up unit are
not timed. All peers start from the same weights, and their final test accuracies must agree. All of them compute
float32 products in full, on a GPU too, where JAX and PyTorch would round to TF32 in places. The peers are JAX by
hand, Flax NNX, Equinox, PyTorch (eager and torch.compile), scikit-learn and NumPy. On recurrent networks PyTorch runs
twice: its threads spin while they wait, which is its default, or wait passively. Peers that are not installed
(pip install -e '.[bench]') are skipped and listed. The data are MNIST if it is found in $FNN_DATA or in the cache, and
otherwise synthetic images of the same shapes.

Prints a table per workload and the goals, met or missed. Saves bench.json, with every time, and bench.png under
results/bench/. `--quick` is a smoke test: its times are meaningless.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments import reports
from experiments.benchmarks import bench_reports, processes
from experiments.benchmarks.goals import judge
from experiments.benchmarks.peers import PEERS, reason_to_skip
from experiments.benchmarks.timings import Row, Rows, disagreement, gflops, summary
from experiments.benchmarks.workloads import WORKLOADS, Workload, save_arrays, shrunk
from experiments.errors import ExperimentError, among, at_least, needs


@dataclass(frozen=True)
class Config:
    works: tuple[str, ...] = tuple(WORKLOADS)
    """Names of the workloads to run."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Names of the peers to run. Ratios are relative to fnn, which always runs."""
    rounds: int = 7
    """Number of timed units of each peer (slow workloads: at most 3 or 5)."""
    quick: bool = False
    """Smoke test: a twentieth of the work and 2 rounds."""
    timeout: float = 600.0
    """Seconds to wait for a peer's answer before it counts as failed."""
    results: Path = Path("results")
    """Folder for the results; the benchmark creates its subfolder bench."""


def check(config: Config) -> None:
    """Raise UsageError if a flag has an invalid value."""
    among("--works", config.works, WORKLOADS)
    among("--peers", config.peers, PEERS)
    at_least("--rounds", config.rounds, 1)
    at_least("--timeout", config.timeout, 1.0)


def run_workload(
    work: Workload,
    config: Config,
    flags: list[str],
    scratch: Path,
    report: Callable[[str], None],
    ends: float = math.inf,
    deadline: float = math.inf,
) -> Rows:
    """Start every peer, run the rounds, then collect the accuracies.

    `ends` and `deadline` are times by the clock of time.monotonic. No round begins after `ends`, except the first two,
    and peers that have not answered at the deadline count as failed. If there is a deadline, the peers start at once,
    and compile one after another.
    """
    together = deadline < math.inf
    flags = [*flags, "--wait"] if together else flags
    names = [name for name in PEERS if name == "fnn" or name in config.peers]
    rows = {name: Row(name, skipped=reason_to_skip(name, work)) for name in names}
    workers: dict[str, processes.Worker] = {}
    times: dict[str, list[dict[str, Any]]] = {}

    def attempt(name: str, command: str | None) -> dict[str, Any] | None:
        try:
            worker = workers[name]
            left = min(config.timeout, max(1.0, deadline - time.monotonic()))
            return processes.answer(worker, left) if command is None else processes.ask(worker, command, left)
        except processes.WorkerError as error:
            report(f"  failed: {error}")
            rows[name] = rows[name]._replace(failed=str(error))
            processes.stop(workers.pop(name))
            return None

    with processes.stopping(workers):
        started = [name for name in names if not rows[name].skipped]

        def start(name: str) -> None:
            given = ["--work", work.name, "--peer", name, *flags]
            workers[name] = processes.start(name, given, scratch, variables=dict(PEERS[name].variables))

        if together:
            for name in started:
                start(name)
            started = [name for name in started if attempt(name, None)]
        for name in started:
            if not together:
                start(name)
            ready = attempt(name, "go" if together else None)
            if ready is not None:
                fields = {key: ready[key] for key in ("first_unit", "scale", "note")}
                rows[name], times[name] = rows[name]._replace(**fields), []
                report(f"  {name}: ready, first unit {ready['first_unit']:.2f} s")
        for number in range(min(config.rounds, work.rounds)):
            if number >= 2 and time.monotonic() > ends:
                break
            for name in list(workers)[:: -1 if number % 2 else 1]:
                time.sleep(0.05)  # idle threads of the previous peer stop spinning
                unit = attempt(name, "go")
                if unit is not None:
                    times[name].append(unit)
        for name in list(workers):
            end = attempt(name, "end")
            if end is not None:
                rows[name] = rows[name]._replace(accuracies=tuple(end["accuracies"]), peak=end["peak"])
    return {name: with_times(row, times.get(name, [])) for name, row in rows.items()}


def with_times(row: Row, units: list[dict[str, Any]]) -> Row:
    """Add the times of the rounds to the row, unless the peer failed: its result may then be wrong."""
    if row.failed or row.skipped:
        return row
    parts = {name: tuple(unit["parts"][name] for unit in units) for name in (units[0]["parts"] if units else ())}
    seconds, cpu = (tuple(unit[kind] * row.scale for unit in units) for kind in ("seconds", "cpu"))
    return row._replace(seconds=seconds, cpu=cpu, parts=parts)


def as_json(work: Workload, rows: Rows) -> dict[str, Any]:
    """Return all measurements of a workload."""
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
    """Save all measurements so far as JSON."""
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
    """Run the workloads, print tables and goals, and save everything."""
    from rich.console import Console

    check(config)
    needs("matplotlib", "sklearn")
    folder = reports.make_folder(config.results, "bench")
    console = Console(highlight=False, width=max(Console().width, 120))  # wrapped tables are unreadable
    if config.quick:
        config = replace(config, rounds=min(config.rounds, 2))
    shrink = 20 if config.quick else 1
    works = [shrunk(WORKLOADS[name], shrink) for name in dict.fromkeys(config.works)]
    path, chart = folder / "bench.json", folder / "bench.png"
    results: dict[str, Rows] = {}
    sources: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for work in works:
            if work.data not in sources and work.kind not in ("start", "attention"):
                most = max(w.examples for w in works if w.data == work.data)
                sources[work.data] = save_arrays(work.data, Path(scratch), most)
            console.print(f"\n[bold]{work.name}[/]: {work.title}; {sources.get(work.data, '')}")
            flags = ["--data", scratch, "--shrink", str(shrink)]
            results[work.name] = run_workload(
                work, config, flags, Path(scratch), lambda line: console.print(line, markup=False)
            )
            console.print(bench_reports.table(work, results[work.name]))
            for line in bench_reports.remarks(work, results[work.name]):
                console.print(f"  {line}", markup=False)
            save(path, config, works, sources, results)  # after each workload, in case a later one fails
    console.print(bench_reports.goals_table(judge(results)))
    bench_reports.figure([(work, results[work.name]) for work in works], chart)
    print(f"saved: {chart}, {path}")
    failed = [f"{work} {row.peer}" for work, rows in results.items() for row in rows.values() if row.failed]
    if failed:
        raise ExperimentError(f"failed: {', '.join(failed)}; see above")
