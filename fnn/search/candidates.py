"""What a search tries, and how long: the candidates and the plan of their training."""

from typing import NamedTuple

from fnn.search.records import Candidate

REPORTS = 10, 20, 40, 80, 120, 160, 200, 260, 320  # steps, for tables of up to some thousand rows


def linear_candidates() -> tuple[Candidate, ...]:
    """Return the linear candidates: four penalties.

    >>> {candidate.width for candidate in linear_candidates()}
    {0}
    """
    return tuple(Candidate(0, l2) for l2 in (1e-4, 1e-3, 1e-2, 1e-1))


def network_candidates() -> tuple[Candidate, ...]:
    """Return the candidates with a hidden layer: ten combinations of width, penalty and dropout.

    >>> len(network_candidates())
    10
    """
    wide = [Candidate(64, l2, dropout) for l2 in (3e-4, 3e-3, 1e-2, 3e-2) for dropout in (0.0, 0.25)]
    return (*wide, Candidate(16, 3e-4), Candidate(16, 1e-2))


class Plan(NamedTuple):
    """How the candidates of a table are trained.

    Attributes:
      candidates: what is tried.
      n_folds: the number of folds.
      trained_folds: how many of them are held out in turn; 1 is a single split.
      batch_size: examples per step.
      report_at: the steps at which a run reports; the last ends it.
      learning_rate: the rate of Adam.
    """

    candidates: tuple[Candidate, ...]
    n_folds: int
    trained_folds: int
    batch_size: int
    report_at: tuple[int, ...]
    learning_rate: float


def plan_search(candidates: tuple[Candidate, ...], n: int, d: int, k: int) -> Plan:
    """Choose how the candidates are trained on n rows with d inputs and k outputs."""
    folds = max(2, min(5, n))
    return Plan(candidates, folds, folds, min(n, 256), REPORTS, 0.04)
