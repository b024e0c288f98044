"""Output of the speedrun: a table, and a figure of accuracy over seconds."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import figures

LABELS = {"fnn": "fnn", "torch": "PyTorch"}
COLOURS = {"fnn": figures.BLUE, "torch": figures.ORANGE}


def finite_or_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace infinite times, which JSON lacks, by None."""
    return {name: None if v in (math.inf, -math.inf) else v for name, v in values.items()}


def ratio(theirs: Any, ours: Any) -> float | None:
    """Return the other library's median time / fnn's, or None if one of them is infinite."""
    return theirs.median / ours.median if math.isfinite(theirs.median) and math.isfinite(ours.median) else None


def seconds(value: float) -> str:
    """Format seconds with two decimals. An infinite time becomes a dash.

    >>> seconds(1.234), seconds(math.inf)
    ('1.23', '-')
    """
    return f"{value:.2f}" if math.isfinite(value) else "-"


def table(summaries: Mapping[str, Mapping[str, Any]], targets: Mapping[str, float]):
    """Return a rich table with a row per network and library."""
    from rich.table import Table

    result = Table(title="Seconds from the start of a cold process to the target", title_justify="left")
    for column in ("network", "target", "library", "median s", "from .. to", "x fnn", "reached", "epochs", "accuracy"):
        result.add_column(column, justify="left" if column in ("network", "library") else "right", no_wrap=True)
    for network, sides in summaries.items():
        for side, row in sides.items():
            times = None if side == "fnn" else ratio(row, sides["fnn"])
            result.add_row(
                network,
                f"{targets[network]:.1%}",
                LABELS[side],
                seconds(row.median),
                f"{seconds(row.low)} .. {seconds(row.high)}",
                "" if times is None else f"{times:.2f}",
                f"{row.reached} of {row.runs}",
                f"{row.epochs:g}",
                f"{row.accuracy:.4f}",
            )
    return result


def figure(results: Mapping[str, Mapping[str, Sequence[Any]]], targets: Mapping[str, float], path: Path) -> None:
    """Save a figure with a panel per network.

    It shows a line per run, a point per epoch, and the target as a dotted line.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    with figures.style():
        fig = Figure(figsize=(5.4 * len(results), 4.2), layout="constrained")
        for i, (network, sides) in enumerate(results.items()):
            axes = fig.add_subplot(1, len(results), i + 1)
            for side, runs in sides.items():
                for k, run in enumerate(runs):
                    label = LABELS[side] if k == 0 else None
                    style = {"color": COLOURS[side], "marker": "o" if side == "fnn" else "s", "ms": 4, "alpha": 0.75}
                    axes.plot(
                        run.seconds, run.accuracies, lw=1.3, ls="-" if side == "fnn" else "--", label=label, **style
                    )
            axes.axhline(targets[network], color=figures.GREY, lw=1.4, ls=":", label=f"target {targets[network]:.1%}")
            axes.set(title=network, xlabel="seconds since just before the process was started")
            axes.set_ylabel("test accuracy after an epoch" if i == 0 else "")
            axes.set_xlim(left=0)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.legend(loc="center left")
        figures.save(fig, path)
