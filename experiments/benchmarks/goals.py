"""The performance goals of the project and how each is measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.timings import Rows, cpu_ratio, growth, ratio


class Goal(NamedTuple):
    """A goal.

    `measure` computes its number from the workload's rows by peer, or None if it was not measured.
    """

    work: str
    text: str
    unit: str
    measure: Callable[[Rows], float | None]
    least: float | None = None
    most: float | None = None


class Verdict(NamedTuple):
    """A goal and its measured value. `met` is None if there is no value."""

    work: str
    text: str
    value: float | None
    unit: str
    met: bool | None


def time_ratio(peer: str) -> Callable[[Rows], float | None]:
    """Return a measure: the peer's median / fnn's."""
    return lambda rows: ratio(rows, peer)


def fastest_ratio(*peers: str) -> Callable[[Rows], float | None]:
    """Return a measure: the median of the fastest of these peers / fnn's.

    None unless all have run.
    """

    def measure(rows: Rows) -> float | None:
        ratios = [ratio(rows, peer) for peer in peers]
        return None if None in ratios else min(value for value in ratios if value is not None)

    return measure


def cpu_time_ratio(peer: str) -> Callable[[Rows], float | None]:
    """Return a measure: the median CPU time of the peer / that of fnn."""
    return lambda rows: cpu_ratio(rows, peer)


def part_ratio(peer: str, part: str) -> Callable[[Rows], float | None]:
    """Return a measure: the median of a part of the peer's unit / that of fnn's."""

    def measure(rows: Rows) -> float | None:
        theirs, ours = (
            [value for value in rows[name].parts.get(part, ()) if value] if name in rows else []
            for name in (peer, "fnn")
        )
        return float(np.median(theirs) / np.median(ours)) if ours and theirs else None

    return measure


def share_of_products(rows: Rows) -> float | None:
    """Return fnn's rate in percent of the best measured rate of matrix products."""
    shares = [value for rate in ("products", "square") if (value := ratio(rows, rate)) is not None]
    return 100 * min(shares) if len(shares) == 2 else None


def median_seconds(rows: Rows) -> float | None:
    """Return fnn's median."""
    row = rows.get("fnn")
    return float(np.median(row.seconds)) if row and row.seconds else None


def median_of_part(name: str) -> Callable[[Rows], float | None]:
    """Return a measure: the median of a part of fnn's unit."""

    def measure(rows: Rows) -> float | None:
        row = rows.get("fnn")
        values = [value for value in row.parts.get(name, ()) if value is not None] if row else []
        return float(np.median(values)) if values else None

    return measure


def growth_measure(index: int, factor: float) -> Callable[[Rows], float | None]:
    """Return a measure of fnn's row: the exponent (index 0) or the growth of memory (index 1)."""

    def measure(rows: Rows) -> float | None:
        row = rows.get("fnn")
        value = growth(row)[index] if row and row.seconds else None
        return None if value is None else factor * value

    return measure


LIBRARIES = ("flax", "equinox", "torch", "torch-passive")
MEMORY = "temporary MiB"
GOALS = (
    Goal("sigmoid", "time of PyTorch over fnn's, at least", "x", time_ratio("torch"), least=6),
    Goal("sigmoid", "time of the NumPy loop over fnn's, at least", "x", time_ratio("numpy"), least=2.5),
    Goal("sigmoid", "time of JAX by hand over fnn's, at least", "x", time_ratio("jax"), least=1.15),
    Goal("relu", "time of PyTorch over fnn's, at least", "x", time_ratio("torch"), least=2.5),
    Goal(
        "relu",
        "time of the best of Flax and Equinox over fnn's, at least",
        "x",
        fastest_ratio("flax", "equinox"),
        least=1.3,
    ),
    Goal("relu", "time of JAX by hand over fnn's, at least", "x", time_ratio("jax"), least=1.0),
    Goal("wide", "rate over that of matrix products, at least", "%", share_of_products, least=90),
    Goal("wide", "time of JAX by hand over fnn's, at least", "x", time_ratio("jax"), least=1.0),
    Goal("cnn", "time of PyTorch over fnn's, at least", "x", time_ratio("torch"), least=1.5),
    Goal("cnn", "time of Flax over fnn's, at least", "x", time_ratio("flax"), least=5),
    Goal("cnn", "time of lax.conv inside a scan over fnn's, at least", "x", time_ratio("jax-scan"), least=40),
    Goal("nets", "rate over that of matrix products, at least", "%", share_of_products, least=60),
    Goal("nets", "time of PyTorch, one after another over fnn's, at least", "x", time_ratio("torch"), least=5),
    Goal("planar", "time of PyTorch, one after another over fnn's, at least", "x", time_ratio("torch"), least=100),
    Goal("sweep", "seconds for all, compiled, at most", "s", median_seconds, most=5),
    *(
        goal
        for work, least in (("lstm", 1.2), ("gru", 1.4))
        for goal in (
            Goal(work, "CPU time of jax.grad over fnn's, at least", "x", cpu_time_ratio("fnn-autodiff"), least=least),
            Goal(work, "memory of jax.grad over fnn's, at least", "x", part_ratio("fnn-autodiff", MEMORY), least=1.05),
            Goal(work, "time of the fastest library over fnn's, at least", "x", fastest_ratio(*LIBRARIES), least=1.0),
        )
    ),
    Goal("gpt", "CPU time of jax.grad over fnn's, at least", "x", cpu_time_ratio("fnn-autodiff"), least=1.08),
    Goal("gpt", "memory of jax.grad over fnn's, at least", "x", part_ratio("fnn-autodiff", MEMORY), least=1.05),
    Goal("gpt", "time of PyTorch over fnn's, at least", "x", fastest_ratio("torch", "torch-passive"), least=1.8),
    Goal(
        "attention",
        "1,024 positions, CPU time of jax.nn over fnn's, at least",
        "x",
        part_ratio("jax", "T = 1024: CPU ms"),
        least=3,
    ),
    Goal(
        "attention",
        "1,024 positions, memory of jax.nn over fnn's, at least",
        "x",
        part_ratio("jax", "T = 1024: MiB"),
        least=5,
    ),
    Goal(
        "attention",
        "1,024 positions, time of PyTorch over fnn's, at least",
        "x",
        part_ratio("torch-passive", "T = 1024: ms"),
        least=1,
    ),
    Goal(
        "start", "seconds to the end of the first epoch, nothing cached, at most", "s", median_of_part("cold"), most=5
    ),
    Goal(
        "start",
        "seconds to the end of the first epoch, compilations cached, at most",
        "s",
        median_of_part("warm"),
        most=3,
    ),
    Goal(
        "growth", "exponent of the time of an epoch in its examples", "", growth_measure(0, 1.0), least=0.95, most=1.05
    ),
    Goal("growth", "memory gained over the rounds, at most", "%", growth_measure(1, 100.0), most=2),
)


def limits(goal: Goal) -> str:
    """Return the required value as text."""
    if goal.least is not None and goal.most is not None:
        return f"{goal.least:g} to {goal.most:g}"
    return f"{goal.most if goal.least is None else goal.least:g} {goal.unit}"


def judge(results: Mapping[str, Rows], goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """Return the verdict on every goal of the workloads that ran."""
    verdicts = []
    for goal in goals:
        if goal.work not in results:
            continue
        value = goal.measure(results[goal.work])
        met = None
        if value is not None:
            met = (goal.least is None or value >= goal.least) and (goal.most is None or value <= goal.most)
        verdicts.append(Verdict(goal.work, f"{goal.text} {limits(goal)}".strip(), value, goal.unit, met))
    return verdicts
