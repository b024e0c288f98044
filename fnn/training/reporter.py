"""What shows the progress of a training, and the line of a report."""

from collections.abc import Callable
from typing import NamedTuple

from fnn.display.lines import format_value, label, ordered


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
    """Format one line of a report. The seconds are those of the epochs since the line before.

    >>> format_line(5, 100, {"cost": 0.12345, "validation_accuracy": 0.975}, 1.25)
    'epoch   5/100  cost 0.1235  validation accuracy 0.9750  1.2 s'
    """
    values = "  ".join(f"{label(name)} {format_value(value)}" for name, value in ordered(logs))
    return f"epoch {epoch:{len(str(epochs))}d}/{epochs}  {values}  {seconds:.{1 if seconds >= 1 else 3}f} s"
