"""The confusion matrix: which classes are taken for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn import checks
from fnn.display.figures import literal, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 25  # classes whose counts are written into the cells


def confusion(y: Any, predicted: Any, names: Sequence[Any] | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the confusion matrix: a row for each true class, a column for each predicted one.

    Counts on the diagonal, which are right, are blue; the others, which are wrong, are orange. The title says how many
    are right.

    Args:
      y: the true classes (n,): integers 0..k-1, or any labels if `names` has them.
      predicted: the predicted classes (n,); or scores (n, k), such as logits, of which the largest counts.
      names: the names of the classes. Default: the integers.
      ax: the Axes of matplotlib to draw on. Default: those of a new figure, which a notebook shows by itself.

    Returns:
      The Axes.

    Raises:
      ValueError: if the arrays do not fit each other, or hold a class that has no name.
      ImportError: if matplotlib is not installed.

    >>> ax = confusion([0, 1, 1, 2], [0, 1, 2, 2], ["setosa", "versicolor", "virginica"])
    >>> ax.get_title()
    '3 of 4 right (75.0 %)'
    >>> import matplotlib.pyplot as plt; plt.close()
    """
    truth, guess = np.asarray(y), np.asarray(predicted)
    if truth.ndim != 1 or not len(truth):
        raise checks.fail("confusion", "y", "labels of shape (n,), n >= 1", y if truth.ndim else None)
    if guess.ndim == 2 and guess.shape[1] > 1:
        guess = guess.argmax(axis=1)
    if guess.shape != truth.shape:
        raise checks.fail("confusion", "predicted", f"of shape {truth.shape} or {(*truth.shape, 'k')}", predicted)
    labels = [] if names is None else [*names]
    truth, guess = (_indices(name, part, labels) for name, part in (("y", truth), ("predicted", guess)))
    k = len(labels) or int(max(truth.max(), guess.max())) + 1
    shown = [str(name) for name in labels or range(k)]
    counts = np.zeros((k, k), int)
    np.add.at(counts, (truth, guess), 1)
    size = min(12.0, max(4.0, 1.6 + 0.42 * k))
    (axes,) = new_axes("confusion", ax, size + 0.6, size)
    right = np.eye(k, dtype=bool)
    for part, colours in ((right, "Blues"), (~right, "Oranges")):
        hidden = ~part | (counts == 0)
        most = max(1, counts[part].max(initial=0))
        axes.imshow(np.ma.masked_where(hidden, counts), cmap=colours, vmin=0, vmax=2.2 * most)
    for (i, j), count in np.ndenumerate(counts):
        if count and k <= MOST:
            axes.text(j, i, f"{count}", ha="center", va="center", fontsize=10 if k <= 12 else 7, color="black")
    turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if max(map(len, shown)) > 3 else {}
    axes.set_xticks(range(k), [_short(name) for name in shown], **turned)
    axes.set_yticks(range(k), [_short(name) for name in shown])
    correct = int(np.trace(counts))
    axes.set(
        xlabel="predicted", ylabel="true", title=f"{correct:,} of {len(truth):,} right ({correct / len(truth):.1%})"
    )
    axes.set_title(axes.get_title().replace("%", " %"))
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return axes


def _indices(argument: str, labels: np.ndarray, names: list[Any]) -> np.ndarray:
    """Return labels as indices of the names; integers are indices already."""
    if labels.dtype.kind in "iub" and not (names and not isinstance(names[0], str)):
        indices = labels.astype(int)
        if indices.min() < 0 or (names and indices.max() >= len(names)):
            k = len(names) or "k"
            raise checks.fail("confusion", argument, f"classes from 0 to {k} - 1", came=f"{_outside(indices, names)}")
        return indices
    if not names:
        advice = "Pass names=, the labels in the order to draw them."
        raise checks.fail("confusion", argument, "integers if there are no names", labels, advice=advice)
    position = {name: i for i, name in enumerate(names)}
    unknown = next((label for label in labels.tolist() if label not in position), None)
    if unknown is not None:
        raise checks.fail("confusion", argument, "labels that names has", came=repr(unknown))
    return np.array([position[label] for label in labels.tolist()])


def _outside(indices: np.ndarray, names: list[Any]) -> int:
    return int(indices.min() if indices.min() < 0 else indices.max())


def _short(name: str) -> str:
    return literal(name if len(name) <= 24 else name[:23] + "…")
