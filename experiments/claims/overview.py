"""The overview of many studies on the screen: a line per study that is done, and, live, those under way."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from experiments.studies.shared import outcomes

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

STYLES = {outcomes.HOLDS: ("✓", "green"), outcomes.BROKEN: ("✗", "red"), outcomes.FAILED: ("!", "red")}


class Row(NamedTuple):
    """A study in the overview.

    state      waiting, running, holds, does not hold, failed, or skipped: needs …
    held       criteria that hold, of how many
    seconds    that it took; `started`, on the clock of time.perf_counter, while it runs
    """

    name: str
    id: str = "?"
    state: str = "waiting"
    held: str = ""
    seconds: float | None = None
    note: str = ""
    started: float = 0.0


class Overview:
    """Rows by name, on the screen while inside `with`. Where nobody can see it change, a line per study."""

    def __init__(self, rows: Sequence[Row]) -> None:
        from rich.console import Console
        from rich.live import Live

        self.rows = {row.name: row for row in rows}
        self.width = max((len(row.name) for row in rows), default=0)
        self.console = Console(highlight=False)
        self.live = Live(get_renderable=self.below, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Overview":
        for row in self.rows.values():
            if row.state != "waiting":
                self.show(row)
        if self.console.is_interactive:
            self.live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.live.stop()

    def update(self, row: Row) -> None:
        """Takes the row's new state; shows it when the study is done."""
        self.rows[row.name] = row
        if row.state != "running":
            self.show(row)

    def show(self, row: Row) -> None:
        """Prints the row, to stay."""
        self.console.print(self.line(row), soft_wrap=True)

    def line(self, row: Row) -> "Text":
        """The row as a line: number, name, state, criteria held, seconds, note."""
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
        """What is under way and what waits."""
        from rich.console import Group
        from rich.text import Text

        rows = self.rows.values()
        running = [self.line(row) for row in rows if row.state == "running"]
        waiting = [row.name for row in rows if row.state == "waiting"]
        done = len(rows) - len(running) - len(waiting)
        text = f"{done} of {len(rows)} done" + (f"; waiting: {', '.join(waiting)}" if waiting else "")
        return Group(*running, Text(text, style="dim"))

    def summary(self) -> str:
        """How many studies came out how."""
        counts = Counter(row.state for row in self.rows.values())
        return f"{len(self.rows)} studies: " + ", ".join(f"{number} {state}" for state, number in counts.items())
