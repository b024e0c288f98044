"""Training on data eight times larger than its share of the device, beside training on the same data in memory.

    python -m experiments.benchmarks.streams

The data, of MNIST's shapes, lie in files that are mapped into memory; `device_memory` is an eighth of them. Each round
trains the same network once on arrays in memory, once from the files and once from a stream of batches, one after the
other, in an order that turns around from round to round; what is timed are the epochs after the first, so that
starting, compiling and the look at the data's values are outside. Prints medians, and the ratio of throughputs by
round: 0.90 or more is the goal for the files. Expect about 1.0 where a step computes much for what it reads (relu),
less where it hardly computes at all (sigmoid: 6 kFLOP for each 100 bytes).
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

import fnn
from experiments.benchmarks.timings import quartiles

OPTIMIZER = fnn.sgd(0.1)


class Case(NamedTuple):
    """A network and how it is trained; epochs: of one round, the first of them not timed."""

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
    """x and y in files, mapped into memory."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, case.sizes[-1], case.examples).astype("int32")
    x = rng.random((case.examples, case.sizes[0]), "float32")
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy", mmap_mode="r")


def sources(case: Case, x: np.ndarray, y: np.ndarray) -> dict[str, tuple[Any, dict[str, Any]]]:
    """What `fit` is given: data, and options."""
    budget = {"device_memory": (x.nbytes + y.nbytes) // 8}

    def stream(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(0, case.examples, case.batch_size):
            yield x[i : i + case.batch_size], y[i : i + case.batch_size]

    return {"in memory": ((x, y), {}), "files": ((x, y), budget), "batches": (stream, budget)}


@functools.cache
def network(case: Case) -> fnn.Layer:
    """One value for all rounds: another one would be compiled again."""
    return fnn.mlp(case.sizes, case.activation)


def seconds(case: Case, data: Any, options: dict[str, Any]) -> float:
    """Of an epoch, of those after the first."""
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
    """The seconds of an epoch of each source, of every round; prints what they come to."""
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
            f"  {kind:10} {median:7.3f} s an epoch [{low:.3f}, {high:.3f}]  {case.examples / median:9,.0f} examples/s"
            f"  throughput {ratio:.2f} of in memory [{worst:.2f}, {best:.2f}]"
        )
    return times


def main() -> None:
    """Runs every case that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the examples, 2 rounds: to see it work")
    given = parser.parse_args()
    for name in given.cases:
        case = CASES[name]
        if given.quick:
            case = case._replace(examples=case.examples // 20)
        compare(name, case, 2 if given.quick else given.rounds)


if __name__ == "__main__":
    main()
