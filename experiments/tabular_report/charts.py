"""Charts as inline SVG: their text is text, in any script, and their colours follow the page.

Every chart is WIDTH x HEIGHT units, small enough to be readable at the width of a phone.
"""

import html
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.tabular_report.text import clean

WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 44
COLOURS = ("blue", "orange", "green", "pink", "sky")  # the variables --blue … of page.css
MOST_POINTS = 1500


class Axis(NamedTuple):
    """An axis from `low` to `high`, logarithmic or not, with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def place(self, values: np.ndarray | float) -> np.ndarray:
        """Return the places of values along the axis, 0 to 1."""
        scale: Callable[..., np.ndarray] = np.log10 if self.is_log else np.asarray
        low, high = scale(self.low), scale(self.high)
        return (scale(np.asarray(values, float)) - low) / (high - low)


def axis(low: float, high: float, *, is_log: bool = False, least: int = 4) -> Axis:
    """Return an axis that holds these values, with round numbers as ticks.

    >>> axis(0, 1).ticks, axis(3, 97).ticks, axis(0.002, 30, is_log=True).ticks
    ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.0, 20.0, 40.0, 60.0, 80.0, 100.0), (0.01, 0.1, 1.0, 10.0))
    >>> axis(5, 5).ticks, axis(30, 90, is_log=True).ticks
    ((4.0, 4.5, 5.0, 5.5, 6.0), (30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0))
    """
    if is_log:
        low, high = (low / 1.1, high * 1.1) if low < high else (low / 2, high * 2)
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5)):
            ticks = [float(f"{step * 10.0**decade:.3g}") for decade in decades for step in steps]
            ticks = [tick for tick in ticks if low <= tick <= high]
            if len(ticks) >= 3:
                break
        else:
            ticks = [tick for tick in axis(low, high).ticks if low <= tick <= high]
        skip = -(-len(ticks) // 7)
        return Axis(low, high, tuple(ticks[::skip]), True)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = (low - 1, high + 1) if abs(low) < 1e6 else (low - abs(low) / 2, high + abs(high) / 2)
    rough = (high - low) / least
    decade = 10.0 ** np.floor(np.log10(rough))
    step = next(step * decade for step in (10, 5, 2, 1) if step * decade <= rough * 1.0001)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{i * step:.12g}") for i in np.arange(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def whole_axis(values: Iterable[float], *, is_log: bool = False) -> Axis:
    """Return an axis that holds all the values; of a logarithmic one, values up to 0 are left out."""
    found = np.array([value for value in values if np.isfinite(value) and (value > 0 or not is_log)], float)
    return axis(float(found.min()), float(found.max()), is_log=is_log) if len(found) else axis(0, 1)


def x_of(x: Axis, values: np.ndarray | float) -> np.ndarray:
    return LEFT + (WIDTH - LEFT - RIGHT) * x.place(values)


def y_of(y: Axis, values: np.ndarray | float) -> np.ndarray:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y.place(values)


def coordinates(x: Axis, y: Axis, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Return (n, 2) places in the chart; points that a logarithmic axis has no place for are left out."""
    xs, ys = np.asarray(xs, float), np.asarray(ys, float)
    keep = np.isfinite(xs) & np.isfinite(ys)
    keep &= (xs > 0 if x.is_log else True) & (ys > 0 if y.is_log else True)
    return np.stack([x_of(x, xs[keep]), y_of(y, ys[keep])], axis=1)


def line(x: Axis, y: Axis, xs: np.ndarray, ys: np.ndarray, colour: str, kind: str = "") -> str:
    """Draw a line; a single point becomes a dot. `kind` is a class of page.css: "dashed", "thin"."""
    points = coordinates(x, y, xs, ys)
    if len(points) == 1:
        return dots(x, y, xs, ys, colour, 5)
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f"<polyline class='{kind}' points='{path}' stroke='var(--{colour})'/>"


def dots(x: Axis, y: Axis, xs: np.ndarray, ys: np.ndarray, colour: str, size: float = 3.5) -> str:
    """Draw points, as one path of round caps; of many, an evenly spaced part."""
    points = coordinates(x, y, xs, ys)
    points = (
        points[np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).astype(int)] if len(points) else points
    )
    path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in points)
    return f"<path class='dots' d='{path}' stroke='var(--{colour})' stroke-width='{size}'/>"


def whiskers(x: Axis, y: Axis, xs: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> str:
    """Draw a vertical interval at each x."""
    parts = zip(x_of(x, xs), y_of(y, low), y_of(y, high), strict=True)
    path = "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in parts)
    return f"<path class='whisker' d='{path}' stroke='var(--{colour})'/>"


def chart(x: Axis, y: Axis, x_name: str, y_name: str, content: str, described: str) -> str:
    """Return a chart with its axes. `y_name` is written above it, in the page, where there is room for long names."""
    lines, words = [], []
    for tick in y.ticks:
        at = float(y_of(y, tick))
        lines.append(f"M{LEFT} {at:.1f}H{WIDTH - RIGHT}")
        words.append(f"<text x='{LEFT - 6}' y='{at + 4:.1f}' text-anchor='end'>{_tick(tick, y)}</text>")
    for tick in x.ticks:
        at = float(x_of(x, tick))
        lines.append(f"M{at:.1f} {TOP}V{HEIGHT - BOTTOM}")
        words.append(f"<text x='{at:.1f}' y='{HEIGHT - BOTTOM + 17}' text-anchor='middle'>{_tick(tick, x)}</text>")
    label = clean(x_name)
    label = html.escape(label if len(label) <= 48 else f"{label[:47]}…")
    words.append(
        f"<text class='label' x='{(LEFT + WIDTH - RIGHT) / 2}' y='{HEIGHT - 6}' text-anchor='middle'>{label}</text>"
    )
    return (
        f"<p class='y-name'><bdi>{html.escape(clean(y_name))}</bdi></p>"
        f"<svg class='chart' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label=\"{html.escape(clean(described))}\">"
        f"<path class='grid' d='{''.join(lines)}'/>{content}{''.join(words)}</svg>"
    )


def _tick(value: float, along: Axis) -> str:
    """Format a tick, shortly: 12,000,000 is 12M.

    >>> _tick(12e6, axis(0, 2e7)), _tick(1500.0, axis(0, 2000)), _tick(0.25, axis(0, 1)), _tick(-0.5, axis(-1, 1))
    ('12M', '1,500', '0.25', '-0.5')
    >>> _tick(-1.5e-4, axis(-2e-4, 2e-4)), _tick(0.0, axis(0, 1e-9)), _tick(2e14, axis(0, 2e15))
    ('-1.5e-4', '0', '2e14')
    """
    largest = max(map(abs, along.ticks))
    if value == 0:
        return "0"
    if not along.is_log and 1e4 <= largest < 1e15:
        size, unit = next(one for one in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= one[0])
        return f"{value / size:.6g}{unit}"
    if (1e-4 if along.is_log else 0.01) <= largest < 1e5 and abs(value) >= 1e-4:
        return f"{value:,.6g}"
    exponent = int(np.floor(np.log10(abs(value)) + 1e-9))
    return f"{value / 10.0**exponent:.4g}e{exponent}"


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """Return a legend as HTML: (colour, class of the line, name) each."""
    drawn = "<svg viewBox='0 0 24 10' aria-hidden='true'><path class='{}' d='M0 5H24' stroke='var(--{})'/></svg>"
    items = "".join(
        f"<li>{drawn.format(kind, colour)}<bdi>{html.escape(clean(name))}</bdi></li>" for colour, kind, name in entries
    )
    return f"<ul class='legend'>{items}</ul>"


def bar(
    value: float, largest: float, text: str, low_high: tuple[float, float] | None = None, colour: str = "blue"
) -> str:
    """Return a bar for a cell of a table, from 0, with an interval if there is one. Negative values have no bar."""
    share = lambda v: 100 * min(max(v / largest, 0.0), 1.0) if largest > 0 else 0.0
    whisker = ""
    if low_high is not None:
        low, high = map(share, low_high)
        whisker = f"<s style='left:{low:.1f}%;width:{high - low:.1f}%'></s>"
    return (
        f"<span class='bar'><span class='track'><i style='width:{share(value):.1f}%;background:var(--{colour})'></i>"
        f"{whisker}</span><span class='value'>{html.escape(text)}</span></span>"
    )


def heat(counts: np.ndarray) -> str:
    """Return a large confusion matrix as an SVG picture without text: correct counts blue, wrong ones orange."""
    k = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = "".join(
        f"<rect x='{j}' y='{i}' width='1' height='1' fill='var(--{'blue' if i == j else 'orange'})' "
        f"fill-opacity='{0.25 + 0.75 * shares[i, j]:.2f}'/>"
        for i, j in np.argwhere(counts)
    )
    frame = f"<rect width='{k}' height='{k}' fill='none' class='frame'/>"
    return f"<svg class='heat' viewBox='0 0 {k} {k}' role='img' aria-label='confusion matrix'>{cells}{frame}</svg>"
