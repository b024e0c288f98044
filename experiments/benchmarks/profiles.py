"""Show where the time of a workload goes, operation by operation, on one core.

    python -m experiments.benchmarks.profiles --work cnn

Traces one unit of fnn with JAX's profiler and adds up the operations by kind: matrix products, data movement (copies,
slices, concatenations, gathers, transposes) and element-wise work. It also prints the rate of these products and that
of square ones. A fusion of several operations is classified by its name alone.

`--work start` traces nothing. It shows how long imports, tracing and compilation take in a run of digits with one
epoch. With an empty `FNN_CACHE`, every program is compiled; otherwise the second run shows a warm start. This mode may
use all cores.
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

WORKS = ("relu", "wide", "cnn", "nets", "sweep", "deep", "lstm", "gru", "gpt", "start")
_PRODUCT = re.compile(r"(^|_)(dot|ynn_fusion|convolution)")
_MOVE = re.compile(r"(copy|slice|concatenate|gather|transpose|pad|wrapped_broadcast)")
_NOT_OPERATIONS = re.compile(r"^(\$|\w+::|while|call|cond|Pjit|[A-Z])|\(|/| ")


def kind(name: str) -> str | None:
    """Classify an operation of XLA's CPU programs by its name.

    Returns None if it is not an operation, or if it contains others.

    >>> [kind(name) for name in ("dot.5", "copy.1", "bitcast_dynamic-update-slice_fusion", "add_fusion.2", "while.3")]
    ['products', 'moves', 'moves', 'element-wise', None]
    """
    if _NOT_OPERATIONS.search(name) and not name.startswith("convert"):
        return None
    if _PRODUCT.search(name):
        return "products"
    return "moves" if _MOVE.search(name) else "element-wise"


def totals(events: Iterable[dict]) -> tuple[Counter[str], Counter[str]]:
    """Return seconds by kind and by operation, from the complete events of a trace."""
    kinds, operations = Counter(), Counter()
    for event in events:
        of = kind(event.get("name", "")) if event.get("ph") == "X" else None
        if of is not None:
            kinds[of] += event["dur"] / 1e6
            operations[event["name"]] += event["dur"] / 1e6
    return kinds, operations


def fastest(job: Job) -> float:
    """Return the seconds of a unit: the least of three after one that compiles."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        job.unit()
        seconds.append(time.perf_counter() - start)
    return job.scale * min(seconds[1:])


def profile(name: str, shrink: int, listed: int) -> None:
    """Trace a unit of the workload and print its breakdown."""
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
    at = f" at {flops / products / 1e9:.0f} GFLOP/s" if products else " none recognised by name"
    print(f"its products: {flops / 1e9:.1f} GFLOP,{at}", end="; ")
    print(f"square products: {flops / square / 1e9:.0f} GFLOP/s, which would take {square:.3f} s")
    for operation, value in operations.most_common(listed):
        print(f"  {value:8.3f} s  {operation}")


def start() -> None:
    """Train digits for one epoch in this process and print what its time consists of."""
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
    for text, part in (parts | {"compiling or reading the cache": "backend_compile_duration"}).items():
        print(f", {text} {spent[part]:.2f} s ({count[part]} programs)", end="")
    print(f"; in total, with figures and files, {time.perf_counter() - STARTED:.2f} s; jax {jax.__version__}")


def main() -> None:
    """Parse the flags. Traced workloads run on one core."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.profiles")
    parser.add_argument("--work", choices=WORKS, required=True)
    parser.add_argument("--shrink", type=int, default=1, help="factor by which to reduce the work")
    parser.add_argument("--list", type=int, default=0, help="number of operations to print, the longest first")
    flags = parser.parse_args()
    if flags.work == "start":
        start()
        return
    if hasattr(os, "sched_setaffinity"):  # must precede JAX's threads; on one core times add up
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    profile(flags.work, flags.shrink, flags.list)


if __name__ == "__main__":
    main()
