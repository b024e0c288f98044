"""Panels of figures besides those of `fnn.plot`: grids of images, cost over two hyperparameters; and their style.

Figures are drawn without pyplot: no global state, no window, the Agg renderer. The colours are safe for readers with
colour vision deficiency (Okabe and Ito 2008).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure, SubFigure

BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
GREY = "#666666"

STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 2,
    "legend.frameon": False,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Make matplotlib use STYLE inside this context."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def label_decades(axis: "Axis") -> None:
    """Label the powers of ten of a logarithmic axis, and nothing between them.

    They are plain numbers if all are from 0.001 to 10,000, otherwise 10ⁿ, except 1 and 10. An axis that shows fewer
    than two of them has plain numbers at 1, 2 and 5 times each. Labels that were set stay as they are, and so do scales
    to another base.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    if axis.get_scale() != "log" or getattr(axis.get_transform(), "base", None) != 10 or not 0 < low < high < math.inf:
        return
    if isinstance(axis.get_minor_formatter(), LogFormatter):
        axis.set_minor_formatter(NullFormatter())
    if not isinstance(axis.get_major_formatter(), LogFormatter):
        return
    shown = math.floor(math.log10(high) + 1e-9) - math.ceil(math.log10(low) - 1e-9) + 1
    fixed = isinstance(axis.get_major_locator(), FixedLocator)
    plain = fixed or shown < 2 or (low > 5e-4 and high < 2e4)
    exponent = lambda value: f"{value:g}" if 1 <= value <= 10 else f"$10^{{{round(math.log10(value))}}}$"
    if shown < 2 and not fixed:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if plain else exponent(value)))


def save(figure: "Figure", path: Path) -> None:
    """Save as PNG or SVG, by the suffix of the path, with powers of ten along logarithmic axes.

    The resolution is 110 dots per inch, and the bytes are reproducible.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for axes in figure.axes:
        label_decades(axes.xaxis)
        label_decades(axes.yaxis)
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else None
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        FigureCanvasAgg(figure).print_figure(path, dpi=110, format=kind, metadata=metadata)


def add_title(figure: "SubFigure", title: str) -> "SubFigure":
    """Give part of a figure a title in the style of a panel's."""
    figure.suptitle(title, x=0.02, ha="left", fontsize=STYLE["axes.titlesize"], fontweight="bold")
    return figure


def image_grid(figure: "SubFigure", images: np.ndarray, captions: Sequence[str], columns: int) -> None:
    """Draw a grid of images, dark ink on white, each with its caption above."""
    rows = max(columns, -(-len(images) // columns))
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(caption, fontsize=10, fontweight="normal", loc="center", pad=3)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set(visible=True, color=GREY, linewidth=0.6)


def response_surface(axes: "Axes", x: np.ndarray, y: np.ndarray, cost: np.ndarray, highest: float) -> "QuadMesh":
    """Draw a cost over two hyperparameters, arrays (n_x, n_y).

    Axes and colours are logarithmic, the latter up to `highest`. A NaN cost marks a failed training; its cell is
    hatched, as the legend explains.
    """
    from matplotlib.colors import ListedColormap, LogNorm

    failed, norm = np.isnan(cost), LogNorm(np.nanmin(cost), highest)
    image = axes.pcolormesh(x, y, np.ma.masked_where(failed, cost), norm=norm, cmap="viridis_r", shading="nearest")
    if failed.any():
        cells, hatched = np.ma.masked_where(~failed, np.ones(x.shape)), {"hatch": "xxx", "edgecolor": GREY, "lw": 0}
        axes.pcolor(x, y, cells, cmap=ListedColormap(["white"]), shading="nearest", **hatched)
        axes.fill([], [], facecolor="white", label="failed: no better than guessing on average, or diverged", **hatched)
    axes.set(xscale="log", yscale="log")
    axes.grid(False)
    return image


def classification(
    path: Path,
    history: Mapping[str, np.ndarray],
    kept: int,
    images: np.ndarray,
    y: np.ndarray,
    logits: np.ndarray,
    terms: str = "",
) -> None:
    """Save learning curves, the confusion matrix and the misread digits.

    The most confident mistakes come first. `terms` names what the training curve includes besides the cost, such as a
    penalty.
    """
    from matplotlib.figure import Figure

    predicted = logits.argmax(axis=1)
    confidence = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)  # of softmax
    wrong = np.flatnonzero(predicted != y)
    wrong = wrong[np.argsort(-confidence[wrong])]
    with style():
        figure = Figure(figsize=(10, 8.6), layout="constrained")
        parts = figure.add_gridspec(2, 2, height_ratios=(1, 1.3), width_ratios=(1.1, 1))
        cost, accuracy = (figure.add_subplot(parts[0, i]) for i in range(2))
        for axes, name in ((cost, "cost"), (accuracy, "accuracy")):
            label = f"training ({terms})" if terms else "training"
            plot.learning_curves(history, name, kept=kept, label=label, legend=False, ax=axes)
        cost.set(title="Cost", ylabel="cross-entropy per digit", yscale="log")
        low = min(history["validation_accuracy"].min(), history["accuracy"].max())
        accuracy.set(title="Accuracy", ylabel="share of digits read correctly", ylim=(max(0, low - 0.05), 1.005))
        figure.legend(*cost.get_legend_handles_labels(), loc="outside upper left", ncols=3)
        matrix = add_title(figure.add_subfigure(parts[1, 0]), f"Test: {len(y) - len(wrong)} of {len(y)} digits correct")
        plot.confusion(y, predicted, "0123456789", ax=matrix.add_subplot()).set_title("")
        shown = wrong[:12]
        title = f"The {len(wrong)} misread" + (f" ({len(shown)} most confident)" if len(wrong) > len(shown) else "")
        grid = add_title(figure.add_subfigure(parts[1, 1]), title)
        image_grid(grid, images[shown], [f"{y[i]} read as {predicted[i]}" for i in shown], columns=3)
        save(figure, path)
