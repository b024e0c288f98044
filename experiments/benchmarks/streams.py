"""Compare training on data in files or streams with training on data in memory.

    python -m experiments.benchmarks.streams

The data have MNIST's shapes and are in memory-mapped files. `device_memory` is an eighth of their size. Each round
trains the same network on arrays in memory, on the files, on a function of batches and, where Grain is installed, on
`fnn.data.from_files` and on Grain's datasets of batches, in an order that alternates from round to round. The first
epoch is not timed, so that start-up, compilation and the initial scan of the data do not count. Prints medians and the
ratio of throughputs by round. The goals for the files are 0.95 for relu and 0.90 for sigmoid. Expected results: about
1.0 if a step computes much per example (relu), less for batches of 10 rows that Python reads one by one (sigmoid).
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

try:
    import grain
except ImportError:
    grain = None

import fnn
from experiments.benchmarks.timings import quartiles

OPTIMIZER = fnn.sgd(0.1)


class Case(NamedTuple):
    """A network and its training. The first of the epochs of a round is not timed."""

    sizes: tuple[int, ...]
    activation: fnn.Layer
    batch_size: int
    examples: int
    epochs: int


CASES = {
    "relu": Case((784, 512, 512, 10), fnn.relu, 128, 59_904, 3),
    "sigmoid": Case((784, 30, 10), fnn.sigmoid, 10, 50_000, 6),
}


def files(case: Case, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write x and y to files and return memory maps."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, case.sizes[-1], case.examples).astype("int32")
    x = rng.random((case.examples, case.sizes[0]), "float32")
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy", mmap_mode="r")


def sources(case: Case, x: np.ndarray, y: np.ndarray) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return the data and the options of `fit` for each source."""
    budget = {"device_memory": (x.nbytes + y.nbytes) // 8}

    def stream(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(0, case.examples, case.batch_size):
            yield x[i : i + case.batch_size], y[i : i + case.batch_size]

    found: dict[str, tuple[Any, dict[str, Any]]] = {"in memory": ((x, y), {}), "files": ((x, y), budget)}
    found["batches"] = stream, budget
    if grain is not None:
        read = lambda rows: (x[rows], y[rows])
        groups = grain.MapDataset.range(-(-case.examples // case.batch_size)).seed(0).shuffle()
        dataset = groups.map(lambda i: read(slice(i * case.batch_size, (i + 1) * case.batch_size)))
        found["from_files"] = fnn.data.from_files(x, y), budget
        found["MapDataset"] = dataset, budget
        options = grain.ReadOptions(num_threads=16, prefetch_buffer_size=16)  # by default 500: 0.15 ms per element
        found["IterDataset"] = dataset.to_iter_dataset(options), budget
    return found


@functools.cache
def network(case: Case) -> fnn.Layer:
    """Return the network.

    It is cached, because another object would be compiled again.
    """
    return fnn.mlp(case.sizes, case.activation)


def seconds(case: Case, data: Any, options: dict[str, Any]) -> float:
    """Return the mean seconds of the epochs after the first."""
    ends: list[float] = []
    fnn.fit(
        network(case),
        fnn.softmax_cross_entropy,
        OPTIMIZER,
        data,
        epochs=case.epochs,
        batch_size=case.batch_size,
        key=jax.random.key(0),
        progress=False,
        callback=lambda epoch, logs, state: ends.append(time.perf_counter()),
        **options,
    )
    return (ends[-1] - ends[0]) / (case.epochs - 1)


def compare(name: str, case: Case, rounds: int, say: Callable[[str], None] = print) -> dict[str, list[float]]:
    """Return the seconds per epoch of each source in every round, and print their statistics."""
    with tempfile.TemporaryDirectory() as folder:
        given = sources(case, *files(case, Path(folder)))
        for source in given.values():
            seconds(case, *source)
        times: dict[str, list[float]] = {kind: [] for kind in given}
        for i in range(rounds):
            for kind in list(given) if i % 2 == 0 else list(given)[::-1]:
                times[kind].append(seconds(case, *given[kind]))
    megabytes = case.examples * (case.sizes[0] + 1) * 4 / 1e6
    sizes = "-".join(map(str, case.sizes))
    say(f"{name}: {sizes}, batch {case.batch_size}, {megabytes:.0f} MB, device_memory {megabytes / 8:.0f} MB")
    for kind, values in times.items():
        median, low, high = quartiles(values)
        ratio, worst, best = quartiles([a / b for a, b in zip(times["in memory"], values, strict=True)])
        say(
            f"  {kind:11} {median:7.3f} s per epoch [{low:.3f}, {high:.3f}]  {case.examples / median:9,.0f} examples/s"
            f"  throughput {ratio:.2f} x in memory [{worst:.2f}, {best:.2f}]"
        )
    return times


def main() -> None:
    """Run the requested cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="smoke test: a twentieth of the examples and 2 rounds")
    given = parser.parse_args()
    for name in given.cases:
        case = CASES[name]
        if given.quick:
            case = case._replace(examples=case.examples // 20)
        compare(name, case, 2 if given.quick else given.rounds)


if __name__ == "__main__":
    main()
