"""Measure fnn on an accelerator: times beside its peers, MNIST to 99 %, the start, reproducibility, the tests.

    python -m experiments accelerator

Ends within five minutes on one GPU: works run in order of importance, and those that no longer fit are skipped by
name (--seconds, --works). The tests take four minutes: `--works tests` runs them alone. Peers are fnn, the same
network with autodiff's backward pass, JAX by hand, Flax NNX and PyTorch, eager, as a CUDA graph and with
torch.compile; those that are not installed (pip install -e '.[bench]') are skipped. Each peer runs in its own process,
and so does everything else. If one fails, the others go on.

Saves accelerator.md, a table with device, driver, versions, date and the goals, and accelerator.json, with every time,
under results/accelerator/, after each work. On a CPU the command refuses to run, except with `--quick`, a smoke test
whose times are meaningless.
"""

import datetime
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments import reports
from experiments.benchmarks import accelerator_reports, bench
from experiments.benchmarks.accelerator_parts import PARTS, ask_child
from experiments.benchmarks.accelerator_works import ACCELERATOR_WORKLOADS, GOALS, PEERS, REPEAT, SECONDS, WORKS
from experiments.benchmarks.bench_reports import peer_versions
from experiments.benchmarks.goals import Verdict, judge
from experiments.benchmarks.peers import find_driver
from experiments.benchmarks.timings import Rows
from experiments.benchmarks.workloads import Workload, save_arrays, shrunk
from experiments.errors import ExperimentError, among, at_least

ORDER = (
    "large", "nets", "planar", "cnn", "relu", "mnist", "gpt-124m", "sigmoid", "start", "determinism", "tests",
)  # fmt: skip
QUICK_PEERS = tuple(name for name in PEERS if name not in ("torch-compile", "square"))


@dataclass(frozen=True)
class Config:
    works: tuple[str, ...] = ORDER
    """Names of the works to run. They run in the order of the default."""
    seconds: float = 300.0
    """Time for everything. A work that is not expected to end in time is skipped."""
    rounds: int = 9
    """Maximum number of timed units of each peer."""
    quick: bool = False
    """Smoke test, also on a CPU: a twentieth of the work and 2 rounds, without the largest works and torch.compile."""
    results: Path = Path("results")
    """Folder for the results; the command creates its subfolder accelerator."""


class Findings(NamedTuple):
    """What was measured so far. `skipped` and `failed` map a work to the reason."""

    header: dict[str, Any]
    works: dict[str, Workload]
    results: dict[str, Rows]
    parts: dict[str, dict[str, Any]]
    lines: dict[str, list[str]]
    verdicts: list[Verdict]
    skipped: dict[str, str]
    failed: dict[str, str]


def check(config: Config) -> None:
    """Raise UsageError if a flag has an invalid value."""
    among("--works", config.works, ORDER)
    at_least("--seconds", config.seconds, 1.0)
    at_least("--rounds", config.rounds, 1)


def probe(scratch: Path, config: Config) -> dict[str, Any]:
    """Return the header of the results. Raise ExperimentError if there is no accelerator to measure."""
    device = ask_child("device", scratch, 120.0, config.quick)
    if device["platform"] == "cpu" and not config.quick:
        raise ExperimentError("accelerator: JAX finds only a CPU here; `--quick` runs a smoke test on it")
    versions = device.pop("versions") | peer_versions()
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"quick": config.quick, "device": device, "driver": find_driver(), "versions": versions, "date": date}


def reason_to_skip(name: str, config: Config, left: float) -> str:
    """Return why a work does not run, or "" if it does."""
    if config.quick:
        return "too large for --quick" if name in ACCELERATOR_WORKLOADS else ""
    needed = PARTS[name].seconds if name in PARTS else SECONDS[name]
    return "" if left >= needed else f"{left:.0f} s are left of --seconds, and it takes about {needed:.0f} s"


def run_work(name: str, config: Config, scratch: Path, deadline: float, found: Findings) -> None:
    """Run one work with all of its peers, and keep its rows."""
    shrink, rounds = (20, 2) if config.quick else (1, config.rounds)
    work = shrunk(WORKS[name], shrink)
    sources = found.header.setdefault("data", {})
    if work.data not in sources:
        most = max(w.examples for w in WORKS.values() if w.data == work.data)
        sources[work.data] = save_arrays(work.data, scratch, most)
    chosen = bench.Config(peers=QUICK_PEERS if config.quick else PEERS, rounds=rounds, timeout=120.0)
    flags = ["--data", str(scratch), "--shrink", str(shrink), "--repeat", str(REPEAT.get(name, 1))]
    ends = time.monotonic() + (60.0 if config.quick else SECONDS[name])
    report, deadline = lambda line: print(line, flush=True), max(ends, deadline)
    found.results[name] = bench.run_workload(work, chosen, flags, scratch, report, ends, deadline)
    found.works[name] = work
    found.lines[name] = accelerator_reports.rates(work, found.results[name])


def run_part(name: str, config: Config, scratch: Path, deadline: float, found: Findings) -> None:
    """Run one of the other parts, and keep what it measured."""
    if reason := PARTS[name].unavailable():
        found.skipped[name] = reason
        return
    seconds = max(300.0 if config.quick else 10.0, deadline - time.monotonic())
    outcome = PARTS[name].run(scratch, seconds, config.quick)
    found.parts[name], found.lines[name] = outcome.values, outcome.lines
    found.verdicts.extend(outcome.verdicts)


def error_line(error: Exception) -> str:
    """Return the message of an error of a work; with its type, if it is a mistake of this program."""
    return str(error) if isinstance(error, ExperimentError) else f"{type(error).__name__}: {error}"


def page(found: Findings) -> str:
    """Return the table in Markdown."""
    header = found.header
    lines = ["# fnn on an accelerator", "", *["A smoke test: its times are meaningless.", ""] * found.header["quick"]]
    lines += [accelerator_reports.describe(**{name: header[name] for name in ("device", "driver", "versions", "date")})]
    if table := accelerator_reports.times(found.works, found.results):
        lines += ["", *table, "", accelerator_reports.CAPTION]
    lines += [""] * any([*found.lines.values(), found.skipped, found.failed])
    lines += [f"- {name}: {line}" for name, of in found.lines.items() for line in of]
    lines += [f"- {name}: skipped: {reason}" for name, reason in found.skipped.items()]
    lines += [f"- {name}: failed: {reason}" for name, reason in found.failed.items()]
    if verdicts := all_verdicts(found):
        lines += ["", *accelerator_reports.goals(verdicts)]
    return "\n".join(lines) + "\n"


def all_verdicts(found: Findings) -> list[Verdict]:
    """Return the verdicts on the works and on the other parts."""
    return judge(found.results, GOALS) + found.verdicts


def save(folder: Path, config: Config, found: Findings) -> Sequence[Path]:
    """Save everything so far, and return the paths."""
    values = {
        "experiment": "accelerator",
        "config": asdict(config),
        **found.header,
        "works": {name: bench.as_json(found.works[name], rows) for name, rows in found.results.items()},
        "parts": found.parts,
        "skipped": found.skipped,
        "failed": found.failed,
        "goals": [verdict._asdict() for verdict in all_verdicts(found)],
    }
    table, report = folder / "accelerator.md", folder / "accelerator.json"
    reports.save_json(report, json.loads(json.dumps(values, default=str)))
    table.write_text(page(found), encoding="utf-8")
    return table, report


def main(config: Config) -> None:
    """Run the works in order of importance, save after each, and print the table."""
    check(config)
    deadline = time.monotonic() + config.seconds
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        found = Findings(probe(Path(scratch), config), {}, {}, {}, {}, [], {}, {})
        folder = reports.make_folder(config.results, "accelerator")
        paths = save(folder, config, found)
        for name in (name for name in ORDER if name in config.works):
            if reason := reason_to_skip(name, config, deadline - time.monotonic()):
                found.skipped[name] = reason
            else:
                print(f"{name}: {PARTS[name].title if name in PARTS else WORKS[name].title}", flush=True)
                try:
                    (run_part if name in PARTS else run_work)(name, config, Path(scratch), deadline, found)
                except Exception as error:  # the others go on
                    found.failed[name] = error_line(error)
                    print(f"  failed: {found.failed[name]}", flush=True)
            paths = save(folder, config, found)
    print(f"\n{page(found)}\nsaved: {', '.join(map(str, paths))}")
    peers = [f"{work} {row.peer}" for work, rows in found.results.items() for row in rows.values() if row.failed]
    if peers or found.failed:
        raise ExperimentError(f"failed: {', '.join([*peers, *found.failed])}; see above")
