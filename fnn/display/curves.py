"""Learning curves: a quantity of a history over the epochs, for training and validation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn.display.figures import BLUE, GREY, ORANGE, literal, log_scale, new_axes
from fnn.display.lines import label as in_words
from fnn.display.lines import ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def history_of(function: str, history: Any) -> dict[str, np.ndarray]:
    """Return the arrays (epochs,) of a history, or of a result that has one."""
    history = getattr(history, "history", history)
    if not isinstance(history, Mapping) or not history:
        got = type(history).__name__ if history != {} else "an empty one"
        raise TypeError(f"{function}: history must be a result of fnn.fit or its history, got {got}")
    arrays = {name: np.asarray(values) for name, values in history.items()}
    for name, values in arrays.items():
        if values.ndim != 1:
            advice = "Choose one run of a sweep, for example {name: values[0, 0] for name, values in history.items()}."
            got = f"{name!r} of shape {values.shape}"
            raise ValueError(f"{function}: history must have arrays of shape (epochs,), got {got}. {advice}")
    return arrays


def quantities(history: Mapping[str, Any]) -> list[str]:
    """Return the names of a history without those of validation, costs first."""
    return [name for name, _ in ordered(history) if not name.startswith("validation_")] or [*history]


def learning_curves(
    history: Any,
    name: str | None = None,
    *,
    kept: int | None = None,
    label: str = "training",
    legend: bool = True,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a quantity over the epochs, for training and, if the history has it, for validation.

    A cost whose values spread over more than a factor of 20 has a logarithmic axis.

    Args:
      history: a result of `fnn.fit`, its history, or a history of one run: `{name: array (epochs,)}`.
      name: the quantity, such as "cost" or "accuracy". Default: the cost.
      kept: an epoch to mark: that whose parameters were kept.
      label: the name of the training curve.
      legend: False if the caller draws a legend.
      ax: the Axes of matplotlib to draw on. Default: those of a new figure, which a notebook shows by itself.

    Returns:
      The Axes.

    Raises:
      ValueError: if the history has no such quantity, or has arrays of another shape.
      ImportError: if matplotlib is not installed.

    >>> ax = learning_curves({"cost": [0.5, 0.3, 0.2], "validation_cost": [0.6, 0.5, 0.5]})
    >>> [line.get_label() for line in ax.lines]
    ['training', 'validation']
    >>> import matplotlib.pyplot as plt; plt.close()
    """
    arrays = history_of("learning_curves", history)
    chosen = quantities(arrays)[0] if name is None else name
    pairs = ((label, chosen, BLUE, "-"), ("validation", f"validation_{chosen}", ORANGE, "--"))
    drawn = [(text, arrays[key], colour, style) for text, key, colour, style in pairs if key in arrays]
    if not drawn:
        raise ValueError(f"learning_curves: name must be one of {', '.join(quantities(arrays))}, got {name!r}")
    (axes,) = new_axes("learning_curves", ax)
    for text, values, colour, style in drawn:
        epochs, marker = np.arange(1, len(values) + 1), "o" if len(values) == 1 else ""
        axes.plot(epochs, values, color=colour, ls=style, lw=2, marker=marker, label=text)
    if kept is not None:
        axes.axvline(kept, color=GREY, lw=1.4, ls=":", label=f"epoch {kept}, whose parameters were kept")
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set(
        xlabel="epoch", ylabel=literal(in_words(chosen)), xlim=(0, max(len(values) for _, values, *_ in drawn) + 1)
    )
    finite = np.concatenate([values[np.isfinite(values)] for _, values, *_ in drawn])
    if "cost" in chosen and len(finite) and finite.min() > 0 and finite.max() > 20 * finite.min():
        log_scale(axes, "y")
    if legend and len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False)
    return axes


def panels(history: Any) -> "tuple[Axes, ...]":
    """Draw the learning curves of all quantities beside each other, and return their Axes."""
    names = quantities(history_of("plot", history))
    axes = new_axes("plot", None, 4.8, 3.6, columns=len(names))
    return tuple(learning_curves(history, name, ax=each) for name, each in zip(names, axes, strict=True))
