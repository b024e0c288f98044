"""Progress of a run of many studies on the terminal: finished and running ones."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from experiments.studies.shared import outcomes
from experiments.wording import counted

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

STYLES = {outcomes.HOLDS: ("✓", "green"), outcomes.BROKEN: ("✗", "red"), outcomes.FAILED: ("!", "red")}


class Row(NamedTuple):
    """One study in the progress display.

    state      waiting, running, holds, does not hold, failed, or skipped: needs …
    held       how many criteria hold, for example 3/4
    seconds    the duration of the finished study
    started    when the running study started, on the clock of time.perf_counter
    """

    name: str
    id: str = "?"
    state: str = "waiting"
    held: str = ""
    seconds: float | None = None
    note: str = ""
    started: float = 0.0


class Progress:
    """Context manager that shows the rows.

    On a terminal, running studies are shown live. Elsewhere, each finished study prints one line.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        from rich.console import Console
        from rich.live import Live

        self.rows = {row.name: row for row in rows}
        self.width = max((len(row.name) for row in rows), default=0)
        self.console = Console(highlight=False)
        self.live = Live(get_renderable=self.below, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Progress":
        for row in self.rows.values():
            if row.state != "waiting":
                self.show(row)
        if self.console.is_interactive:
            self.live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.live.stop()

    def update(self, row: Row) -> None:
        """Store the new state of a row, and print the row if its study is finished."""
        self.rows[row.name] = row
        if row.state != "running":
            self.show(row)

    def show(self, row: Row) -> None:
        """Print the row permanently."""
        self.console.print(self.line(row), soft_wrap=True)

    def line(self, row: Row) -> "Text":
        """Return the row as a line: number, name, state, criteria held, seconds, note."""
        from rich.text import Text

        mark, colour = STYLES.get(row.state, ("–" if row.state.startswith(outcomes.SKIPPED) else "·", "yellow"))
        seconds = time.perf_counter() - row.started if row.state == "running" else row.seconds
        line = Text(f"{row.id:4} {row.name:{self.width}}  ")
        line.append(f"{mark} {row.state:13}", style=colour)
        line.append(f"  {row.held:>5}  {f'{seconds:6.1f} s' if seconds is not None else '':8}")
        line.append(f"  {row.note}".rstrip() if row.note else "", style="dim")
        line.rstrip()
        return line

    def below(self) -> "Group":
        """Return the live part: running and waiting studies."""
        from rich.console import Group
        from rich.text import Text

        rows = self.rows.values()
        running = [self.line(row) for row in rows if row.state == "running"]
        waiting = [row.name for row in rows if row.state == "waiting"]
        done = len(rows) - len(running) - len(waiting)
        text = f"{done} of {len(rows)} done" + (f"; waiting: {', '.join(waiting)}" if waiting else "")
        return Group(*running, Text(text, style="dim"))

    def summary(self) -> str:
        """Return how many studies ended in each state."""
        counts = Counter(row.state for row in self.rows.values())
        return (
            counted(len(self.rows), "study", "studies")
            + ": "
            + ", ".join(f"{number} {state}" for state, number in counts.items())
        )
