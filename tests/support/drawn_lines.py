"""Which lines of a figure have no name."""

from collections.abc import Iterator

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D


def look(line: Line2D) -> tuple[str, str]:
    """Return what tells a line from others: its colour and its dashes. A legend's entry may have a marker besides."""
    return to_hex(line.get_color()), str(line.get_linestyle())


def legends(figure: Figure) -> Iterator[Legend]:
    """Yield the legends of the figure, of its parts and of its panels."""
    for part in (figure, *figure.subfigs):
        yield from part.legends
    for axes in figure.axes:
        yield from (child for child in axes.get_children() if isinstance(child, Legend))


def unnamed_lines(figure: Figure) -> list[str]:
    """Return the lines that no legend of the figure names, as panel and look.

    A legend names the lines that look like its entry, and a text in the panel those of its colour. The title names
    lines of one look that are alone in their panel. Points without a line, and the line at 0 that continues an axis,
    are left out.
    """
    found = []
    named = {look(line) for legend in legends(figure) for line in legend.get_lines()}
    for axes in figure.axes:
        title = axes.get_title(loc="left") or axes.get_title()
        lines = [line for line in axes.get_lines() if line.get_linestyle() != "None" and np.any(line.get_ydata())]
        written = {to_hex(text.get_color()) for text in axes.texts}
        looks = {one for one in map(look, lines) if one[0] not in written}
        if len(looks) > 1 or not title:
            found += [f"{title}: {one}" for one in looks - named]
    return sorted(found)
