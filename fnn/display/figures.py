"""What all figures share: matplotlib, imported when a figure is drawn, new axes, colours, logarithmic axes.

The colours are safe for readers with colour vision deficiency (Okabe and Ito 2008).
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
GREY = "#808080"  # to be seen on light and dark pages


def need_matplotlib(function: str) -> None:
    """Raise ImportError if matplotlib is not installed."""
    try:
        import matplotlib as matplotlib
    except ImportError as error:
        message = f"{function}: needs matplotlib, which is not installed; install it with pip install 'fnn[plot]'"
        raise ImportError(message, name="matplotlib") from error


def new_axes(function: str, ax: Any, width: float = 6.4, height: float = 4.0, columns: int = 1) -> "list[Axes]":
    """Return the axes that the caller gave, or those of a new figure of pyplot, which a notebook shows by itself.

    Args:
      function: the public function that the user called.
      ax: None, or the Axes to draw on; their style is the caller's.
      width, height: the size of one of the new axes, in inches.
      columns: the number of axes beside each other.
    """
    need_matplotlib(function)
    from matplotlib.axes import Axes

    if ax is not None:
        if not isinstance(ax, Axes):
            raise TypeError(f"{function}: ax must be an Axes of matplotlib, got {type(ax).__name__}")
        return [ax]
    from matplotlib import pyplot

    size = (width * columns, height)
    _, grid = pyplot.subplots(1, columns, figsize=size, squeeze=False, layout="constrained")
    for axes in grid[0]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GREY, alpha=0.25)
        axes.set_axisbelow(True)
    return [*grid[0]]


def literal(text: str) -> str:
    r"""Return a text that matplotlib shows as it is, not as mathematics.

    >>> literal("US$"), literal("cost")
    ('US\\$', 'cost')
    """
    return text.replace("$", r"\$")


def log_scale(axes: "Axes", axis: str) -> None:
    """Make the x or y axis logarithmic, with plain numbers at powers of ten, or at 1, 2 and 5 times each if few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    chosen: Axis = getattr(axes, f"{axis}axis")
    low, high = sorted(chosen.get_view_interval())
    few = np.floor(np.log10(high)) - np.ceil(np.log10(low)) < 1
    chosen.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    chosen.set_minor_formatter(NullFormatter())


def are_log_spaced(values: Any) -> bool:
    """Return whether values are better spaced evenly on a logarithmic axis than on a linear one.

    >>> are_log_spaced([0.01, 0.1, 1]), are_log_spaced([1, 2, 4, 8]), are_log_spaced([1, 2, 3]), are_log_spaced([0, 1])
    (True, True, False, False)
    """
    values = np.unique(np.asarray(values, float)[np.isfinite(values)])
    if len(values) < 3 or values[0] <= 0 or values[-1] < 4 * values[0]:
        return False
    uneven = lambda steps: steps.std() / steps.mean()
    return bool(uneven(np.diff(np.log(values))) < uneven(np.diff(values)))
