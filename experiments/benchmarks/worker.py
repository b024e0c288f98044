"""Run one peer on one workload in its own process, on command.

    python -m experiments.benchmarks.worker --work relu --peer fnn

The worker loads, compiles and warms up with one unit of work. Then it answers each line on its standard input with a
line of JSON: "go" with the seconds of one more unit, "end" with the test accuracies after all units and the peak memory
of the device. With --wait it compiles when a first line asks it to, so that several workers can start at once and use
the device one after another. Output of libraries goes to the standard error.
"""

import argparse
import contextlib
import gc
import importlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from experiments.benchmarks import peers
from experiments.benchmarks.accelerator_works import ACCELERATOR_WORKLOADS
from experiments.benchmarks.sequences import gpt_weights
from experiments.benchmarks.workloads import WORKLOADS, Data, Workload, initial_weights, load, shrunk


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


def peak_bytes() -> int | None:
    """Return the most bytes that this process had on its first device at a time, or None if it does not say."""
    if torch := sys.modules.get("torch"):
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    if jax := sys.modules.get("jax"):
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None


def start_device(name: str, work: Workload) -> None:
    """Import the library of a peer, have it find its devices, and draw the initial weights."""
    if work.kind == "gpt":
        gpt_weights(work)
    elif work.kind in ("mlp", "cnn"):
        initial_weights(work)
    importlib.import_module(f"experiments.benchmarks.{peers.PEERS[name].module}")
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.synchronize()
    elif jax := sys.modules.get("jax"):
        jax.devices()


def answer(job: peers.Job, data: Data, command: str, repeat: int = 1) -> dict[str, Any]:
    """Execute a command and return the answer. The times are those of a unit, a mean over `repeat` of them."""
    if command == "go":
        gc.collect()
        start, cpu = time.perf_counter(), time.process_time()
        parts = [job.unit() for _ in range(repeat)][-1]
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return {"seconds": seconds / repeat, "cpu": cpu / repeat, "parts": finite_or_none(parts)}
    if command == "end":
        logits = job.predict() if job.predict else None
        values = [] if logits is None or not data.test_labels.size else accuracies(logits, data.test_labels)
        if logits is not None and not np.isfinite(logits).all():
            raise FloatingPointError("the predictions are not finite")
        return {"accuracies": values, "peak": peak_bytes()}
    raise ValueError(f"no command {command!r}; the commands are go and end")


def serve(commands: TextIO, out: TextIO, name: str, work: Workload, data: Data, wait: bool, repeat: int) -> None:
    """Answer commands until "end" or until the input is closed."""

    def send(values: dict[str, Any]) -> None:
        print(json.dumps(values, allow_nan=False), file=out, flush=True)

    if wait:
        start_device(name, work)
        send({"started": True})
        if not commands.readline():
            return
    job, ready = prepare(name, work, data)
    send(ready)
    for line in commands:
        send(answer(job, data, line.strip(), repeat))
        if line.strip() == "end":
            return


def main(arguments: list[str]) -> None:
    """Parse the flags, reserve the standard output for answers, and serve."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.worker")
    every = WORKLOADS | ACCELERATOR_WORKLOADS
    parser.add_argument("--work", choices=every, required=True)
    parser.add_argument("--peer", choices=peers.PEERS, required=True)
    parser.add_argument("--data", type=Path, help="folder with the arrays; by default they are generated")
    parser.add_argument("--shrink", type=int, default=1, help="factor by which to reduce the work")
    parser.add_argument("--repeat", type=int, default=1, help="units for each command to go")
    parser.add_argument("--wait", action="store_true", help="compile when a line asks for it")
    flags = parser.parse_args(arguments)
    work = shrunk(every[flags.work], flags.shrink)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        with contextlib.suppress(BrokenPipeError):
            serve(sys.stdin, out, flags.peer, work, load(work, flags.data), flags.wait, flags.repeat)


if __name__ == "__main__":
    main(sys.argv[1:])
