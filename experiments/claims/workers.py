"""Worker processes that run one study at a time; a crash loses only that study."""

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
from experiments.studies.shared.outcomes import make_config


class Job(NamedTuple):
    """A study to run: its name, quick or full config, the results folder, and the log file for its output."""

    name: str
    quick: bool
    results: Path
    log: Path


def end_with_parent() -> None:
    """End this process when its parent process has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def prepare() -> None:
    """Initialise a worker process before its first study."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which terminates the workers
    threading.Thread(target=end_with_parent, daemon=True).start()
    cache.enable()


def conduct(job: Job) -> dict[str, Any] | None:
    """Run the study with its output sent to the log.

    Returns its values, or None if it failed.
    """
    import jax

    sys.stdout.flush()
    sys.stderr.flush()
    with job.log.open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        loaded = study.load(job.name)
        return study.conduct(loaded, make_config(loaded, job.quick, job.results), job.results)
    except (Exception, SystemExit):
        traceback.print_exc()
        return None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        jax.clear_caches()  # no study uses the compiled programs of another


def start() -> ProcessPoolExecutor:
    """Start a worker process."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=prepare)


def submit(pool: ProcessPoolExecutor, job: Job) -> "Future[dict[str, Any] | None]":
    """Send the study to the worker."""
    return pool.submit(conduct, job)


def stop(pools: list[ProcessPoolExecutor], *, now: bool) -> None:
    """End the workers.

    If `now` is true, terminate them without waiting for their studies.
    """
    if now:
        for process in multiprocessing.active_children():
            process.terminate()
    for pool in pools:
        pool.shutdown(wait=True, cancel_futures=True)
