"""Run every study of the notes' claims and write the report page.

    python -m experiments all --quick

The studies run in worker processes. Each saves its numbers and its figure under results/NAME/, as
`python -m experiments NAME` does. Studies whose results are up to date (same code, same config) are
skipped, so an interrupted run continues where it stopped. `--quick` also keeps results of a full run;
`--fresh` runs every study again. If a study fails, its traceback is saved in NAME.error.txt and the
other studies continue. Studies whose data are missing are skipped and listed. At the end,
results/report.html shows all results.

Exit code 1 if a criterion does not hold, a study failed, or a study of --only was skipped.
"""

import contextlib
import tempfile
import time
import traceback
from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments import reports, studies
from experiments.claims import claims, report, workers
from experiments.claims.progress import Progress, Row
from experiments.errors import ExperimentError, at_least, needs, usage
from experiments.studies.shared import outcomes, study
from experiments.wording import GET_DATA


@dataclass(frozen=True)
class Config:
    quick: bool = False
    """Run each study with its quick config: fewer seeds and shorter trainings, but all criteria."""
    fresh: bool = False
    """Run studies again even if their results are up to date."""
    workers: int = 2
    """Number of worker processes; each runs one study at a time."""
    only: tuple[str, ...] = ()
    """Names of the studies to run. Default: all."""
    results: Path = Path("results")
    """Folder for the results; each study creates its own subfolder."""


class Running(NamedTuple):
    """A study in progress: its row, its worker process, and its log file."""

    row: Row
    pool: ProcessPoolExecutor
    log: Path


def check(config: Config) -> None:
    """Raise UsageError if a flag has an invalid value."""
    at_least("--workers", config.workers, 1)
    wrong = [name for name in config.only if name not in studies.NAMES]
    if wrong:
        raise usage("--only", f"names of studies ({', '.join(studies.NAMES)})", ", ".join(wrong))


def finished_row(row: Row, values: dict[str, Any], note: str = "") -> Row:
    """Return the row of a study that ran to its end."""
    held = sum(criterion["holds"] for criterion in values["criteria"])
    count = f"{held}/{len(values['criteria'])}"
    return row._replace(state=outcomes.state(values), held=count, seconds=values["seconds"], note=note)


def failed_row(row: Row, results: Path, output: str) -> Row:
    """Save the output of a failed study and return its row."""
    reports.make_folder(results, row.name)
    path = outcomes.error_path(results, row.name)
    path.write_text(output, encoding="utf-8")
    return row._replace(state=outcomes.FAILED, note=f"{outcomes.last_line(output)} (see {path})")


def initial_row(name: str, config: Config) -> Row:
    """Return the row of a study before the run: waiting, skipped, failed to load, or up to date."""
    row = Row(name)
    try:
        loaded = study.load(name)
        row = row._replace(id=loaded.id)
        absent = study.missing_data(loaded)
    except Exception:
        return failed_row(row, config.results, traceback.format_exc())
    if absent:
        return row._replace(state=f"{outcomes.SKIPPED}: needs {', '.join(absent)}")
    values = outcomes.read(config.results, name)
    if values is None or config.fresh or outcomes.read_error(config.results, name) is not None:
        return row
    accepted = [outcomes.make_config(loaded, quick, config.results) for quick in {config.quick, False}]
    if not any(outcomes.is_up_to_date(loaded, candidate, values) for candidate in accepted):
        return row
    return finished_row(row, values, "up to date")


def completed_row(running: Running, future: Future, seconds: float, config: Config) -> Row:
    """Return the row of a study whose worker has finished it or has died."""
    row = running.row._replace(seconds=seconds)
    output = running.log.read_text(encoding="utf-8", errors="replace") if running.log.exists() else ""
    try:
        values = future.result()
    except BrokenExecutor:
        return failed_row(row, config.results, f"{output}\nits worker process died")
    return failed_row(row, config.results, output) if values is None else finished_row(row, values)


def conduct(rows: list[Row], config: Config, progress: Progress, scratch: Path) -> None:
    """Run the waiting studies, at most one per worker at a time."""
    queue = deque(row for row in rows if row.state == "waiting")
    free = [workers.start() for _ in range(min(config.workers, len(queue)))]
    running: dict[Future, Running] = {}
    try:
        while queue or running:
            while queue and free:
                row, pool = queue.popleft(), free.pop()
                job = workers.Job(row.name, config.quick, config.results, scratch / f"{row.name}.log")
                row = row._replace(state="running", started=time.perf_counter())
                running[workers.submit(pool, job)] = Running(row, pool, job.log)
                progress.update(row)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done = running.pop(future)
                progress.update(completed_row(done, future, time.perf_counter() - done.row.started, config))
                dead = isinstance(future.exception(), BrokenExecutor)
                free.append(workers.start() if dead else done.pool)
    except BaseException:
        workers.stop([*free, *(one.pool for one in running.values())], now=True)
        raise
    workers.stop(free, now=False)


def main(config: Config) -> None:
    """Run the studies, show progress, and write the report page.

    Raises ExperimentError if a study failed or a criterion does not hold.
    """
    check(config)
    needs("matplotlib", "sklearn")
    names = [name for name in studies.NAMES if name in config.only or not config.only]
    rows = sorted((initial_row(name, config) for name in names), key=lambda row: (row.id, row.name))
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        progress = stack.enter_context(Progress(rows))
        conduct(rows, config, progress, scratch)
    print(progress.summary())
    claims.record(config.results)
    print(f"report: {report.write(config.results)}")
    bad = [f"{row.name} ({row.state})" for row in progress.rows.values() if row.state in report.BAD]
    skipped = [row.name for row in progress.rows.values() if row.state.startswith(outcomes.SKIPPED)]
    if skipped:
        print(f"skipped: {', '.join(skipped)}; {GET_DATA}")
    if config.only:  # a study that was asked for and did not run
        bad += [f"{name} ({outcomes.SKIPPED}; {GET_DATA})" for name in skipped]
    if bad:
        raise ExperimentError("; ".join(bad))
