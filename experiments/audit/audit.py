"""Audit the gradients of public functions of JAX, optax and other libraries.

    python -m experiments audit

Checks each call of experiments/audit/targets with fnn.gradcheck at ordinary and at awkward points (zeros, ones, ties,
halves, extreme numbers), and compares every derivative with differences and, where mpmath is installed and the exact
function is known, with 100 digits. Writes results/audit/index.html and findings.csv: what was expected, what came out,
and five lines of code that show it. A finding is no failure of fnn: the exit code is 0 whatever is found.

Finished targets are kept in results/audit/targets.jsonl, so an interrupted audit continues where it stopped. A target
that hangs or ends its process is listed as such and tried again by the next run.
"""

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import reports
from experiments.audit import baseline, conduct, page, records, table
from experiments.audit.collect import collect
from experiments.errors import at_least, nearest, positive
from experiments.wording import counted


@dataclass(frozen=True)
class Config:
    only: tuple[str, ...] = ()
    """Names of targets, or of modules and functions whose targets to audit, such as jax.scipy. Default: all."""
    seconds: float | None = None
    """Start no more targets after so many seconds."""
    processes: int = os.cpu_count() or 1
    """Number of worker processes."""
    timeout: float = 60.0
    """Seconds after which a target is given up."""
    fresh: bool = False
    """Audit targets again although their results are up to date."""
    results: Path = Path("results")
    """Folder for the results; the audit writes to its subfolder audit."""


def selected(only: tuple[str, ...]) -> list[str]:
    """Return the names of the targets that --only selects: those named, and those within a module or function named."""
    names = list(collect().targets)
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
    names, skipped = selected(config.only), collect().skipped
    folder = reports.make_folder(config.results, "audit")
    known = baseline.read()
    targets = {name: collect().targets[name] for name in names if name not in skipped}
    done = {} if config.fresh else records.read(folder, targets)
    todo = [name for name in targets if done.get(name, {}).get("state") != records.DONE]
    if len(todo) < len(targets):
        print(f"{counted(len(targets) - len(todo), 'target')} up to date; --fresh audits them again", flush=True)
    try:
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            limits = conduct.Limits(config.processes, config.timeout, config.seconds)
            conduct.conduct(todo, targets, folder, scratch, limits)
    finally:
        finish(folder, names, targets, known)


def finish(folder: Path, names: list[str], targets: dict[str, Any], known: baseline.Baseline) -> None:
    """Write the results of all targets that are done, and print a summary."""
    done = records.read(folder, targets)
    rows = table.rows([done[name] for name in targets if name in done], known)
    skipped = {name: why for name, why in collect().skipped.items() if name in names or len(names) > len(targets)}
    gone = baseline.gone(known, rows, [record for record in done.values() if record["state"] == records.DONE])
    summary = table.Summary(len(names), done, rows, skipped, gone)
    table.write(folder / "findings.csv", rows)
    page.write(folder / "index.html", summary)
    print(summary.text())
    print(f"saved: {folder / 'findings.csv'}, {folder / 'index.html'}")
    waiting = [name for name in targets if name not in done]
    if waiting:
        print(f"{counted(len(waiting), 'target')} left: the same command goes on")
