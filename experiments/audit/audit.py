"""Audit the gradients of public functions of JAX, optax and other libraries.

    python -m experiments audit

Checks each call of experiments/audit/targets with fnn.gradcheck at ordinary and at awkward points (zeros, ones, ties,
halves, extreme numbers), and compares every derivative with differences and, where mpmath is installed and the exact
function is known, with 100 digits. Writes results/audit/index.html and findings.csv: what was expected, what came out,
and code that shows it. A finding is no failure of fnn: the exit code is 0 whatever is found.

Finished calls are kept in results/audit/targets.jsonl, so an interrupted audit continues where it stopped. A call that
hangs or ends its process is listed as such and tried again by the next run.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from experiments import reports
from experiments.audit import baseline, conduct, page, records, table
from experiments.audit.collect import TARGETS, Collected, collect
from experiments.errors import at_least, nearest, positive, usage
from experiments.wording import counted


@dataclass(frozen=True)
class Config:
    only: tuple[str, ...] = ()
    """Names of calls, or of modules and functions whose calls to audit, such as jax.scipy. Default: all."""
    seconds: float | None = None
    """Start no more calls after so many seconds."""
    processes: int = os.cpu_count() or 1
    """Number of worker processes."""
    timeout: float = 60.0
    """Seconds after which a call is given up."""
    fresh: bool = False
    """Audit calls again although their results are up to date."""
    targets: str = TARGETS
    """The module or package that lists the calls in a tuple TARGETS: yours, to audit another library."""
    results: Path = Path("results")
    """Folder for the results; the audit writes to its subfolder audit."""


def selected(only: tuple[str, ...], names: list[str]) -> list[str]:
    """Return the names that --only selects: those given, and those within a module or function that is given."""
    found = []
    for wanted in only:
        inner = [name for name in names if name == wanted or name.startswith((f"{wanted}.", f"{wanted}("))]
        if not inner:
            raise nearest("--only", wanted, names)
        found += inner
    return list(dict.fromkeys(found)) if only else names


def main(config: Config) -> None:
    """Audit the selected targets, print what was found, and write the table and the page."""
    at_least("--processes", config.processes, 1)
    positive("--timeout", config.timeout)
    if config.seconds is not None:
        positive("--seconds", config.seconds)
    collected = load(config.targets)
    names = selected(config.only, list(collected.targets))
    folder = reports.make_folder(config.results, "audit")
    known = baseline.read()
    keys = {name: collected.keys[name] for name in names if name not in collected.skipped}
    done = {} if config.fresh else records.read(folder, keys)
    todo = [name for name in keys if done.get(name, {}).get("state") != records.DONE]
    if len(todo) < len(keys):
        print(f"{counted(len(keys) - len(todo), 'call')} up to date; --fresh audits them again", flush=True)
    limits = conduct.Limits(config.targets, config.processes, config.timeout, config.seconds)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            conduct.conduct(todo, collected, folder, Path(scratch), limits)
    finally:
        finish(folder, names, collected, known)


def load(package: str) -> Collected:
    """Return the targets of a package; UsageError if there is none of this name, or it has no targets."""
    try:
        return collect(package)
    except ModuleNotFoundError as error:
        raise usage("--targets", "an importable module with a tuple TARGETS", f"{package} ({error})") from None


def finish(folder: Path, names: list[str], collected: Collected, known: baseline.Baseline) -> None:
    """Write the results of all targets that are done, and print a summary."""
    keys = {name: collected.keys[name] for name in names if name not in collected.skipped}
    done = records.read(folder, keys)
    rows = table.rows([done[name] for name in keys if name in done], known)
    skipped = {name: why for name, why in collected.skipped.items() if name in names or name not in collected.targets}
    gone = baseline.gone(known, rows, [record for record in done.values() if record["state"] == records.DONE])
    summary = table.Summary(len(names), done, table.groups(rows), skipped, gone)
    table.write(folder / "findings.csv", rows)
    page.write(folder / "index.html", summary)
    print(summary.text())
    print(f"saved: {folder / 'findings.csv'}, {folder / 'index.html'}")
    if len(done) < len(keys):
        print(f"{counted(len(keys) - len(done), 'call')} left: the same command goes on")
