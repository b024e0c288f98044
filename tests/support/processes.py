"""Several real processes for a test: started, waited for, and killed when their time is over."""

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
    """How a process ended, what it said, and when: seconds after the first of them did."""

    code: int
    out: str
    err: str
    after: float


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def started(command: Sequence[str], count: int, folder: Path, cache: Path, told: int | None = None) -> list:
    """`count` processes of this command, told that they are `told` or else as many; None: nothing about others."""
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
            own = {"FNN_COORDINATOR": address, "FNN_PROCESSES": str(told or count), "FNN_PROCESS_ID": str(i)}
            own = {} if count == 1 and told is None else own
            where = {"cwd": ROOT, "env": environment | own, "stdout": out, "stderr": err, "start_new_session": True}
            children.append(subprocess.Popen([sys.executable, *command], **where))
    return children


def run(
    command: Sequence[str], count: int, folder: Path, cache: Path, seconds: float = 400.0, told: int | None = None
) -> list[Ended]:
    """Runs them to their ends; what has not ended after so many seconds is killed, and the test fails."""
    folder.mkdir(parents=True, exist_ok=True)
    children, ends = started(command, count, folder, cache, told), {}
    began, texts = time.monotonic(), lambda i, name: (folder / f"{name}-{i}").read_text(errors="replace")
    try:
        while len(ends) < count and time.monotonic() - began < seconds:
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
    assert not missing, f"after {seconds} s processes {missing} were killed: {texts(missing[0], 'err')[-3000:]}"
    first = min(ends.values())
    return [Ended(children[i].returncode, texts(i, "out"), texts(i, "err"), ends[i] - first) for i in range(count)]


def asked(
    name: str,
    count: int,
    devices: int,
    folder: Path,
    cache: Path,
    *words: str,
    checkpoints: Path | None = None,
    told: int | None = None,
) -> tuple[list[Ended], list[Any]]:
    """What each of so many processes with so many devices says, and how it ended."""
    command = ["-m", "tests.support.over_processes", name, str(devices), str(checkpoints or folder), *words]
    ended = run(command, count, folder, cache, told=told)
    return ended, [json.loads(end.out.splitlines()[-1]) if end.code == 0 and end.out else None for end in ended]


def flip(path: Path, draw: random.Random) -> None:
    """Another bit somewhere in the file."""
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
