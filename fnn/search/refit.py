"""The members of an ensemble: the chosen candidates, trained on all rows and, again, on the folds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fnn.search.choose import Choice
from fnn.search.network import members_of
from fnn.search.plan import Plan
from fnn.search.records import Members
from fnn.search.train import Slot, Train

FIRST_SEED = 1000  # of the runs on all rows; those on folds have the fold's number


class Refitted(NamedTuple):
    """The members of an ensemble and their shares, whose sum is 1."""

    members: Members
    shares: Float[np.ndarray, " M"]


def apportion(shares: Float[np.ndarray, " c"], most: Sequence[int], slots: int) -> list[int]:
    """Share out slots in proportion to shares: at least one where the share is above 0, at most `most`.

    >>> apportion(np.array([0.5, 0.25, 0.25, 0.0]), [10, 10, 1, 10], 8)
    [5, 2, 1, 0]
    """
    counts = [int(share > 0) for share in shares]
    for _ in range(slots - sum(counts)):
        need = [share / n if 0 < n < limit else 0.0 for share, n, limit in zip(shares, counts, most, strict=True)]
        if max(need) == 0:
            break
        counts[int(np.argmax(need))] += 1
    return counts


def slots_of(plan: Plan, choice: Choice) -> tuple[list[Slot], Float[np.ndarray, " runs"]]:
    """Return what the runs of the program train, and the share of each in the ensemble.

    Half of a candidate's share goes to runs on all rows, each from other initial weights, and half to its runs on the
    folds, which are the runs of the cross-validation up to the chosen step. Linear candidates start at 0: one run on
    all rows is enough.
    """
    chosen = np.flatnonzero(choice.shares)
    n_folds = min(plan.trained_folds, (plan.runs - len(chosen)) // len(chosen))
    most = [1 if candidate.width == 0 else plan.runs for candidate in plan.candidates]
    counts = apportion(choice.shares, most, plan.runs - len(chosen) * n_folds)
    slots, shares = [], []
    for c in chosen:
        stop, half = plan.report_at[choice.report[c]], choice.shares[c] / 2
        slots += [Slot(int(c), fold, stop, fold) for fold in range(n_folds)]
        shares += [half / max(1, n_folds)] * n_folds
        slots += [Slot(int(c), -1, stop, FIRST_SEED + len(slots) + i) for i in range(counts[c])]
        shares += [(half if n_folds else 2 * half) / counts[c]] * counts[c]
    unused = plan.runs - len(slots)
    return slots + slots[:1] * unused, np.array(shares + [0.0] * unused)


def refit(plan: Plan, choice: Choice, train: Train) -> Refitted:
    """Train the members of the ensemble, by the program of the cross-validation."""
    slots, shares = slots_of(plan, choice)
    members = members_of(train(slots).params)
    kept = np.flatnonzero(shares)
    members = Members(*(leaf[kept] for leaf in members))
    finite = np.all([np.isfinite(leaf).reshape(len(kept), -1).all(axis=1) for leaf in members], axis=0)
    kept_shares = np.where(finite, shares[kept], 0.0)
    if not finite.any():
        raise FloatingPointError("search: all networks diverged; the values of x or of the weights are too extreme")
    return Refitted(Members(*(leaf[finite] for leaf in members)), kept_shares[finite] / kept_shares.sum())
