"""One peer on one work, in a process of its own, on command.

    python -m experiments.benchmarks.worker --work relu --peer fnn

Starts, loads, compiles and warms up (with a unit of work), then answers each line on its standard input with a line of
JSON: "go" with the seconds of one more unit, "end" with the test accuracies after all of them. What libraries print
goes to the standard error.
"""

import argparse
import contextlib
import gc
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from experiments.benchmarks import peers
from experiments.benchmarks.workloads import WORKLOADS, Data, Workload, load, shrunk


def accuracies(logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """The share of right answers of each network; the answer is the largest logit, of a single one its sign."""
    answers = logits.argmax(axis=-1) if logits.shape[-1] > 1 else logits[..., 0] > 0
    right = (answers == labels).reshape(-1, len(labels))
    return [float(share) for share in right.mean(axis=1)]


def finite_or_none(parts: dict[str, float] | None) -> dict[str, float | None]:
    """Numbers that JSON has: not a number is none."""
    return {name: value if math.isfinite(value) else None for name, value in (parts or {}).items()}


def prepare(name: str, work: Workload, data: Data) -> tuple[peers.Job, dict[str, Any]]:
    """The job after a first unit, which compiles, and back at its start; and what to say of it."""
    job = peers.make(name, work, data)
    start = time.perf_counter()
    job.unit()
    first = time.perf_counter() - start
    job.reset()
    return job, {"ready": True, "first_unit": first, "scale": job.scale, "note": job.note}


def answer(job: peers.Job, data: Data, command: str) -> dict[str, Any]:
    """What is said to a command."""
    if command == "go":
        gc.collect()
        start = time.perf_counter()
        parts = job.unit()
        return {"seconds": time.perf_counter() - start, "parts": finite_or_none(parts)}
    if command == "end":
        logits = job.predict() if job.predict else None
        values = [] if logits is None else accuracies(logits, data.test_labels)
        if logits is not None and not np.isfinite(logits).all():
            raise FloatingPointError("its predictions are not finite")
        return {"accuracies": values}
    raise ValueError(f"no command {command!r}: there are go and end")


def serve(commands: TextIO, out: TextIO, name: str, work: Workload, data: Data) -> None:
    """Answers until "end", or until nobody asks any more."""

    def say(values: dict[str, Any]) -> None:
        print(json.dumps(values, allow_nan=False), file=out, flush=True)

    job, ready = prepare(name, work, data)
    say(ready)
    for line in commands:
        say(answer(job, data, line.strip()))
        if line.strip() == "end":
            return


def main(arguments: list[str]) -> None:
    """Parses the flags, keeps the standard output for answers, serves."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.worker")
    parser.add_argument("--work", choices=WORKLOADS, required=True)
    parser.add_argument("--peer", choices=peers.PEERS, required=True)
    parser.add_argument("--data", type=Path, help="folder with the arrays; without it they are made")
    parser.add_argument("--shrink", type=int, default=1, help="so many times less work")
    flags = parser.parse_args(arguments)
    work = shrunk(WORKLOADS[flags.work], flags.shrink)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        with contextlib.suppress(BrokenPipeError):
            serve(sys.stdin, out, flags.peer, work, load(work, flags.data))


if __name__ == "__main__":
    main(sys.argv[1:])
