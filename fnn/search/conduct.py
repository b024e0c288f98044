"""Conduct a search: train all candidates on all folds, choose, refit, and report."""

import time
from typing import NamedTuple

import numpy as np

from fnn.search.budget import planned
from fnn.search.choose import choose
from fnn.search.folds import assign_folds, held_out_rows, strata_of
from fnn.search.honest import choose_without, groups_of_rows
from fnn.search.plan import Plan
from fnn.search.predictions import HeldOut, cost_of
from fnn.search.prepare import Prepared
from fnn.search.reasons import explain
from fnn.search.records import Candidate, Ensemble, Found, Report, Row
from fnn.search.refit import refit
from fnn.search.train import Slot, Train, make_training


class Options(NamedTuple):
    """The checked arguments of a search, without its table."""

    seed: int
    seconds: float | None
    candidates: tuple[Candidate, ...] | None


def conduct(start: float, prepared: Prepared, options: Options) -> Found:
    """Search; `start` is when the search began, by time.perf_counter."""
    task, seed = prepared.task, options.seed
    plan = planned(start, task, options.candidates, options.seconds, seed)
    folds = assign_folds(strata_of(task.y), plan.n_folds, seed)
    train = make_training(task, plan, folds, seed)
    held_out = _cross_validate(prepared, plan, folds, train)
    evaluated, values = held_out.evaluated(), held_out.values()
    choice = choose(values, task.weight[evaluated], cost_of(task))
    refitted = refit(plan, choice, train)
    ensemble = Ensemble(
        output=task.output,
        center=prepared.scaling.center,
        scale=prepared.scaling.scale,
        reach=prepared.scaling.reach,
        target_center=prepared.target_center,
        target_scale=prepared.target_scale,
        members=refitted.members,
        shares=refitted.shares,
    )
    groups = np.full(len(folds), -1)
    groups[evaluated] = folds[evaluated] if plan.trained_folds > 1 else groups_of_rows(task.y[evaluated], seed)
    honest = choose_without(plan, held_out, values, groups)
    costs = zip(plan.candidates, choice.report, choice.costs, choice.shares, choice.curves.tolist(), strict=True)
    rows = tuple(
        Row(
            tried.width,
            tried.l2,
            tried.dropout,
            plan.report_at[report],
            float(cost),
            float(share),
            tuple(zip(plan.report_at, curve, strict=True)),
        )
        for tried, report, cost, share, curve in costs
    )
    report = Report(
        rows=rows,
        folds=_of_all_rows(prepared, groups, -1),
        out_of_fold=_in_units(prepared, honest.ensemble),
        linear_out_of_fold=_in_units(prepared, honest.linear),
        seconds=time.perf_counter() - start,
        why=explain(plan, rows, task, honest),
    )
    return Found(ensemble, report)


def _cross_validate(prepared: Prepared, plan: Plan, folds: np.ndarray, train: Train) -> HeldOut:
    c, f, last = len(plan.candidates), plan.trained_folds, plan.report_at[-1]
    trained = train([Slot(candidate, fold, last, fold) for candidate in range(c) for fold in range(f)])
    rows = held_out_rows(folds, f)[:, : plan.most_held_out]
    return HeldOut(prepared.task, rows, trained.outputs.reshape(c, f, *trained.outputs.shape[1:]))


def _of_all_rows(prepared: Prepared, values: np.ndarray, fill: float) -> np.ndarray:
    """Return values of the rows that have weight as values of all rows."""
    out = np.full((prepared.n, *values.shape[1:]), fill, values.dtype)
    out[prepared.rows] = values
    return out


def _in_units(prepared: Prepared, values: np.ndarray) -> np.ndarray:
    return _of_all_rows(prepared, values * prepared.target_scale + prepared.target_center, np.nan)
