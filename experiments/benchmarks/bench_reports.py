"""Output of the benchmark: a table per workload, the goals, and a bar chart."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments import figures
from experiments.benchmarks.goals import Verdict, part_ratio
from experiments.benchmarks.peers import PEERS, RATES
from experiments.benchmarks.timings import (
    Row,
    Rows,
    accuracy,
    cpu_ratio,
    disagreement,
    gflops,
    growth,
    ratio,
    summary,
    trained_on_less,
)
from experiments.benchmarks.workloads import Workload

PACKAGES = ("torch", "flax", "equinox", "optax", "scikit-learn")


def peer_versions() -> dict[str, str]:
    """Return the versions of the installed peers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def duration(seconds: float) -> str:
    """Format seconds with three digits, in milliseconds below 1 s.

    >>> duration(0.01234), duration(1.234), duration(123.4)
    ('12.3 ms', '1.23 s', '123 s')
    """
    return f"{three_digits(1e3 * seconds)} ms" if seconds < 0.9995 else f"{three_digits(seconds)} s"


def three_digits(value: float) -> str:
    """Format with three significant digits, or with all digits of the integer part.

    >>> three_digits(0.01234), three_digits(1.234), three_digits(12.34), three_digits(1234.5)
    ('0.0123', '1.23', '12.3', '1,234')
    """
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def cells(work: Workload, row: Row, rows: Rows) -> list[str]:
    """Return the cells after the row's name: seconds, their spread, ratio, its spread, rate, accuracy."""
    numbers = summary(row, rows["fnn"])
    if numbers is None:
        return ["", "", "", "", "", ""]
    unit, factor = ("ms", 1e3) if numbers.median < 0.9995 else ("s", 1.0)
    spread = f"{three_digits(factor * numbers.low)} .. {three_digits(factor * numbers.high)} {unit}"
    ratios = ["", ""]
    if numbers.ratio is not None and row.peer != "fnn":
        ratios = [
            three_digits(numbers.ratio),
            f"{three_digits(numbers.ratio_low or 0)} .. {three_digits(numbers.ratio_high or 0)}",
        ]
    mean = accuracy(row)
    text = "" if mean is None else f"{mean:.4f}"
    if mean is not None and trained_on_less(row):
        text = "(on less)"
    if mean is not None and len(row.accuracies) < len(rows["fnn"].accuracies):
        text += f" (fnn's: {accuracy(rows['fnn'], len(row.accuracies)):.4f})"
    rate = gflops(work, row)
    return [duration(numbers.median), spread, *ratios, "" if rate is None else three_digits(rate), text]


def table(work: Workload, rows: Rows):
    """Return a rich table of the peers that finished."""
    from rich.table import Table

    result = Table(title=f"{work.title} (seconds: {work.unit})", title_justify="left")
    for column in ("peer", "median", "quartiles", "x fnn", "quartiles", "GFLOP/s", "accuracy"):
        result.add_column(column, justify="left" if column == "peer" else "right", no_wrap=True)
    for row in rows.values():
        if row.seconds:
            result.add_row(PEERS[row.peer].label, *cells(work, row, rows))
    return result


def remarks(work: Workload, rows: Rows) -> list[str]:
    """Return remarks: scaled units, accuracies that differ, failed and skipped peers, parts of units."""
    lines = []
    for row in rows.values():
        label = PEERS[row.peer].label
        if row.note:
            lines.append(f"{label}: {row.note}")
        if problem := disagreement(work, row, rows["fnn"]):
            lines.append(f"NOT EQUAL: {label}: {problem}")
        if row.failed:
            lines.append(f"failed: {row.failed}")
    parts = rows["fnn"].parts
    medians = {name: sorted(v for v in values if v is not None) for name, values in parts.items()}
    listed = [f"{name} {values[len(values) // 2]:.4g}" for name, values in medians.items() if values]
    if listed:
        lines.append(f"fnn, medians: {', '.join(listed)}")
    for name in compared(rows):
        ratios = {part: part_ratio(name, part)(rows) for part in parts}
        listed = [f"{part} {three_digits(value)}" for part, value in ratios.items() if value]
        if name != "fnn" and listed:
            lines.append(f"{PEERS[name].label} / fnn: {', '.join(listed)}")
    if work.kind == "growth" and rows["fnn"].seconds:
        power, _ = growth(rows["fnn"])
        lines.append(f"the time of an epoch grows as its number of examples to the power {power:.3f}")
    cpu = {PEERS[name].label: cpu_ratio(rows, name) for name in compared(rows) if name != "fnn"}
    listed = [f"{label} {three_digits(value)}" for label, value in cpu.items() if value]
    if listed:
        lines.append(f"CPU time of all threads / fnn's: {', '.join(listed)}")
    shares = {rate: ratio(rows, rate) for rate in RATES}
    listed = [f"{100 * share:.0f} % of {PEERS[rate].label}" for rate, share in shares.items() if share]
    if listed:
        lines.append(f"fnn's rate: {', '.join(listed)}")
    if work.kind == "sweep" and rows["fnn"].first_unit:
        lines.append(f"fnn's first call, which compiles: {rows['fnn'].first_unit:.2f} s")
    reasons: dict[str, list[str]] = {}
    for row in rows.values():
        if row.skipped:
            reasons.setdefault(row.skipped, []).append(PEERS[row.peer].label)
    return lines + [f"skipped, {reason}: {', '.join(labels)}" for reason, labels in reasons.items()]


def goals_table(verdicts: Sequence[Verdict]):
    """Return a rich table of the goals and the measured values."""
    from rich.table import Table

    result = Table(title="Goals", title_justify="left")
    for column in ("work", "goal", "measured", ""):
        result.add_column(column, justify="right" if column == "measured" else "left")
    for verdict in verdicts:
        value = "" if verdict.value is None else f"{verdict.value:.3g} {verdict.unit}".strip()
        result.add_row(
            verdict.work, verdict.text, value, {None: "not measured", True: "met", False: "missed"}[verdict.met]
        )
    return result


def figure(results: Sequence[tuple[Workload, Rows]], path: Path) -> None:
    """Save a bar chart with a panel per workload.

    Bars show the ratio of each peer's time to fnn's, and whiskers the quartiles of the rounds.
    """
    from matplotlib.figure import Figure

    panels = [(work, shown) for work, rows in results if len(shown := compared(rows)) > 1]
    if not panels:
        panels = [(work, compared(rows)) for work, rows in results]
    columns = min(2, len(panels))
    heights = [max(len(rows) for _, rows in panels[i : i + columns]) for i in range(0, len(panels), columns)]
    with figures.style():
        fig = Figure(figsize=(6.4 * columns, 0.36 * sum(heights) + 1.25 * len(heights) + 0.5), layout="constrained")
        grid = fig.add_gridspec(len(heights), columns, height_ratios=[h + 2 for h in heights])
        for i, (work, rows) in enumerate(panels):
            panel(fig.add_subplot(grid[i // columns, i % columns]), work, rows)
        fig.suptitle("Time of each peer / time of fnn (grey: slower than fnn, orange: faster)", fontsize=11)
        figures.save(fig, path)


def compared(rows: Rows) -> Rows:
    """Return the rows with times, without the rates of matrix products."""
    return {name: row for name, row in rows.items() if row.seconds and name not in RATES}


def panel(axes: Any, work: Workload, rows: Rows) -> None:
    """Draw the bars of a workload on a logarithmic axis, labelled with medians and ratios."""
    import textwrap

    numbers = [(row, found) for row in rows.values() if (found := summary(row, rows.get("fnn"))) is not None]
    values = [found.ratio or 1.0 for _, found in numbers]
    lows, highs = min([1.0, *values]), max([1.0, *values])
    for y, ((row, found), value) in enumerate(zip(numbers, values, strict=True)):
        ours = row.peer == "fnn"
        colour = figures.BLUE if ours else figures.ORANGE if value < 1 else figures.GREY
        axes.barh(y, value - 1, 0.7, left=1, color=colour, alpha=1 if ours else 0.75)
        if ours:
            axes.plot(1, y, marker="o", color=figures.BLUE, ms=8, clip_on=False, zorder=3)
        elif found.ratio_low is not None and found.ratio_high is not None:
            axes.plot([found.ratio_low, found.ratio_high], [y, y], color="black", lw=1.2)
        end = max(1.0, value, 1.0 if ours else found.ratio_high or 1.0)
        text = duration(found.median) + ("" if ours else f"  ({three_digits(value)}x)")
        axes.annotate(text, (end, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=10)
    axes.set_xscale("log")
    span = max(highs / lows, 2.0)
    axes.set_xlim(lows / span**0.06, lows * span**1.45)
    axes.set_yticks(range(len(numbers)), [PEERS[row.peer].label for row, _ in numbers])
    axes.invert_yaxis()
    axes.axvline(1, color=figures.BLUE, lw=1.4)
    axes.grid(axis="y", visible=False)
    axes.set_title("\n".join(textwrap.wrap(work.title, 44)), loc="left", fontsize=11)
    axes.set_xlabel(f"time / fnn's time ({work.unit})")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if span < 8 and str(value)[0] in "1235" else "")
