"""Progress of a training: a line for each report, on a terminal with a bar under them; in a notebook one line."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np

from fnn.display.lines import format_value
from fnn.training import notebook
from fnn.training.reporter import Reporter, format_line


def early_stopping_note(validation_cost: np.ndarray, epochs: int, patience: int) -> str:
    """Say whether early stopping ended a training of at most `epochs`, and of which epoch the parameters are returned.

    `validation_cost` has one entry for each epoch that ran.

    >>> early_stopping_note(np.array([0.5, 0.25, 0.5, 0.25]), 10, 2)
    'stopped early after epoch 4, 2 epochs without a lower validation cost; returning the state of epoch 2 (0.2500)'
    >>> early_stopping_note(np.array([0.5, 0.25]), 2, 1)
    'returning the state of epoch 2, which has the lowest validation cost (0.2500)'
    """
    ran, best = len(validation_cost), int(np.argmin(validation_cost)) + 1
    cost = format_value(float(validation_cost[best - 1]))
    if ran < epochs and ran - best >= patience:
        waited = f"{patience} epoch{'s' if patience > 1 else ''} without a lower validation cost"
        return f"stopped early after epoch {ran}, {waited}; returning the state of epoch {best} ({cost})"
    return f"returning the state of epoch {best}, which has the lowest validation cost ({cost})"


@contextlib.contextmanager
def reporting(progress: bool, epochs: int) -> Iterator[Reporter]:
    """Yield the Reporter of a training of this many epochs. Without `progress` it shows nothing.

    Names and paths are printed as they are: brackets are not markup, and `:name:` is no emoji.
    """
    if not progress:
        yield Reporter(lambda epoch, logs: None, lambda epoch: None, lambda text: None)
        return
    if notebook.is_running():
        with notebook.updating_line(epochs) as reporter:
            yield reporter
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    started, reported = time.perf_counter(), False  # `started`: when the epochs of the next line began

    def line(epoch: int, logs: dict[str, float]) -> None:
        nonlocal reported
        console.print(format_line(epoch, epochs, logs, time.perf_counter() - started), soft_wrap=True)
        reported = True

    def advance(epoch: int) -> None:
        nonlocal started, reported
        if reported:  # the callback, which runs after the line, does not count
            started, reported = time.perf_counter(), False

    def note(text: str) -> None:
        console.print(text, soft_wrap=True)

    if not console.is_terminal:
        yield Reporter(line, advance, note)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    description = TextColumn("{task.description}")
    columns = (description, BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compiling", total=epochs, start=False)  # the first call compiles before it trains

        def advance_bar(epoch: int) -> None:
            advance(epoch)
            bar.start_task(task)
            bar.update(task, completed=epoch, description="training")

        yield Reporter(line, advance_bar, note)
