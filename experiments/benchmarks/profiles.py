"""Where the time of a work goes: the operations of its compiled program, one by one, on one core.

    python -m experiments.benchmarks.profiles --work cnn

Traces a unit of fnn's side with JAX's profiler and adds up its operations by kind: matrix products, what moves data
(copies, slices, concatenations, gathers, transposes) and the rest, element by element. Beside it stand the rate that
its products reach and that of square ones. What does several things, a fusion, counts by its name alone.
`--work start` traces nothing: it tells what imports, tracing and compiling take in a run of digits with one epoch.
With `FNN_CACHE=` before it nothing is compiled already; else the second such run tells of a warm start. It may use
all cores.
"""

import argparse
import gzip
import json
import os
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from experiments import STARTED
from experiments.benchmarks.peers import Job

_PRODUCT = re.compile(r"(^|_)(dot|ynn_fusion|convolution)")
_MOVE = re.compile(r"(copy|slice|concatenate|gather|transpose|pad|wrapped_broadcast)")
_NOT_OPERATIONS = re.compile(r"^(\$|\w+::|while|call|cond|Pjit|[A-Z])|\(|/| ")


def kind(name: str) -> str | None:
    """What an operation of XLA's CPU programs does, by its name; None: it is none, or holds others.

    >>> [kind(name) for name in ("dot.5", "copy.1", "bitcast_dynamic-update-slice_fusion", "add_fusion.2", "while.3")]
    ['products', 'moves', 'moves', 'element-wise', None]
    """
    if _NOT_OPERATIONS.search(name) and not name.startswith("convert"):
        return None
    if _PRODUCT.search(name):
        return "products"
    return "moves" if _MOVE.search(name) else "element-wise"


def totals(events: Iterable[dict]) -> tuple[Counter[str], Counter[str]]:
    """Seconds by kind, and by operation, of the complete events of a trace."""
    kinds, operations = Counter(), Counter()
    for event in events:
        of = kind(event.get("name", "")) if event.get("ph") == "X" else None
        if of is not None:
            kinds[of] += event["dur"] / 1e6
            operations[event["name"]] += event["dur"] / 1e6
    return kinds, operations


def fastest(job: Job) -> float:
    """Seconds of a unit, the least of three after one that compiles."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        job.unit()
        seconds.append(time.perf_counter() - start)
    return job.scale * min(seconds[1:])


def profile(name: str, shrink: int, listed: int) -> None:
    """Traces a unit of the work and prints what its time consists of."""
    import jax

    from experiments.benchmarks import peer_fnn, peer_products, workloads

    work = workloads.shrunk(workloads.WORKLOADS[name], shrink)
    job = peer_fnn.make("fnn", work, workloads.load(work, None))
    seconds = fastest(job)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            job.unit()
        (path,) = Path(folder).rglob("perfetto_trace.json.gz")
        with gzip.open(path) as file:
            kinds, operations = totals(json.load(file)["traceEvents"])
    whole, flops = sum(kinds.values()), workloads.flops(work)
    print(f"{work.title}: {seconds:.3f} s on one core; {whole:.3f} s of operations in the trace")
    for of, value in kinds.most_common():
        print(f"  {value:8.3f} s  {100 * value / whole:3.0f} %  {of}")
    products, square = kinds["products"], fastest(peer_products.square(work))
    at = f" at {flops / products / 1e9:.0f} GFLOP/s" if products else " none by their names"
    print(f"its products: {flops / 1e9:.1f} GFLOP,{at}", end="; ")
    print(f"square ones at {flops / square / 1e9:.0f}: at that rate they alone would take {square:.3f} s")
    for operation, value in operations.most_common(listed):
        print(f"  {value:8.3f} s  {operation}")


def start() -> None:
    """Trains digits for an epoch in this process and prints what came before its end."""
    import jax
    from jax import monitoring

    spent, count = defaultdict[str, float](float), Counter()

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        part = event.rsplit("/", 1)[-1]
        spent[part] += duration_secs
        count[part] += 1

    monitoring.register_event_duration_secs_listener(listen)
    from experiments import cache
    from experiments.examples import digits

    cache.enable()
    imported = time.perf_counter() - STARTED
    with tempfile.TemporaryDirectory() as folder:
        digits.main(digits.Config(epochs=1, results=Path(folder)))
    monitoring.unregister_event_duration_listener(listen)
    parts = {"tracing": "jaxpr_trace_duration", "lowering": "jaxpr_to_mlir_module_duration"}
    print(f"\nimports {imported:.2f} s", end="")
    for text, part in (parts | {"compiling or reading": "backend_compile_duration"}).items():
        print(f", {text} {spent[part]:.2f} s ({count[part]} programs)", end="")
    print(f"; all of it, with figures and files, {time.perf_counter() - STARTED:.2f} s; jax {jax.__version__}")


def main() -> None:
    """The flags. What is traced runs on one core."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.profiles")
    parser.add_argument("--work", choices=("relu", "wide", "cnn", "nets", "sweep", "deep", "start"), required=True)
    parser.add_argument("--shrink", type=int, default=1, help="so many times less work")
    parser.add_argument("--list", type=int, default=0, help="print so many operations, the longest first")
    flags = parser.parse_args()
    if flags.work == "start":
        start()
        return
    if hasattr(os, "sched_setaffinity"):  # before JAX starts its threads: on one core times add up
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    profile(flags.work, flags.shrink, flags.list)


if __name__ == "__main__":
    main()
