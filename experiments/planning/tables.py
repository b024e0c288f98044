"""The tables that plans print, at most 80 columns wide."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from experiments.planning.analysis import Memory, StepAnalysis
from experiments.planning.collectives import Collective, ring_factor, ring_steps
from experiments.planning.predictions import Prediction, Rates, collective_seconds
from experiments.wording import counted

if TYPE_CHECKING:
    from rich.table import Table


def show(tables: Iterable["Table"]) -> None:
    """Print tables, 80 columns wide if the terminal is narrower or not known."""
    from rich.console import Console

    console = Console(highlight=False, width=max(Console().width, 80))
    for table in tables:
        console.print(table)


def make_table(title: str, *columns: str) -> "Table":
    """Make a table with the first column left-aligned and the others right-aligned."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def megabytes(size: float) -> str:
    """Format bytes in MB (10⁶ bytes).

    >>> megabytes(1234), megabytes(123_456_789), megabytes(1_234_567_890)
    ('0.001', '123.457', '1,235')
    """
    return f"{size / 1e6:,.3f}" if size < 999_999_500 else f"{size / 1e6:,.0f}"


def milliseconds(seconds: float) -> str:
    """Format seconds in ms, with four digits.

    >>> milliseconds(0.0123456), milliseconds(45.678)
    ('12.35', '45,678')
    """
    return f"{1e3 * seconds:.4g}" if seconds < 9.9995 else f"{1e3 * seconds:,.0f}"


def memory_table(many: StepAnalysis, one: StepAnalysis, devices: int) -> "Table":
    """Make a table with a row per kind of array, in MB on one device."""
    table = make_table("memory per device, MB", "", counted(devices, "device"), "1 device")

    def row(name: str, size: Callable[[Memory], int]) -> None:
        table.add_row(name, *(megabytes(size(step.memory)) for step in (many, one)))

    gradients = lambda memory: min(memory.gradients, memory.temporaries)
    row("parameters", lambda memory: memory.parameters)
    row("optimizer state", lambda memory: memory.optimizer)
    row("batch", lambda memory: memory.batch)
    row("gradients", gradients)
    row("activations, other temporaries", lambda memory: memory.temporaries - gradients(memory))
    table.add_section()
    row("peak", lambda memory: memory.peak)
    return table


def by_kind(found: Iterable[Collective]) -> list[list[Collective]]:
    """Group the collectives of one kind over groups of one size, in the order of their first."""
    groups: dict[tuple[str, int, bool], list[Collective]] = {}
    for collective in found:
        groups.setdefault((collective.kind, collective.group_size, collective.unbounded), []).append(collective)
    return list(groups.values())


def communication_table(found: Sequence[Collective], rates: Rates, title: str = "communication per step") -> "Table":
    """Make a table with a row per kind of collective and size of group."""
    table = make_table(title, "", "devices", "times", "MB", "MB sent", "messages", "ms")
    for group in by_kind(found):
        first = group[0]
        table.add_row(
            first.kind + (", per iteration" if first.unbounded else ""),
            f"{first.group_size:,}",
            f"{sum(c.times for c in group):,}",
            megabytes(sum(c.times * c.bytes for c in group)),
            megabytes(sum(c.times * ring_factor(c) * c.bytes for c in group)),
            f"{sum(c.times * ring_steps(c) for c in group):,}",
            milliseconds(sum(collective_seconds(c, rates) for c in group)),
        )
    return table


def prediction_table(prediction: Prediction, devices: int, title: str = "prediction") -> "Table":
    """Make a table of the prediction without overlap and with perfect overlap."""
    table = make_table(title, "", "no overlap", "perfect overlap")
    for name, seconds in (("compute", prediction.compute), ("communication", prediction.communication)):
        table.add_row(f"{name}, ms", *[milliseconds(seconds)] * 2)
    table.add_row("step, ms", *map(milliseconds, prediction.step))
    table.add_row("efficiency", *(f"{100 * efficiency:.1f} %" for efficiency in prediction.efficiency))
    table.add_row(
        f"speed-up of {counted(devices, 'device')} over one", *(f"{ratio:.2f}" for ratio in prediction.speed_up)
    )
    return table
