"""What is made of the raw times: medians, ratios with their spread, rates, the check of accuracies, exponents."""

import math
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.workloads import Workload, flops


class Row(NamedTuple):
    """A peer on a work. `seconds`: of each round, scaled to the whole unit; None where the peer had failed.

    ready       what the worker said when it was ready: seconds of its first unit, which compiles, scale, note
    parts       by name, of each round
    skipped     why it did not take part; failed: why it did not get to the end
    """

    peer: str
    seconds: tuple[float, ...] = ()
    first_unit: float | None = None
    scale: float = 1.0
    note: str = ""
    parts: dict[str, tuple[float | None, ...]] = {}  # noqa: RUF012 (never changed)
    accuracies: tuple[float, ...] = ()
    skipped: str = ""
    failed: str = ""


Rows = dict[str, Row]


class Summary(NamedTuple):
    """Numbers of a row: median and quartiles of the seconds; the ratio of medians to fnn's, the rounds' quartiles."""

    median: float
    low: float
    high: float
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


def quartiles(values: Any) -> tuple[float, float, float]:
    """Median, first and third quartile.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    (3.0, 2.0, 4.0)
    """
    low, median, high = np.percentile(np.asarray(values, float), (25, 50, 75))
    return float(median), float(low), float(high)


def summary(row: Row, base: Row | None) -> Summary | None:
    """Of a row with times; ratios to `base` round by round, over the rounds that both have."""
    if not row.seconds:
        return None
    times = quartiles(row.seconds)
    if base is None or not base.seconds:
        return Summary(*times)
    ratios = [ours / theirs for ours, theirs in zip(row.seconds, base.seconds, strict=False)]
    _, low, high = quartiles(ratios)
    return Summary(*times, times[0] / float(np.median(base.seconds)), low, high)


def ratio(rows: Rows, peer: str, base: str = "fnn") -> float | None:
    """How many times the median of `base` that of the peer is; None where one of them has none."""
    ours, theirs = rows.get(peer), rows.get(base)
    if ours is None or theirs is None or not theirs.seconds:
        return None
    numbers = summary(ours, theirs)
    return None if numbers is None else numbers.ratio


def gflops(work: Workload, row: Row) -> float | None:
    """10⁹ operations of the work's matrix products in a second of this row's median; None where it is not one work."""
    if not row.seconds or work.kind in ("growth", "start"):
        return None
    return flops(work) / float(np.median(row.seconds)) / 1e9


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The p of seconds = c size^p, by least squares of the logarithms.

    >>> round(exponent([1000, 10000], [0.1, 1.0]), 6)
    1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(row: Row) -> tuple[float | None, float | None]:
    """Of the work `growth`: the exponent of the epoch's time, and by what share memory grew over the rounds."""
    sizes = {int(name.split()[0]): values for name, values in row.parts.items() if name.endswith(" examples")}
    medians = {n: float(np.median([v for v in values if v is not None])) for n, values in sizes.items()}
    memory = [value for value in row.parts.get("resident MB", ()) if value is not None]
    grown = None if len(memory) < 2 else memory[-1] / memory[0] - 1
    return (exponent(list(medians), list(medians.values())) if len(medians) > 1 else None), grown


def accuracy(row: Row, count: int | None = None) -> float | None:
    """The mean over the networks, or the first few."""
    values = row.accuracies[:count]
    return float(np.mean(values)) if values else None


def disagreement(work: Workload, row: Row, base: Row) -> str:
    """What is wrong with the final accuracy of a row against fnn's; "" where it agrees, or was trained on less."""
    if not row.accuracies or not base.accuracies or trained_on_less(row):
        return ""
    count = min(len(row.accuracies), len(base.accuracies))
    ours, theirs = accuracy(row, count), accuracy(base, count)
    assert ours is not None
    assert theirs is not None
    if not math.isfinite(ours) or abs(ours - theirs) > work.tolerance:
        return f"accuracy {ours:.4f}, fnn's {theirs:.4f}: they differ by more than {work.tolerance}"
    return ""


def trained_on_less(row: Row) -> bool:
    """Whether its unit was a part of an epoch: its accuracy says nothing then. (Of many networks the first count.)"""
    return row.scale != 1 and "networks" not in row.note
