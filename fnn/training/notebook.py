"""Progress in a notebook: one line with a bar, updated in place, so that a cell has one small output."""

import contextlib
import html
import sys
import time
from collections.abc import Iterator
from typing import Any

from fnn.training.reporter import Reporter, format_line

PAUSE = 0.1  # seconds between two updates, each of which is a message to the page


def is_running() -> bool:
    """Return whether this code runs in a cell of a notebook: in IPython with a kernel, as Jupyter and Colab have."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return hasattr(shell, "kernel")


@contextlib.contextmanager
def updating_line(epochs: int) -> Iterator[Reporter]:
    """Yield a Reporter whose last line replaces the one before, with the seconds since the start; notes stay below it.

    When the training ends, also by an error, the bar goes and the line stays.
    """
    from IPython.display import display

    started = time.perf_counter()
    line, epoch, updated, notes = "compiling", 0, started, []
    handle = display(_bundle(line, notes, 0.0), raw=True, display_id=True)

    def update(done: float | None) -> None:
        nonlocal updated
        if handle is not None:
            handle.update(_bundle(line, notes, done), raw=True)
        updated = time.perf_counter()

    def show(reached: int, logs: dict[str, float]) -> None:
        nonlocal line
        line = format_line(reached, epochs, logs, time.perf_counter() - started)

    def advance(reached: int) -> None:
        nonlocal epoch
        epoch = reached
        if time.perf_counter() - updated >= PAUSE:
            update(epoch / epochs)

    def note(text: str) -> None:
        notes.append(text)
        update(epoch / epochs)

    try:
        yield Reporter(show, advance, note)
    finally:
        if line == "compiling":  # an error came before the first report
            line = f"epoch {epoch}/{epochs}  {time.perf_counter() - started:.1f} s"
        update(None)


def _bundle(line: str, notes: list[str], done: float | None) -> dict[str, Any]:
    """Return the output in plain text and as HTML; with a bar, if the training is not at its end."""
    text = "\n".join([line, *notes])
    bar = "" if done is None else f'<progress value="{done:.4f}" max="1"></progress> '
    style = "white-space: pre-wrap; font-family: monospace"
    return {"text/plain": text, "text/html": f'<div style="{style}">{bar}{html.escape(text)}</div>'}
