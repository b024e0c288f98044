"""Say in a sentence what a search tried and why it chose what it chose."""

from collections.abc import Sequence

import numpy as np

from fnn.search.choose import mean_cost
from fnn.search.honest import Honest
from fnn.search.plan import Plan
from fnn.search.predictions import cost_of, of_truth
from fnn.search.records import Row, Task


def _cost(task: Task, predictions: np.ndarray) -> float:
    rows = np.flatnonzero(np.isfinite(predictions).all(axis=1))
    values = of_truth(task.output, predictions[rows], task.y[rows])
    return float(mean_cost(cost_of(task), values, task.weight[rows])) if len(rows) else np.nan


def _name(row: Row) -> str:
    if row.width == 0:
        return f"a linear model (L2 {row.l2:g})"
    dropout = f", dropout {row.dropout:g}" if row.dropout else ""
    return f"a network of {row.width} hidden units (L2 {row.l2:g}{dropout})"


def explain(plan: Plan, rows: Sequence[Row], task: Task, honest: Honest) -> str:
    """Return the sentence of a report."""
    folds = f"{plan.trained_folds} folds" if plan.trained_folds > 1 else "a single split"
    unit = "log-loss" if task.output != "identity" else "squared error / 2" if task.delta is None else "Huber loss"
    of = "" if task.output != "identity" else " of the standardized target"
    ours, linear = _cost(task, honest.ensemble), _cost(task, honest.linear)
    best = max(rows, key=lambda row: (row.share, -row.cost))
    members = sum(row.share > 0 for row in rows)
    versus = "" if np.isnan(linear) else f", that of the best linear model {linear:.3g}"
    outliers = "" if task.delta is None else " The targets have outliers, so the loss is Huber's."
    if members == 1:
        chosen = f"one was chosen because it had the least {unit} on held-out rows: {_name(best)}."
    else:
        chosen = (
            f"{members} were combined because together they had the least {unit} on held-out rows; "
            f"the largest share, {best.share:.0%}, is {_name(best)}."
        )
    unseen = f" On rows that this choice did not see, the {unit}{of} is {ours:.3g}{versus}."
    return f"Of {len(rows)} candidates on {folds}, {chosen}{unseen}{outliers}"
