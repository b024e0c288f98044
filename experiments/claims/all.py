"""Every study of the notes' claims, in worker processes; then the page that shows what came out.

    python -m experiments all --quick

Each study leaves its numbers and figure under results/NAME/, as `python -m experiments NAME` does.
What is there already, from the same code and config, is not run again, so a run that was ended, by
Ctrl-C too, goes on where it stopped. --quick keeps what the full config left, too, as long as the code
is the same; --fresh runs everything. A study that fails is shown with its error, which is kept in
NAME.error.txt, and the others go on; one whose data are not there is skipped by name. At the end
results/report.html shows all of them.

Exit code 1 if a criterion does not hold or a study failed.
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
from experiments.claims.overview import Overview, Row
from experiments.errors import ExperimentError, at_least, needs, usage
from experiments.studies.shared import outcomes, study


@dataclass(frozen=True)
class Config:
    quick: bool = False
    """Each study with its quick config: fewer seeds, shorter trainings, all criteria."""
    fresh: bool = False
    """Run what is there already, too."""
    workers: int = 2
    """Processes, each with one study at a time."""
    only: tuple[str, ...] = ()
    """Names of studies: these and no others."""
    results: Path = Path("results")
    """Folder for the files; each study makes its own folder in it."""


class Running(NamedTuple):
    """A study that is under way: its row, its process, and the file with what it says."""

    row: Row
    pool: ProcessPoolExecutor
    log: Path


def check(config: Config) -> None:
    """UsageError, naming the flag, for a value that cannot be meant."""
    at_least("--workers", config.workers, 1)
    wrong = [name for name in config.only if name not in studies.NAMES]
    if wrong:
        raise usage("--only", f"names of studies ({', '.join(studies.NAMES)})", ", ".join(wrong))


def finished(row: Row, values: dict[str, Any], note: str = "") -> Row:
    """The row of a study that came to its end."""
    held = sum(criterion["holds"] for criterion in values["criteria"])
    count = f"{held}/{len(values['criteria'])}"
    return row._replace(state=outcomes.state(values), held=count, seconds=values["seconds"], note=note)


def failed(row: Row, results: Path, said: str) -> Row:
    """The row of a study that failed; what it said is kept."""
    reports.make_folder(results, row.name)
    path = outcomes.error_path(results, row.name)
    path.write_text(said, encoding="utf-8")
    return row._replace(state=outcomes.FAILED, note=f"{outcomes.one_line(said)} (see {path})")


def first_look(name: str, config: Config) -> Row:
    """A study's row before anything runs: waiting, or why it does not have to."""
    row = Row(name)
    try:
        loaded = study.load(name)
        row = row._replace(id=loaded.id)
        absent = study.missing(loaded)
    except Exception:
        return failed(row, config.results, traceback.format_exc())
    if absent:
        return row._replace(state=f"{outcomes.SKIPPED}: needs {', '.join(absent)}")
    values = outcomes.read(config.results, name)
    broke = outcomes.read_error(config.results, name) is not None
    enough = [outcomes.configured(loaded, quick, config.results) for quick in {config.quick, False}]
    if values is None or broke or config.fresh or not any(outcomes.current(loaded, one, values) for one in enough):
        return row
    return finished(row, values, "kept from before")


def ended(running: Running, future: Future, seconds: float, config: Config) -> Row:
    """The row of a study whose process is done with it, or has died."""
    row = running.row._replace(seconds=seconds)
    said = running.log.read_text(encoding="utf-8", errors="replace") if running.log.exists() else ""
    try:
        values = future.result()
    except BrokenExecutor:
        return failed(row, config.results, f"{said}\nits process died")
    return failed(row, config.results, said) if values is None else finished(row, values)


def conduct(rows: list[Row], config: Config, overview: Overview, scratch: Path) -> None:
    """Runs the studies that wait, as many at once as there are workers."""
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
                overview.update(row)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done = running.pop(future)
                overview.update(ended(done, future, time.perf_counter() - done.row.started, config))
                dead = isinstance(future.exception(), BrokenExecutor)
                free.append(workers.start() if dead else done.pool)
    except BaseException:
        workers.stop([*free, *(one.pool for one in running.values())], now=True)
        raise
    workers.stop(free, now=False)


def main(config: Config) -> None:
    """Runs the studies, shows them, writes the page; ExperimentError if anything does not hold or failed."""
    check(config)
    needs("matplotlib", "sklearn")
    names = [name for name in studies.NAMES if name in config.only or not config.only]
    rows = sorted((first_look(name, config) for name in names), key=lambda row: (row.id, row.name))
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        overview = stack.enter_context(Overview(rows))
        conduct(rows, config, overview, scratch)
    print(overview.summary())
    claims.record(config.results)
    print(f"report: {report.write(config.results)}")
    bad = [f"{row.name} ({row.state})" for row in overview.rows.values() if row.state in report.BAD]
    if bad:
        raise ExperimentError("; ".join(bad))
