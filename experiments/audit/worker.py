"""Audit targets in a process of its own, on command.

    python -m experiments.audit.worker experiments.audit.targets

Reads names of targets from its standard input, and answers each with a record as a line of JSON. A target that hangs or
ends the process loses nothing but itself. Output of libraries goes to the standard error.
"""

import json
import os
import sys
import time
import warnings
from typing import Any

import jax

from experiments.audit import records
from experiments.audit.collect import collect
from experiments.audit.examine import examine


def answer(package: str, name: str) -> dict[str, Any]:
    """Examine a target of a package; return its record, also if its call raises an exception."""
    collected, start = collect(package), time.perf_counter()
    target, key = collected.targets[name], collected.keys[name]
    try:
        return records.make(target, key, examine(target))
    except Exception as error:
        text = str(error).partition("\n")[0]
        return records.failed(target, key, f"{type(error).__name__}: {text}"[:300], time.perf_counter() - start)
    finally:
        jax.clear_caches()  # each program keeps memory mappings, of which a process may have 65,530


def main() -> None:
    """Answer names until the input ends."""
    warnings.simplefilter("ignore")  # at extreme numbers, NumPy warns of every overflow
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        print(json.dumps({"ready": True}), file=out, flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(sys.argv[1], line.strip()), allow_nan=False), file=out, flush=True)


if __name__ == "__main__":
    main()
