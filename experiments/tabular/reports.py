"""Scores and figure of a network that was trained on a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments import figures
from experiments.tabular.model import Model, Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scores = dict[str, float]


def baseline(model: Model, train_y: np.ndarray, n: int) -> Predictions:
    """Return the best constant prediction for a target.

    It is the most frequent class with all class frequencies, or the mean, of `train_y`.
    """
    if not model.classes:
        return Predictions(np.full(n, np.mean(train_y)), np.zeros((n, 0)))
    shares = np.bincount(train_y, minlength=len(model.classes)) / len(train_y)
    return Predictions(np.full(n, shares.argmax(), np.int32), np.repeat(shares[None], n, axis=0))


def scores(model: Model, predictions: Predictions, y: np.ndarray) -> Scores:
    """Score predictions against true values.

    Classes: wrong predictions, cross-entropy, accuracy. A quantity: root mean square error, mean absolute error, R².
    """
    if model.classes:
        wrong = int((predictions.values != y).sum())
        probability = np.maximum(predictions.probabilities[np.arange(len(y)), y], 1e-300)
        cost = float(-np.log(probability).mean())
        return {"examples": len(y), "wrong": wrong, "cost": cost, "accuracy": 1 - wrong / len(y)}
    error = predictions.values - y
    squares, spread = float(np.mean(error**2)), float(np.var(y))
    r2 = 1 - squares / spread if spread > 0 else 0.0
    return {"examples": len(y), "rmse": squares**0.5, "mean_error": float(np.abs(error).mean()), "r2": r2}


def print_table(title: str, results: Mapping[str, Scores]) -> None:
    """Print a table with one row per part of the data."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")  # not markup: a title may name a column [red]
    table.add_column("data")
    names = list(next(iter(results.values())))
    titles = {"rmse": "root mean square error", "mean_error": "mean absolute error", "r2": "R²"}
    for name in names:
        table.add_column(titles.get(name, name), justify="right")
    for part, row in results.items():
        digits = {"examples": ",d", "wrong": ",d", "cost": ".4f", "accuracy": ".4f", "r2": ".4f"}
        table.add_row(part, *(format(row[name], digits.get(name, ".5g")) for name in names))
    Console(highlight=False).print(table)


def draw(
    path: Path,
    model: Model,
    history: Mapping[str, np.ndarray],
    kept: int,
    y: np.ndarray,
    predicted: np.ndarray,
    terms: str = "",
) -> None:
    """Save a figure: learning curves and a confusion matrix or residuals.

    `terms` names what the training curve includes besides the cost, such as a penalty.
    """
    from matplotlib.figure import Figure

    with figures.style():
        figure = Figure(figsize=(13, 4.8), layout="constrained")
        panels = figure.subplots(1, 3)
        figures.learning_curve(panels[0], "cost", history, kept, label=f"training {terms}".strip())
        unit = "cross-entropy per example" if model.classes else "half the squared error, standardised"
        panels[0].set(title="Cost", ylabel=unit, yscale="log")
        if model.classes:
            figures.learning_curve(panels[1], "accuracy", history, kept, label="training")
            panels[1].set(title="Accuracy", ylabel="share of examples classified correctly")
            correct = int((predicted == y).sum())
            panels[2].set_title(f"Test: {correct} of {len(y)} correct")
            confusion(panels[2], y, predicted, model.classes)
        else:
            agreement(panels[1], literal(model.target), y, predicted)
            residuals(panels[2], literal(model.target), y, predicted)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        figures.save(figure, path)


def literal(text: str) -> str:
    r"""Return a label that matplotlib shows as this text, and not as mathematics.

    >>> literal("US$"), literal("price")
    ('US\\$', 'price')
    """
    return text.replace("$", r"\$")


def confusion(axes: "Axes", y: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> None:
    """Draw the confusion matrix, with long names shortened.

    Counts are written for at most 20 classes.
    """
    names = [literal(name if len(name) <= 14 else f"{name[:13]}…") for name in classes]
    if len(classes) <= 20:
        figures.confusion_matrix(axes, y, predicted, names)
        if max(map(len, names)) * len(names) > 40:
            axes.tick_params(axis="x", rotation=90)
        return
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (y, predicted), 1)
    axes.imshow(counts, cmap="Blues", interpolation="nearest")
    axes.set(xlabel="predicted class, by number", ylabel="true class, by number")
    axes.grid(False)


def agreement(axes: "Axes", target: str, y: np.ndarray, predicted: np.ndarray) -> None:
    """Plot predicted against true values; the dashed line is a perfect prediction."""
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    axes.plot(y, predicted, "o", color=figures.BLUE, ms=4, alpha=0.6, rasterized=True)
    axes.axline((low, low), (high, high), color=figures.GREY, lw=1.2, ls="--")
    axes.set(title=f"Test: {len(y):,} examples", xlabel=f"{target}, true", ylabel=f"{target}, predicted")


def residuals(axes: "Axes", target: str, y: np.ndarray, predicted: np.ndarray) -> None:
    """Plot true minus predicted over predicted values.

    A pattern means that something was not learnt.
    """
    axes.plot(predicted, y - predicted, "o", color=figures.ORANGE, ms=4, alpha=0.6, rasterized=True)
    axes.axhline(0, color=figures.GREY, lw=1.2, ls="--")
    axes.set(title="Residuals", xlabel=f"{target}, predicted", ylabel="true - predicted")
