"""Fit the plan of a search into a limit of time."""

import time

import numpy as np

from fnn.search.folds import assign_folds, strata_of
from fnn.search.plan import SECONDS, Plan, plan_search, probe, shortened, training_seconds
from fnn.search.records import Candidate, Task
from fnn.search.train import Slot, make_training

COMPILING = 4.0  # seconds that compilation takes at most, on an idle machine
SAFE = 4.0  # an estimate that is so many times below the limit needs no measurement


def planned(
    start: float, task: Task, candidates: tuple[Candidate, ...] | None, seconds: float | None, seed: int
) -> Plan:
    """Return the plan for a table.

    If there is a limit, and the estimate of the duration is not far below it, a few steps are timed.

    Args:
      start: when the search began, by time.perf_counter.
      task: the table.
      candidates: what is tried; None for the default.
      seconds: the limit, or None.
      seed: seed of the search.
    """
    (n, d), k = task.x.shape, task.k
    plan = plan_search(candidates, n, d, k)
    if seconds is None:
        return plan
    left = lambda: seconds - (time.perf_counter() - start)
    if SAFE * (training_seconds(plan, d, k) + COMPILING) < left():
        return plan
    if left() < 8 * COMPILING:  # too short to compile twice
        return plan_search(candidates, n, d, k, max(0.0, left() - COMPILING) / 2)
    plan = plan_search(candidates, n, d, k, min(SECONDS, left()))
    compiling, step = _timed(task, plan, seed)
    slowness = step * 2 * plan.report_at[-1] / training_seconds(plan, d, k)
    available = max(0.8 * (left() - compiling), 0.1 * seconds)
    if step * 2 * plan.report_at[-1] <= available:
        return plan
    faster = plan_search(candidates, n, d, k, max(0.0, available) / slowness)
    ratio = available / max(1e-9, slowness * training_seconds(faster, d, k))
    return faster if ratio >= 1 else shortened(faster, ratio)


def _timed(task: Task, plan: Plan, seed: int) -> tuple[float, float]:
    """Return the seconds of the compilation, and those of a step."""
    short = probe(plan)
    folds = assign_folds(strata_of(task.y), short.n_folds, seed)
    train = make_training(task, short, folds, seed)
    slots = [Slot(c, f, 1, f) for c in range(len(short.candidates)) for f in range(short.trained_folds)]
    times = [time.perf_counter()]
    for _ in range(2):
        train(slots)
        times.append(time.perf_counter())
    first, second = np.diff(times)
    return float(max(0.0, first - second)), float(second / short.report_at[-1])
