"""Worker processes of the benchmarks: start them, ask for units, stop them.

The counterpart of `worker`. If a worker fails, the error contains its last line of output.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from experiments.errors import ExperimentError

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "experiments.benchmarks.worker")


class WorkerError(ExperimentError):
    """A worker died, did not answer in time, or answered something unexpected.

    The message quotes its last line.
    """


class Worker(NamedTuple):
    """A running worker. Its answers arrive in `lines`; None follows the last one."""

    name: str
    process: subprocess.Popen[str]
    lines: "queue.Queue[str | None]"
    errors: Path


def environment(scratch: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: the checkout is importable and no compilation cache is reused.

    PyTorch's cache is in the scratch folder, and JAX's is off. Python writes bytecode, as it does by default;
    otherwise every start would compile all modules again.

    All peers compute float32 products in full. On a GPU JAX, and PyTorch in its convolutions, would otherwise use TF32.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return inherited | {
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",  # of every product that XLA compiles
        "NVIDIA_TF32_OVERRIDE": "0",  # no TF32 in cuBLAS and cuDNN, whatever a library asks for
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share an accelerator
        **variables,
    }


def start(
    name: str,
    flags: list[str],
    scratch: Path,
    command: tuple[str, ...] = COMMAND,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Worker:
    """Start a worker, with environment variables of its own.

    Its standard error is written to a file in the folder `scratch`.
    """
    errors = scratch / f"{name}.stderr"
    with errors.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment(scratch, variables),
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
    """Return the last informative line of the worker's standard error."""
    text = worker.errors.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip(" -=")]
    # JAX adds this line after a traceback
    lines = [line for line in lines if not line.startswith("For simplicity, JAX has removed")]
    return lines[-1][:300] if lines else "(no output)"


def answer(worker: Worker, seconds: float) -> dict[str, Any]:
    """Return the next answer.

    Raises WorkerError after a timeout of `seconds` or if the answer is not JSON.
    """
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
    """Send a command and wait for its answer."""
    assert worker.process.stdin is not None
    with contextlib.suppress(OSError):  # if the worker has died, `answer` reports it
        worker.process.stdin.write(f"{command}\n")
        worker.process.stdin.flush()
    return answer(worker, seconds)


def stop(worker: Worker) -> None:
    """Kill the process."""
    with contextlib.suppress(OSError):
        if worker.process.stdin is not None:
            worker.process.stdin.close()
    worker.process.kill()
    worker.process.wait()


@contextlib.contextmanager
def stopping(workers: dict[str, Worker]) -> Iterator[dict[str, Worker]]:
    """Context manager that stops the remaining workers on exit."""
    try:
        yield workers
    finally:
        for worker in workers.values():
            stop(worker)
