"""How good a network on a table is: numbers of each part of the data, and its figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments import figures
from experiments.tabular.trained import Answers, Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scores = dict[str, float]


def guessing(model: Model, train_y: np.ndarray, n: int) -> Answers:
    """The best answers that look at no feature: the largest class and the shares of all, or the mean, of `train_y`."""
    if not model.classes:
        return Answers(np.full(n, np.mean(train_y)), np.zeros((n, 0)))
    shares = np.bincount(train_y, minlength=len(model.classes)) / len(train_y)
    return Answers(np.full(n, shares.argmax(), np.int32), np.repeat(shares[None], n, axis=0))


def scores(model: Model, given: Answers, y: np.ndarray) -> Scores:
    """Of classes: wrong ones, cross-entropy, accuracy. Of a quantity: root mean square, mean error, R², in its unit."""
    if model.classes:
        wrong = int((given.values != y).sum())
        likely = np.maximum(given.probabilities[np.arange(len(y)), y], 1e-300)
        cost = float(-np.log(likely).mean())
        return {"examples": len(y), "wrong": wrong, "cost": cost, "accuracy": 1 - wrong / len(y)}
    error = given.values - y
    squares, spread = float(np.mean(error**2)), float(np.var(y))
    r2 = 1 - squares / spread if spread > 0 else 0.0
    return {"examples": len(y), "rmse": squares**0.5, "mean_error": float(np.abs(error).mean()), "r2": r2}


def print_table(title: str, results: Mapping[str, Scores]) -> None:
    """A row per part."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
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
    """Learning curves; of the test part the confusion matrix, or predicted against true and what is left over.

    `terms` says what the training's curve contains besides the cost.
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
            panels[1].set(title="Accuracy", ylabel="share of examples classified right")
            right = int((predicted == y).sum())
            panels[2].set_title(f"Test: {right} of {len(y)} right")
            confusion(panels[2], y, predicted, model.classes)
        else:
            agreement(panels[1], model.target, y, predicted)
            residuals(panels[2], model.target, y, predicted)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        figures.save(figure, path)


def confusion(axes: "Axes", y: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> None:
    """The confusion matrix, with long names cut and turned; only up to 20 classes have their counts written."""
    names = [name if len(name) <= 14 else f"{name[:13]}…" for name in classes]
    if len(classes) <= 20:
        figures.confusion_matrix(axes, y, predicted, names)
        if max(map(len, names)) * len(names) > 40:
            axes.tick_params(axis="x", rotation=90)
        return
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (y, predicted), 1)
    axes.imshow(counts, cmap="Blues", interpolation="nearest")
    axes.set(xlabel="predicted, number of the class", ylabel="true, number of the class")
    axes.grid(False)


def agreement(axes: "Axes", target: str, y: np.ndarray, predicted: np.ndarray) -> None:
    """Predicted over true values; right ones lie on the line."""
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    axes.plot(y, predicted, "o", color=figures.BLUE, ms=4, alpha=0.6, rasterized=True)
    axes.axline((low, low), (high, high), color=figures.GREY, lw=1.2, ls="--")
    axes.set(title=f"Test: {len(y):,} examples", xlabel=f"{target}, true", ylabel=f"{target}, predicted")


def residuals(axes: "Axes", target: str, y: np.ndarray, predicted: np.ndarray) -> None:
    """True minus predicted over predicted: a pattern here is something not learnt."""
    axes.plot(predicted, y - predicted, "o", color=figures.ORANGE, ms=4, alpha=0.6, rasterized=True)
    axes.axhline(0, color=figures.GREY, lw=1.2, ls="--")
    axes.set(title="What is left over", xlabel=f"{target}, predicted", ylabel="true - predicted")
