"""The parts of a diagram: boxes, columns, branches and frames, measured first, then drawn.

Lengths are inches. y grows downwards. A block is drawn around x, from y to y + height; what flows enters it at (x, y)
and leaves it at (x, y + height).
"""

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fnn.display.figures import BLUE, GREY, literal, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP, LINE, PAD = 0.34, 0.2, 0.16  # between blocks; of a line of text; around blocks in a frame
LETTER = 0.085  # the width of a letter of 10 points
LETTERS = 34  # of a line


class Block(NamedTuple):
    """A part of a diagram with its size. `draw(axes, x, y)` draws it."""

    width: float
    height: float
    draw: Callable[["Axes", float, float], None]


def box(text: str, note: str = "") -> Block:
    """Return a box with a text, and with a note in smaller letters below it."""
    lines = textwrap.wrap(text, LETTERS, max_lines=4, placeholder=" …") or [""]
    width = max(1.5, 0.3 + LETTER * max(map(len, [*lines, note])))
    height = 0.16 + LINE * (len(lines) + bool(note))
    colour = BLUE if note else GREY

    def paint(axes: "Axes", x: float, y: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        style = "round,pad=0,rounding_size=0.06"
        fill, edge = (*_rgb(colour), 0.16), (*_rgb(colour), 1.0)
        corner = x - width / 2, y
        axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=fill, edgecolor=edge))
        for i, line in enumerate(lines):
            axes.text(x, y + 0.08 + LINE * (i + 0.5), literal(line), ha="center", va="center", fontsize=10)
        if note:
            place = y + 0.08 + LINE * (len(lines) + 0.5)
            axes.text(x, place, note, ha="center", va="center", fontsize=8, alpha=0.75)

    return Block(width, height, paint)


def column(parts: Sequence[Block], labels: Sequence[str]) -> Block:
    """Return blocks below each other, joined by arrows with labels."""
    width = max(part.width for part in parts)
    height = sum(part.height for part in parts) + GAP * (len(parts) - 1)

    def paint(axes: "Axes", x: float, y: float) -> None:
        for i, part in enumerate(parts):
            part.draw(axes, x, y)
            y += part.height
            if i + 1 < len(parts):
                arrow(axes, x, y, y + GAP, labels[i])
                y += GAP

    return Block(width, height, paint)


def branches(parts: Sequence[Block | None], joined: bool = True) -> Block:
    """Return blocks beside each other with the same input; None is a path without a block.

    The first is in line with the input. If they are `joined`, their outputs meet in a plus sign.
    """
    widths = [0.3 if part is None else part.width for part in parts]
    tallest = max(part.height for part in parts if part is not None) if any(parts) else 0.4
    top, bottom = GAP, GAP + (0.24 if joined else 0.0)
    offsets, right = [0.0], widths[0] / 2
    for width in widths[1:]:
        offsets.append(right + 0.25 + width / 2)
        right += 0.25 + width
    shift = (offsets[-1] if len(offsets) > 1 else 0.0) / 2 if not joined else 0.0
    reach = max(right - shift, widths[0] / 2 + shift)

    def paint(axes: "Axes", x: float, y: float) -> None:
        fork, meet = y + top / 3, y + top + tallest + GAP * 0.8
        line(axes, [x, x], [y, fork])
        for part, offset in zip(parts, offsets, strict=True):
            place = x + offset - shift
            line(axes, [x, place], [fork, fork])
            if part is None:
                line(axes, [place, place], [fork, meet])
            else:
                arrow(axes, place, fork, y + top)
                part.draw(axes, place, y + top)
                line(axes, [place, place], [y + top + part.height, meet])
            if not joined or place != x:
                line(axes, [place, x + 0.12 * (place > x) if joined else x], [meet, meet])
        if joined:
            axes.text(x, meet, "+", ha="center", va="center", fontsize=11, bbox=_CIRCLE, zorder=4)
        line(axes, [x, x], [meet + 0.1 * joined, y + top + tallest + bottom])

    return Block(2 * reach, top + tallest + bottom, paint)


def frame(inner: Block, text: str) -> Block:
    """Return a block in a dashed frame with a text in its corner."""
    width = max(inner.width + 2 * PAD, 0.3 + LETTER * len(text)) + 2 * 0.25
    height = inner.height + 2 * PAD + LINE

    def paint(axes: "Axes", x: float, y: float) -> None:
        from matplotlib.patches import Rectangle

        style = {"fill": False, "edgecolor": GREY, "linestyle": (0, (4, 3)), "linewidth": 1}
        axes.add_patch(Rectangle((x - width / 2, y), width, height, **style))
        axes.text(x - width / 2 + 0.08, y + 0.06 + LINE / 2, literal(text), ha="left", va="center", fontsize=9)
        line(axes, [x, x], [y, y + PAD + LINE])
        inner.draw(axes, x, y + PAD + LINE)
        line(axes, [x, x], [y + height - PAD, y + height])

    return Block(width, height, paint)


def line(axes: "Axes", x: Sequence[float], y: Sequence[float]) -> None:
    """Draw a line."""
    axes.plot(x, y, color=GREY, lw=1.2, solid_capstyle="round", zorder=1)


def arrow(axes: "Axes", x: float, start: float, end: float, label: str = "") -> None:
    """Draw an arrow downwards, with a label at its right."""
    style = {"arrowstyle": "-|>", "color": GREY, "lw": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", (x, end), (x, start), arrowprops=style)
    if label:
        axes.text(x + 0.1, (start + end) / 2 - 0.02, label, ha="left", va="center", fontsize=8, alpha=0.75)


def draw(block: Block, first: str, last: str, ax: "Axes | None", most: float = 30.0) -> "Axes":
    """Draw a whole network between two texts, on axes without lines of their own, one inch to a unit."""
    label = LETTER * max(len(first), len(last))
    width, height = max(block.width, label) + 0.4, block.height + 2 * (GAP + LINE) + 0.1
    scale = min(1.0, most / height)
    (axes,) = new_axes("diagram", ax, width * scale, height * scale)
    axes.text(0, LINE / 2, first, ha="center", va="center", fontsize=9)
    arrow(axes, 0, LINE, LINE + GAP)
    block.draw(axes, 0.0, LINE + GAP)
    arrow(axes, 0, LINE + GAP + block.height, LINE + 2 * GAP + block.height)
    axes.text(0, 1.5 * LINE + 2 * GAP + block.height, last, ha="center", va="center", fontsize=9)
    axes.set(xlim=(-width / 2, width / 2), ylim=(height, -0.1), aspect="equal")
    axes.set_axis_off()
    return axes


def _rgb(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


_CIRCLE = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": GREY, "lw": 1.2}
