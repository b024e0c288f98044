"""Statistics of the raw times: medians, ratios, rates, accuracies, exponents."""

import math
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.workloads import Workload, flops


class Row(NamedTuple):
    """The results of a peer on a workload.

    seconds       of each round, scaled to the whole unit
    cpu           seconds of CPU time of each round, of all threads, scaled in the same way
    first_unit    seconds of the first unit, which compiles
    scale         number of the peer's units in a unit of the workload
    note          what was scaled, in words
    parts         seconds of each part of a unit, by name, of each round
    accuracies    final test accuracies
    peak          most bytes on the device at a time
    skipped       why the peer did not run
    failed        why the peer did not finish
    """

    peer: str
    seconds: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    first_unit: float | None = None
    scale: float = 1.0
    note: str = ""
    parts: dict[str, tuple[float | None, ...]] = {}  # noqa: RUF012 (never changed)
    accuracies: tuple[float, ...] = ()
    peak: int | None = None
    skipped: str = ""
    failed: str = ""


Rows = dict[str, Row]


class Summary(NamedTuple):
    """Median and quartiles of the seconds, and of the ratios to fnn's."""

    median: float
    low: float
    high: float
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None


def quartiles(values: Any) -> tuple[float, float, float]:
    """Return the median, the first and the third quartile.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    (3.0, 2.0, 4.0)
    """
    low, median, high = np.percentile(np.asarray(values, float), (25, 50, 75))
    return float(median), float(low), float(high)


def summary(row: Row, base: Row | None) -> Summary | None:
    """Summarise a row.

    Ratios to `base` are taken round by round, over the rounds that both have.
    """
    if not row.seconds:
        return None
    times = quartiles(row.seconds)
    if base is None or not base.seconds:
        return Summary(*times)
    ratios = [ours / theirs for ours, theirs in zip(row.seconds, base.seconds, strict=False)]
    _, low, high = quartiles(ratios)
    return Summary(*times, times[0] / float(np.median(base.seconds)), low, high)


def ratio(rows: Rows, peer: str, base: str = "fnn") -> float | None:
    """Return the peer's median / the median of `base`, or None if one of them has none."""
    ours, theirs = rows.get(peer), rows.get(base)
    if ours is None or theirs is None or not theirs.seconds:
        return None
    numbers = summary(ours, theirs)
    return None if numbers is None else numbers.ratio


def cpu_ratio(rows: Rows, peer: str) -> float | None:
    """Return the median of the peer's CPU time / that of fnn's, or None if one of them has none."""
    theirs, ours = rows.get(peer), rows.get("fnn")
    if not (ours and theirs and ours.cpu and theirs.cpu):
        return None
    return float(np.median(theirs.cpu) / np.median(ours.cpu))


def gflops(work: Workload, row: Row) -> float | None:
    """Return the rate of matrix products in GFLOP/s, or None if the workload has no single size."""
    if not row.seconds or work.kind in ("growth", "start", "attention"):
        return None
    return flops(work) / float(np.median(row.seconds)) / 1e9


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return p in seconds = c size^p, fitted by least squares to the logarithms.

    >>> round(exponent([1000, 10000], [0.1, 1.0]), 6)
    1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(row: Row) -> tuple[float | None, float | None]:
    """Return the exponent of the epoch's time and the relative growth of memory (workload `growth`)."""
    sizes = {int(name.split()[0]): values for name, values in row.parts.items() if name.endswith(" examples")}
    medians = {n: float(np.median([v for v in values if v is not None])) for n, values in sizes.items()}
    memory = [value for value in row.parts.get("resident MB", ()) if value is not None]
    growth_of_memory = None if len(memory) < 2 else memory[-1] / memory[0] - 1
    return (exponent(list(medians), list(medians.values())) if len(medians) > 1 else None), growth_of_memory


def accuracy(row: Row, count: int | None = None) -> float | None:
    """Return the mean accuracy over all networks, or over the first `count`."""
    values = row.accuracies[:count]
    return float(np.mean(values)) if values else None


def disagreement(work: Workload, row: Row, base: Row) -> str:
    """Describe how the row's final accuracy differs from fnn's.

    Returns "" if it agrees or is not comparable.
    """
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
    """Return True if the peer's unit was a part of an epoch, so that its accuracy is not comparable."""
    return row.scale != 1 and "networks" not in row.note
