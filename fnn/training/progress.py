"""Progress of a training: a line for each report, and on a terminal a progress bar under them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Reporter(NamedTuple):
    """The functions that show progress.

    Attributes:
      line: epoch, {name: value} -> None; prints one line of a report.
      advance: epoch -> None; moves the progress bar.
      note: text -> None; prints a message.
    """

    line: Callable[[int, dict[str, float]], None]
    advance: Callable[[int], None]
    note: Callable[[str], None]


def format_line(epoch: int, epochs: int, logs: dict[str, float], seconds: float) -> str:
    """Format one line of a report.

    >>> format_line(5, 100, {"cost": 0.12345, "validation_accuracy": 0.975}, 1.25)
    'epoch   5/100  cost 0.1235  validation accuracy 0.9750  1.2 s'
    """
    values = "  ".join(f"{name.replace('_', ' ')} {_format_value(value)}" for name, value in _ordered(logs))
    return f"epoch {epoch:{len(str(epochs))}d}/{epochs}  {values}  {seconds:.1f} s"


def _format_value(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"


def _ordered(logs: dict[str, float]) -> list[tuple[str, float]]:
    """Put training before validation and costs before metrics. Compiled programs return their names sorted."""
    return sorted(logs.items(), key=lambda item: ("validation" in item[0], "cost" not in item[0], item[0]))


@contextlib.contextmanager
def reporting(progress: bool, epochs: int) -> Iterator[Reporter]:
    """Yield the Reporter of a training of this many epochs. Without `progress` it shows nothing."""
    if not progress:
        yield Reporter(lambda epoch, logs: None, lambda epoch: None, lambda text: None)
        return
    from rich.console import Console

    start, console = time.perf_counter(), Console(highlight=False)

    def line(epoch: int, logs: dict[str, float]) -> None:
        console.print(format_line(epoch, epochs, logs, time.perf_counter() - start), soft_wrap=True)

    def note(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    if not console.is_terminal:
        yield Reporter(line, lambda epoch: None, note)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=epochs)
        yield Reporter(line, lambda epoch: bar.update(task, completed=epoch), note)
