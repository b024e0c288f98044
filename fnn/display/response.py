"""The response of a sweep: a score over one or two of its hyperparameters."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn.display.figures import BLUE, GREY, are_log_spaced, literal, log_scale, new_axes
from fnn.display.lines import count, label, lower_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def response(
    results: Any,
    x: str | None = None,
    y: str | None = None,
    score: str | None = None,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the score of a sweep over one or two hyperparameters.

    Over one, a line joins the means over the keys, in a band of two standard errors on each side. Over two, colours
    show the means: of a grid as cells, of other values as points. If other hyperparameters vary too, the best mean
    over their values is drawn. Runs that diverged leave a gap in a line, and cells and points that are hatched or
    crossed. An axis is logarithmic if the values are spaced so.

    Args:
      results: the results of `fnn.sweep`.
      x: a hyperparameter, by its column in `results.means()`. Default: the first that varies.
      y: a second one. Default: the second that varies, if there are exactly two and x is not given.
      score: a column of `results.means()`, for example "best_validation_accuracy". Default: "validation_cost", or
        "cost" without validation.
      ax: the Axes of matplotlib to draw on. Default: those of a new figure, which a notebook shows by itself.

    Returns:
      The Axes.

    Raises:
      ValueError: if there is no such column, or no hyperparameter varies.
      ImportError: if matplotlib is not installed.

    >>> import jax, jax.numpy as jnp, fnn
    >>> data = jnp.ones((4, 1)), jnp.ones((4, 1))
    >>> run = fnn.make_run(fnn.dense(1, 1), fnn.squared_error, fnn.sgd, data, epochs=2, batch_size=4)
    >>> ax = response(fnn.sweep(run, jnp.array([0.01, 0.1, 1.0]), jax.random.split(jax.random.key(0), 3)))
    >>> ax.get_xscale(), ax.get_ylabel()
    ('log', 'cost')
    >>> import matplotlib.pyplot as plt; plt.close()
    """
    table = results.means().columns
    names = [name for name in _hyperparameters(results, table) if len(np.unique(table[name])) > 1]
    score = score or ("validation_cost" if "validation_cost" in table else "cost")
    if x is None:
        if not names:
            raise ValueError("response: results must be of several values of a hyperparameter, got one of each")
        x, y = names[0], y or (names[1] if len(names) == 2 else None)
    for argument, name in (("x", x), ("y", y), ("score", score)):
        if name is not None and name not in table:
            raise ValueError(f"response: {argument} must be a column ({', '.join(table)}), got {name!r}")
    (axes,) = new_axes("response", ax)
    chosen = [x] if y is None else [x, y]
    points, means, errors = _best(chosen, table, score)
    n_keys = int(table["keys"][0])
    if y is None:
        _line(axes, points[:, 0], means, errors, n_keys)
        axes.set_ylabel(_text(score))
    else:
        text = _text(score) + (f", mean of {count(n_keys, 'key')}" if n_keys > 1 else "")
        _colours(axes, points, means, text)
        axes.set_ylabel(_text(y))
        if are_log_spaced(points[:, 1]):
            log_scale(axes, "y")
    axes.set_xlabel(_text(x))
    if are_log_spaced(points[:, 0]):
        log_scale(axes, "x")
    return axes


def _text(name: str) -> str:
    return literal(label(name))


def _hyperparameters(results: Any, table: dict[str, np.ndarray]) -> list[str]:
    """Return the columns that are hyperparameters: those between the counts and the values of the history."""
    first = min((list(table).index(name) for name in results.history if name in table), default=len(table))
    return list(table)[2:first]


def _best(names: list[str], table: dict[str, np.ndarray], score: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct points of these hyperparameters, the best score at each, and its standard error."""
    points, index = np.unique(
        np.stack([np.asarray(table[name], float) for name in names], 1), axis=0, return_inverse=True
    )
    values, errors = table[score], table.get(f"{score}_se", np.full(len(index), np.nan))
    lower = lower_is_better(score)
    ranked = np.where(np.isfinite(values), values if lower else -values, np.inf)
    best = [
        rows[np.argmin(ranked[rows])] for rows in (np.flatnonzero(index.reshape(-1) == i) for i in range(len(points)))
    ]
    return points, np.where(np.isfinite(values[best]), values[best], np.nan), errors[best]


def _line(axes: "Axes", x: np.ndarray, means: np.ndarray, errors: np.ndarray, n_keys: int) -> None:
    axes.plot(x, means, color=BLUE, lw=2, marker="o", ms=4, label=f"mean of {count(n_keys, 'key')}")
    if np.isfinite(errors).any():
        low, high = means - 2 * errors, means + 2 * errors
        axes.fill_between(x, low, high, color=BLUE, alpha=0.2, lw=0, label="± 2 standard errors")
        axes.legend(frameon=False)
    for place in x[np.isnan(means)]:
        axes.axvline(place, color=GREY, ls=":", lw=1)


def _colours(axes: "Axes", points: np.ndarray, means: np.ndarray, text: str) -> None:
    """Show scores over two hyperparameters by colours, darkest where they are lowest."""
    from matplotlib.colors import LogNorm

    failed = np.isnan(means)
    xs, ys = (np.unique(points[:, i]) for i in range(2))
    colours: dict[str, Any] = {"cmap": "viridis"}
    low, high = np.nanmin(means, initial=np.inf), np.nanmax(means, initial=-np.inf)
    if 0 < 5 * low < high < np.inf:
        colours["norm"] = LogNorm(low, high)
    if len(xs) * len(ys) == len(points):
        grid = means.reshape(len(xs), len(ys)).T
        edges = _edges(xs), _edges(ys)
        shown = axes.pcolormesh(*edges, np.ma.masked_invalid(grid), **colours)
        if failed.any():
            cells = np.ma.masked_where(~np.isnan(grid), np.ones(grid.shape))
            axes.pcolor(*edges, cells, hatch="xxx", edgecolor=GREY, lw=0, alpha=0)
    else:
        shown = axes.scatter(*points[~failed].T, c=means[~failed], s=36, **colours)
        axes.scatter(*points[failed].T, marker="x", color=GREY, s=24)
    axes.grid(False)
    with warnings.catch_warnings():  # all scores may be equal
        warnings.simplefilter("ignore", UserWarning)
        axes.figure.colorbar(shown, ax=axes, label=text)


def _edges(values: np.ndarray) -> np.ndarray:
    """Return the edges of cells around sorted values: half way between them, on the scale of the axis."""
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    there, back = (np.log, np.exp) if are_log_spaced(values) else (np.asarray, np.asarray)
    places = there(values)
    middle = (places[1:] + places[:-1]) / 2
    return back(np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]]))
