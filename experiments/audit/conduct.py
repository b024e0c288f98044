"""Worker processes that audit one target after another. A target that hangs or crashes loses only itself."""

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.audit import records, table
from experiments.audit.collect import Collected
from experiments.benchmarks import processes
from experiments.wording import counted

COMMAND = (sys.executable, "-m", "experiments.audit.worker")
VARIABLES = {
    "JAX_PLATFORMS": "cpu",  # accelerators lack float64, or are slow at it
    # Compiling takes most of an audit's time, and without LLVM's optimizations about half as long.
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip(),
}
START = 120.0
"""Seconds in which a worker process must have started."""


class Limits(NamedTuple):
    """How many processes work on which package of targets, and how long."""

    package: str
    processes: int
    timeout: float
    """Seconds for one target."""
    seconds: float | None
    """Seconds after which no target is started; None for no limit."""


class _Work(NamedTuple):
    """What the threads share."""

    todo: "queue.SimpleQueue[str]"
    done: "queue.SimpleQueue[dict[str, Any] | BaseException | None]"
    stop: threading.Event
    workers: dict[int, processes.Worker]


def conduct(names: Sequence[str], collected: Collected, folder: Path, scratch: Path, limits: Limits) -> None:
    """Audit these targets, and save and print each record as it comes. An interrupt ends the processes at once."""
    work = _Work(queue.SimpleQueue(), queue.SimpleQueue(), threading.Event(), {})
    for name in names:
        work.todo.put(name)
    start = time.perf_counter()
    threads = [
        threading.Thread(target=_serve, args=(number, work, collected, scratch, limits), daemon=True)
        for number in range(min(limits.processes, len(names)))
    ]
    try:
        for thread in threads:
            thread.start()
        running, count = len(threads), 0
        while running:
            with contextlib.suppress(queue.Empty):
                got = work.done.get(timeout=0.2)
                if got is None:
                    running -= 1
                elif isinstance(got, BaseException):
                    raise got
                else:
                    count += 1
                    records.append(folder, got)
                    print(line(got, count, len(names)), flush=True)
            if limits.seconds is not None and time.perf_counter() - start > limits.seconds:
                work.stop.set()
    finally:
        work.stop.set()
        for worker in list(work.workers.values()):
            processes.stop(worker)
        for thread in threads:
            thread.join()


def line(record: Mapping[str, Any], count: int, total: int) -> str:
    """Return one line about a finished target."""
    found = table.distinct(record["findings"])
    what = record["checker"] if record["state"] != records.DONE else counted(found, "finding") if found else "nothing"
    return f"[{count:{len(str(total))}}/{total}] {record['name']}: {what} ({record['seconds']:.1f} s)"


def _serve(number: int, work: _Work, collected: Collected, scratch: Path, limits: Limits) -> None:
    """Give targets to one worker process until none is left, and start it again when it dies or hangs."""
    try:
        while not work.stop.is_set():
            try:
                name = work.todo.get_nowait()
            except queue.Empty:
                break
            start = time.perf_counter()
            try:
                worker = work.workers.get(number) or _start(number, work, scratch, limits.package)
                start = time.perf_counter()
                record = processes.ask(worker, name, limits.timeout)
            except processes.WorkerError as error:
                record = records.failed(
                    collected.targets[name], collected.keys[name], str(error), time.perf_counter() - start
                )
                if number in work.workers:
                    processes.stop(work.workers.pop(number))
            if not work.stop.is_set() or record["state"] == records.DONE:
                work.done.put(record)
    except BaseException as error:
        work.done.put(error)
    finally:
        work.done.put(None)


def _start(number: int, work: _Work, scratch: Path, package: str) -> processes.Worker:
    worker = processes.start(f"audit{number}", [package], scratch, COMMAND, VARIABLES)
    work.workers[number] = worker
    processes.answer(worker, START)
    return worker
