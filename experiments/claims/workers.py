"""Studies in processes of their own: a process serves one after another; one that dies takes only its study with it."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from experiments import cache
from experiments.studies.shared import study
from experiments.studies.shared.outcomes import configured


class Job(NamedTuple):
    """A study to conduct: its module's name, which config, the folder of results, the file for what it says."""

    name: str
    quick: bool
    results: Path
    log: Path


def end_with_parent() -> None:
    """Ends this process when the one that started it has gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def prepare() -> None:
    """What a process does before its first study."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=end_with_parent, daemon=True).start()
    cache.enable()


def conduct(job: Job) -> dict[str, Any] | None:
    """Conducts the study, everything that it says going to the log; -> its values, or None if it failed."""
    import jax

    sys.stdout.flush()
    sys.stderr.flush()
    with job.log.open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        loaded = study.load(job.name)
        return study.conduct(loaded, configured(loaded, job.quick, job.results), job.results)
    except (Exception, SystemExit):
        traceback.print_exc()
        return None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        jax.clear_caches()  # what one study compiled is of no use to the next


def start() -> ProcessPoolExecutor:
    """A process, waiting."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=prepare)


def submit(pool: ProcessPoolExecutor, job: Job) -> "Future[dict[str, Any] | None]":
    """Hands the study to the process."""
    return pool.submit(conduct, job)


def stop(pools: list[ProcessPoolExecutor], *, now: bool) -> None:
    """Ends the processes; `now`: in the middle of what they do."""
    if now:
        for process in multiprocessing.active_children():
            process.terminate()
    for pool in pools:
        pool.shutdown(wait=True, cancel_futures=True)
