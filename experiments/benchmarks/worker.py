"""Run one peer on one workload in its own process, on command.

    python -m experiments.benchmarks.worker --work relu --peer fnn

The worker loads, compiles and warms up with one unit of work. Then it answers each line on its standard input with a
line of JSON: "go" with the seconds of one more unit, "end" with the test accuracies after all units. Output of
libraries goes to the standard error.
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
    """Return the accuracy of each network.

    Its answer is the largest logit, or the sign of a single logit.
    """
    answers = logits.argmax(axis=-1) if logits.shape[-1] > 1 else logits[..., 0] > 0
    right = (answers == labels).reshape(-1, labels.size)  # labels of sequences have one entry per position
    return [float(share) for share in right.mean(axis=1)]


def finite_or_none(parts: dict[str, float] | None) -> dict[str, float | None]:
    """Replace numbers that JSON lacks (NaN, infinity) by None."""
    return {name: value if math.isfinite(value) else None for name, value in (parts or {}).items()}


def prepare(name: str, work: Workload, data: Data) -> tuple[peers.Job, dict[str, Any]]:
    """Return the job, reset after a first unit that compiles, and the message that reports this."""
    job = peers.make(name, work, data)
    start = time.perf_counter()
    job.unit()
    first = time.perf_counter() - start
    job.reset()
    return job, {"ready": True, "first_unit": first, "scale": job.scale, "note": job.note}


def answer(job: peers.Job, data: Data, command: str) -> dict[str, Any]:
    """Execute a command and return the answer."""
    if command == "go":
        gc.collect()
        start, cpu = time.perf_counter(), time.process_time()
        parts = job.unit()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "parts": finite_or_none(parts)}
    if command == "end":
        logits = job.predict() if job.predict else None
        values = [] if logits is None or not data.test_labels.size else accuracies(logits, data.test_labels)
        if logits is not None and not np.isfinite(logits).all():
            raise FloatingPointError("the predictions are not finite")
        return {"accuracies": values}
    raise ValueError(f"no command {command!r}; the commands are go and end")


def serve(commands: TextIO, out: TextIO, name: str, work: Workload, data: Data) -> None:
    """Answer commands until "end" or until the input is closed."""

    def send(values: dict[str, Any]) -> None:
        print(json.dumps(values, allow_nan=False), file=out, flush=True)

    job, ready = prepare(name, work, data)
    send(ready)
    for line in commands:
        send(answer(job, data, line.strip()))
        if line.strip() == "end":
            return


def main(arguments: list[str]) -> None:
    """Parse the flags, reserve the standard output for answers, and serve."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.worker")
    parser.add_argument("--work", choices=WORKLOADS, required=True)
    parser.add_argument("--peer", choices=peers.PEERS, required=True)
    parser.add_argument("--data", type=Path, help="folder with the arrays; by default they are generated")
    parser.add_argument("--shrink", type=int, default=1, help="factor by which to reduce the work")
    flags = parser.parse_args(arguments)
    work = shrunk(WORKLOADS[flags.work], flags.shrink)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        with contextlib.suppress(BrokenPipeError):
            serve(sys.stdin, out, flags.peer, work, load(work, flags.data))


if __name__ == "__main__":
    main(sys.argv[1:])
