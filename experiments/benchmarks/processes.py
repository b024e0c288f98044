"""The other side of `worker`: starts one for a peer, asks it for units, ends it; says what went wrong where it did."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.errors import ExperimentError

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "experiments.benchmarks.worker")


class WorkerError(ExperimentError):
    """A worker has died, did not answer in time, or answered something else; the message holds its last line."""


class Worker(NamedTuple):
    """A running worker; its answers arrive in `lines`, None after the last."""

    name: str
    process: subprocess.Popen[str]
    lines: "queue.Queue[str | None]"
    errors: Path


def environment(scratch: Path) -> dict[str, str]:
    """This process's, with the checkout importable and caches of compilers where they are removed, JAX's not at all.

    Python keeps the bytecode of modules, as it does unless told otherwise: else each start would compile them again.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return inherited | {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share an accelerator
    }


def start(name: str, flags: list[str], scratch: Path, command: tuple[str, ...] = COMMAND) -> Worker:
    """Starts a worker; what it says on its standard error is kept in a file of the folder `scratch`."""
    errors = scratch / f"{name}.stderr"
    with errors.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment(scratch),
        )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    return Worker(name, process, lines, errors)


def _read(process: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def last_error_line(worker: Worker) -> str:
    """The last line of its standard error that says something."""
    text = worker.errors.read_text(encoding="utf-8", errors="replace")
    said = [line.strip() for line in text.splitlines() if line.strip(" -=")]
    # what JAX adds after a traceback says nothing of what happened
    said = [line for line in said if not line.startswith("For simplicity, JAX has removed")]
    return said[-1][:300] if said else "it said nothing"


def answer(worker: Worker, seconds: float) -> dict[str, Any]:
    """The next answer; WorkerError if there is none within so many seconds, or it is not JSON."""
    try:
        line = worker.lines.get(timeout=seconds)
    except queue.Empty:
        raise WorkerError(f"{worker.name}: no answer in {seconds:g} s; last line: {last_error_line(worker)}") from None
    if line is None:
        code = worker.process.wait()
        raise WorkerError(f"{worker.name}: ended with {code}; last line: {last_error_line(worker)}")
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise WorkerError(f"{worker.name}: answered {line.strip()[:100]!r}, not a line of JSON")
    return values


def ask(worker: Worker, command: str, seconds: float) -> dict[str, Any]:
    """Sends a command and waits for its answer."""
    assert worker.process.stdin is not None
    with contextlib.suppress(OSError):  # a worker that has died: its answer says so
        worker.process.stdin.write(f"{command}\n")
        worker.process.stdin.flush()
    return answer(worker, seconds)


def stop(worker: Worker) -> None:
    """Ends the process, whatever it is doing."""
    with contextlib.suppress(OSError):
        if worker.process.stdin is not None:
            worker.process.stdin.close()
    worker.process.kill()
    worker.process.wait()


@contextlib.contextmanager
def stopping(workers: dict[str, Worker]) -> Iterator[dict[str, Worker]]:
    """Ends those that are left, however the block ends."""
    try:
        yield workers
    finally:
        for worker in workers.values():
            stop(worker)
