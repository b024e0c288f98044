"""Real processes for a test: started, waited for, and killed after a timeout."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    """How a process ended: its exit code, its output, and how many seconds after the first one it ended."""

    code: int
    out: str
    err: str
    after: float


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(command: Sequence[str], count: int, folder: Path, cache: Path, expected: int | None = None) -> list:
    """Start `count` processes of a command.

    Each is told to expect `expected` processes in all, by default `count`. A single process is told nothing.
    """
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {
        "FNN_CACHE": "",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    children = []
    for i in range(count):
        with open(folder / f"out-{i}", "wb") as out, open(folder / f"err-{i}", "wb") as err:
            own = {"FNN_COORDINATOR": address, "FNN_PROCESSES": str(expected or count), "FNN_PROCESS_ID": str(i)}
            own = {} if count == 1 and expected is None else own
            options = {"cwd": ROOT, "env": environment | own, "stdout": out, "stderr": err, "start_new_session": True}
            children.append(subprocess.Popen([sys.executable, *command], **options))
    return children


def run(
    command: Sequence[str], count: int, folder: Path, cache: Path, seconds: float = 400.0, expected: int | None = None
) -> list[Ended]:
    """Run processes until they end. After a timeout, kill them and fail the test."""
    folder.mkdir(parents=True, exist_ok=True)
    children, ends = start(command, count, folder, cache, expected), {}
    start_time, read = time.monotonic(), lambda i, name: (folder / f"{name}-{i}").read_text(errors="replace")
    try:
        while len(ends) < count and time.monotonic() - start_time < seconds:
            for i, child in enumerate(children):
                if i not in ends and child.poll() is not None:
                    ends[i] = time.monotonic()
            time.sleep(0.02)
    finally:
        for child in children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    missing = [i for i in range(count) if i not in ends]
    assert not missing, f"after {seconds} s processes {missing} were killed: {read(missing[0], 'err')[-3000:]}"
    first = min(ends.values())
    return [Ended(children[i].returncode, read(i, "out"), read(i, "err"), ends[i] - first) for i in range(count)]


def run_task(
    name: str,
    count: int,
    devices: int,
    folder: Path,
    cache: Path,
    *word: str,
    checkpoints: Path | None = None,
    expected: int | None = None,
    module: str = "over_processes",
) -> tuple[list[Ended], list[Any]]:
    """Run a task of tests.support in `count` processes of `devices` devices: how each ended, and its result."""
    command = ["-m", f"tests.support.{module}", name, str(devices), str(checkpoints or folder), *word]
    ended = run(command, count, folder, cache, expected=expected)
    return ended, [json.loads(end.out.splitlines()[-1]) if end.code == 0 and end.out else None for end in ended]


def flip(path: Path, draw: random.Random) -> None:
    """Flip a random bit of a file."""
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
