"""Out-of-fold predictions of an ensemble whose choice did not see the rows that it predicts.

The costs by which steps and shares are chosen are too low for the chosen ones. So the choice is made again for each
fold, by the rows of the other folds.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fnn.search.choose import Choice, choose
from fnn.search.folds import assign_folds, strata_of
from fnn.search.plan import Plan
from fnn.search.predictions import HeldOut, cost_of


class Honest(NamedTuple):
    """Predictions for held-out rows, standardised; NaN for rows that no fold evaluates.

    Attributes:
      ensemble: those of the ensemble.
      linear: those of the best linear candidate; NaN if there is none.
    """

    ensemble: Float[np.ndarray, "n k"]
    linear: Float[np.ndarray, "n k"]


def groups_of_rows(y: np.ndarray, seed: int) -> Int[np.ndarray, " n"]:
    """Return up to five groups of the held-out rows of a single split, in the place of folds."""
    return assign_folds(strata_of(y), min(5, len(y)), seed)


def choose_without(
    plan: Plan, held_out: HeldOut, values: Float[np.ndarray, "c reports m v"], groups: Int[np.ndarray, " n"]
) -> Honest:
    """Predict each row by a choice that did not see the row's group.

    Args:
      plan: the plan of the search.
      held_out: the outputs of the candidates.
      values: what `held_out.values()` returns.
      groups: the group of each row of the table; -1 if it is not evaluated.
    """
    task, cost, evaluated = held_out.task, cost_of(held_out.task), held_out.evaluated()
    is_linear = np.array([candidate.width == 0 for candidate in plan.candidates])
    out, linear = (np.full((len(groups), task.k), np.nan) for _ in range(2))
    for group in range(groups.max() + 1):
        seen = groups[evaluated] != group
        choice = choose(values[:, :, seen], task.weight[evaluated[seen]], cost)
        best = int(np.argmin(np.where(is_linear, choice.costs, np.inf))) if is_linear.any() else None
        for fold in range(len(held_out.rows)):
            rows = held_out.rows[fold][held_out.rows[fold] >= 0]
            here = groups[rows] == group
            if not here.any():
                continue
            predict = functools.partial(_predict, held_out, choice, fold, here)
            out[rows[here]] = sum(choice.shares[c] * predict(c) for c in np.flatnonzero(choice.shares).tolist())
            if best is not None:
                linear[rows[here]] = predict(best)
    return Honest(out, linear)


def _predict(held_out: HeldOut, choice: Choice, fold: int, here: np.ndarray, candidate: int) -> np.ndarray:
    return held_out.predictions(candidate, int(choice.report[candidate]), fold)[here]
