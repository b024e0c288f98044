"""Choose steps and shares of candidates by their predictions on held-out rows.

A prediction enters as one number per row and output on which the mean of several models acts linearly: the probability
of the truth, or the error of a quantity. Costs are functions of that number.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

ROUNDS = 24  # of greedy selection

Cost = Callable[[np.ndarray], np.ndarray]
"""values (…, m) -> cost per row (…)"""


def log_loss(values: Float[np.ndarray, "*rows m"]) -> Float[np.ndarray, "*rows"]:
    """-Σ_m ln p_m, where p_m is the probability of the truth."""
    return -np.log(np.maximum(values, 1e-15)).sum(axis=-1)


def half_squared(values: Float[np.ndarray, "*rows m"]) -> Float[np.ndarray, "*rows"]:
    """½ Σ_m e_m², where e_m is an error."""
    return 0.5 * np.square(values).sum(axis=-1)


def robust(delta: float) -> Cost:
    """Return the cost Σ_m ½ e_m² where |e_m| <= δ, else δ |e_m| - ½ δ² (Huber 1964)."""

    def huber_cost(values: np.ndarray) -> np.ndarray:
        size = np.abs(values)
        return np.where(size <= delta, 0.5 * size**2, delta * size - 0.5 * delta**2).sum(axis=-1)

    return huber_cost


def mean_cost(cost: Cost, values: np.ndarray, weight: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return the weighted mean cost over the rows: values (…, n, m) -> (…)."""
    with np.errstate(over="ignore", invalid="ignore"):  # of trainings that diverged
        return cost(values.astype(np.float64)) @ (weight / weight.sum())


def greedy_shares(
    values: Float[np.ndarray, "c n m"], weight: Float[np.ndarray, " n"], cost: Cost, rounds: int = ROUNDS
) -> Float[np.ndarray, " c"]:
    """Choose the shares of models in an ensemble (Caruana et al. 2004).

    Each round adds the model that most reduces the cost of the mean of all models added so far; a model may be added
    again. The rounds up to the least cost count.

    Args:
      values: what each of c models predicts for n rows, as the module describes it.
      weight: weights of the rows.
      cost: the cost per row.
      rounds: the number of rounds.

    Returns:
      Shares of sum 1.

    >>> greedy_shares(np.array([[[1.0]], [[-1.0]], [[3.0]]]), np.ones(1), half_squared)
    array([0.5, 0.5, 0. ])
    """
    total, picks, costs = np.zeros(values.shape[1:]), [], []
    for t in range(1, rounds + 1):
        each = mean_cost(cost, (total + values) / t, weight)
        picks.append(int(np.argmin(each)))
        costs.append(each[picks[-1]])
        total = total + values[picks[-1]]
    best = int(np.argmin(costs)) + 1
    return np.bincount(picks[:best], minlength=len(values)) / best


class Choice(NamedTuple):
    """The steps and the shares of the candidates.

    Attributes:
      report: for each candidate, the index of the report with the least cost.
      costs: that cost.
      shares: the candidates' shares in the ensemble.
      curves: the costs at all reports; infinite after a training diverged.
    """

    report: Int[np.ndarray, " c"]
    costs: Float[np.ndarray, " c"]
    shares: Float[np.ndarray, " c"]
    curves: Float[np.ndarray, "c reports"]


def choose(values: Float[np.ndarray, "c reports n m"], weight: Float[np.ndarray, " n"], cost: Cost) -> Choice:
    """Choose for each candidate the report of least cost, then the shares by `greedy_shares`."""
    costs = mean_cost(cost, values, weight)
    costs = np.where(np.isfinite(costs), costs, np.inf)  # a training that diverged
    report = costs.argmin(axis=1)
    each = np.arange(len(values))
    diverged = 0.0 if cost is log_loss else 1e9
    best = np.nan_to_num(values[each, report].astype(np.float64), nan=diverged, posinf=diverged, neginf=diverged)
    return Choice(report, costs[each, report], greedy_shares(best, weight, cost), costs)
