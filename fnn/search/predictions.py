"""What the trained candidates predict for the rows that were held out."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fnn.search.choose import Cost, half_squared, log_loss, robust
from fnn.search.ensemble import activate
from fnn.search.records import Task


class HeldOut(NamedTuple):
    """The outputs of all candidates for the held-out rows of each fold.

    Attributes:
      task: the table.
      rows: the rows of each fold, padded with -1.
      outputs: outputs of networks, float32.
    """

    task: Task
    rows: Int[np.ndarray, "folds most"]
    outputs: Float[np.ndarray, "c folds reports most k"]

    def predictions(self, candidate: int, report: int, fold: int) -> Float[np.ndarray, "m k"]:
        """Return the predictions of a candidate at a report for the rows of a fold."""
        inside = self.rows[fold] >= 0
        return activate(self.task.output, self.outputs[candidate, fold, report][inside].astype(np.float64))

    def evaluated(self) -> Int[np.ndarray, " m"]:
        """Return the rows that are held out, fold after fold."""
        return self.rows[self.rows >= 0]

    def values(self) -> Float[np.ndarray, "c reports m v"]:
        """Return probabilities of the truth, or errors, as `choose` takes them, for the evaluated rows."""
        c, folds, reports = self.outputs.shape[:3]
        y = self.task.y[self.evaluated()]
        v = 1 if self.task.output == "softmax" else self.task.k
        values = np.empty((c, reports, len(y), v), np.float32)
        ends = np.cumsum((self.rows >= 0).sum(axis=1))
        for candidate, report, fold in np.ndindex(c, reports, folds):
            part = slice(ends[fold - 1] if fold else 0, ends[fold])
            p = self.predictions(candidate, report, fold)
            values[candidate, report, part] = of_truth(self.task.output, p, y[part])
        return values


def of_truth(output: str, p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the probability of the truth, or the error of each quantity."""
    if output == "softmax":
        return np.take_along_axis(p, y[:, None], axis=1)
    return p - y if output == "identity" else np.where(y == 1, p, 1 - p)


def cost_of(task: Task) -> Cost:
    """Return the cost that the search minimises on held-out rows."""
    if task.output != "identity":
        return log_loss
    return half_squared if task.delta is None else robust(task.delta)
