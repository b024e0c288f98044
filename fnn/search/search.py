"""The search: train all candidates on all folds, choose, refit, and report."""

import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from fnn.search.candidates import Plan, linear_candidates, network_candidates, plan_search
from fnn.search.choose import Choice, choose, few_shares, half_squared, log_loss
from fnn.search.ensemble import activate
from fnn.search.folds import assign_folds, held_out_rows, strata_of
from fnn.search.network import initial_params, members_of
from fnn.search.prepare import Prepared, of_classes, of_labels, of_quantities
from fnn.search.records import Candidate, Ensemble, Found, Members, Report, Row
from fnn.search.train import Runs, make_training


def classes(
    x: Float[ArrayLike, "n d"],
    y: Int[ArrayLike, " n"],
    n_classes: int,
    *,
    weight: Float[ArrayLike, " n"] | None = None,
    seed: int = 0,
    seconds: float | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> Found:
    """Search for the networks that best tell classes apart, and combine them into an ensemble.

    All candidates are trained on all folds of a cross-validation, as one compiled program. The steps and the shares of
    the candidates are chosen by their log-loss on the held-out rows; the shares by greedy selection (Caruana et al.
    2004). The ensemble holds the chosen networks of the folds, and others that are trained on all rows.

    Args:
      x: numbers (n, d) without NaN. They are standardised in float64.
      y: integers (n,) in 0..n_classes-1.
      n_classes: the number of classes.
      weight: weights (n,) of the rows. A row of weight 0 counts for nothing.
      seed: seed of the folds, the batches, the initial weights and dropout. The same seed gives the same bits on the
        same machine, unless `seconds` is given.
      seconds: a limit on the time that the search takes, compilation included. Fewer candidates and steps are tried
        where the time is short. Default: a time that depends on the size of the table alone.
      candidates: what is tried. Default: `linear_candidates()` and `network_candidates()`.

    Returns:
      Found(ensemble, report). `fnn.search.predict(found.ensemble, x)` gives probabilities (n, n_classes).

    Raises:
      ValueError or TypeError: if an argument is invalid, for example if only one class has rows.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 2))
    >>> found = classes(x, (x[:, 0] > 0).astype(int), 2, candidates=linear_candidates())
    >>> found.report.out_of_fold.shape, {row.width for row in found.report.rows}
    ((60, 2), {0})
    """
    start = time.perf_counter()
    return _search(start, of_classes(x, y, n_classes, weight), seed, seconds, candidates)


def labels(
    x: Float[ArrayLike, "n d"],
    y: Int[ArrayLike, "n k"],
    *,
    weight: Float[ArrayLike, " n"] | None = None,
    seed: int = 0,
    seconds: float | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> Found:
    """Search for the networks that best predict k labels, each 0 or 1 by itself.

    Args:
      x: numbers (n, d) without NaN.
      y: zeros and ones (n, k).
      weight, seed, seconds, candidates: as in `classes`.

    Returns:
      Found(ensemble, report). `fnn.search.predict(found.ensemble, x)` gives the probability (n, k) that a label is 1.

    Raises:
      ValueError or TypeError: if an argument is invalid.
    """
    start = time.perf_counter()
    return _search(start, of_labels(x, y, weight), seed, seconds, candidates)


def quantities(
    x: Float[ArrayLike, "n d"],
    y: Float[ArrayLike, "n k"],
    *,
    weight: Float[ArrayLike, " n"] | None = None,
    seed: int = 0,
    seconds: float | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> Found:
    """Search for the networks that best predict k quantities.

    Args:
      x: numbers (n, d) without NaN.
      y: numbers (n, k). Each quantity is standardised in float64.
      weight, seed, seconds, candidates: as in `classes`.

    Returns:
      Found(ensemble, report). `fnn.search.predict(found.ensemble, x)` gives quantities (n, k) in their own units.

    Raises:
      ValueError or TypeError: if an argument is invalid.
    """
    start = time.perf_counter()
    return _search(start, of_quantities(x, y, weight), seed, seconds, candidates)


def _search(
    start: float, prepared: Prepared, seed: int, seconds: float | None, candidates: Sequence[Candidate] | None
) -> Found:
    task = prepared.task
    n, d = task.x.shape
    tried = (*network_candidates(), *linear_candidates()) if candidates is None else tuple(candidates)
    plan = plan_search(tried, n, d, task.k)
    folds = assign_folds(strata_of(task.y), plan.n_folds, seed)
    trained = np.where(folds < plan.trained_folds, folds, -1)
    train = make_training(task, plan, seed)
    first, each = _runs_of_folds(prepared, plan, trained, seed)
    _, outputs = train(first)
    c, f, r = len(tried), plan.trained_folds, len(plan.report_at)
    held = held_out_rows(trained, f)
    z = np.full((c, r, n, task.k), np.nan, np.float32)
    by_fold = outputs.reshape(c, f, r, -1, task.k)
    for fold in range(f):
        inside = held[fold] >= 0
        z[:, :, held[fold][inside]] = by_fold[:, fold][:, :, inside]
    predicted = activate(task.output, z.astype(np.float64))
    values, cost = _values(prepared, predicted)
    inside = trained >= 0
    choice = choose(values[:, :, inside], task.weight[inside], cost)
    slots = len(first.l2)
    shares = few_shares(choice.shares, max(1, slots // (2 * f)))
    params, shares_of_runs = _refit(prepared, plan, trained, seed, train, first, choice, shares)
    members = members_of(params)
    kept = shares_of_runs > 0
    ensemble = Ensemble(
        task.output,
        prepared.center,
        prepared.scale,
        prepared.target_center,
        prepared.target_scale,
        Members(*(leaf[kept] for leaf in members)),
        shares_of_runs[kept],
    )
    out, linear = _honest(prepared, tried, predicted, values, trained, cost)
    rows = tuple(
        Row(t.width, t.l2, t.dropout, plan.report_at[report], float(value), float(share))
        for t, report, value, share in zip(tried, choice.report, choice.costs, shares, strict=True)
    )
    all_folds = np.full(prepared.n, -1)
    all_folds[prepared.rows] = trained
    report = Report(
        rows, all_folds, _spread(prepared, out), _spread(prepared, linear), time.perf_counter() - start, _why(rows, f)
    )
    return Found(ensemble, report)


def _spread(prepared: Prepared, values: np.ndarray) -> np.ndarray:
    out = np.full((prepared.n, values.shape[1]), np.nan)
    out[prepared.rows] = values * prepared.target_scale + prepared.target_center
    return out


def _values(prepared: Prepared, predicted: np.ndarray):
    y = prepared.task.y
    if prepared.task.output == "identity":
        return predicted - y, half_squared
    if prepared.task.output == "sigmoid":
        return np.where(y == 1, predicted, 1 - predicted), log_loss
    return np.take_along_axis(predicted, y[None, None, :, None], axis=-1), log_loss


def _runs_of_folds(prepared: Prepared, plan: Plan, trained: np.ndarray, seed: int):
    task, f = prepared.task, plan.trained_folds
    held = held_out_rows(trained, f)
    each = [(c, fold) for c in range(len(plan.candidates)) for fold in range(f)]
    runs = _runs(
        prepared, plan, trained, held, seed, each, [plan.report_at[-1]] * len(each), [fold for _, fold in each]
    )
    return runs, each


def _runs(prepared, plan, trained, held, seed, each, stop, seeds) -> Runs:
    """Runs of pairs (candidate, fold); fold -1 trains on all rows."""
    task = prepared.task
    picked = [plan.candidates[c] for c, _ in each]
    fold = np.array([f for _, f in each])
    width = max((c.width for c in plan.candidates), default=0) or 1
    seeds = np.array(seeds)
    params = initial_params(
        task.x.shape[1], width, task.k, np.array([c.width for c in picked]), [(seed, int(s)) for s in seeds]
    )
    weight = np.where(trained[None] == fold[:, None], 0, task.weight[None]).astype(np.float32)
    weight = np.where(fold[:, None] == -1, task.weight[None], weight).astype(np.float32)
    return Runs(
        params,
        np.array([c.l2 for c in picked], np.float32),
        np.array([c.dropout for c in picked], np.float32),
        weight,
        held[np.maximum(fold, 0)],
        np.array(stop, np.int32),
        seeds.astype(np.int32),
    )


def _refit(prepared, plan, trained, seed, train, first, choice: Choice, shares):
    """Train the chosen candidates on all rows, and once more on the folds up to their steps."""
    f, slots = plan.trained_folds, len(first.l2)
    held = held_out_rows(trained, f)
    chosen = np.flatnonzero(shares)
    each = [(c, fold) for c in chosen for fold in range(f)]
    weights = [shares[c] / f / 2 for c, _ in each]
    left = slots - len(each)
    count = _apportion(shares, left)
    more = [c for c in range(len(shares)) for _ in range(count[c])]
    weights += [shares[c] / count[c] / 2 for c in more]
    seeds = [fold for _, fold in each] + [1000 + i for i in range(left)]
    each += [(c, -1) for c in more]
    stop = [plan.report_at[choice.report[c]] for c, _ in each]
    params, _ = train(_runs(prepared, plan, trained, held, seed, each, stop, seeds))
    return params, np.array(weights)


def _apportion(shares: np.ndarray, slots: int) -> np.ndarray:
    count = np.where(shares > 0, np.maximum(1, np.floor(shares * slots)), 0).astype(int)
    while count.sum() > slots:
        count[np.argmax(count)] -= 1
    while count.sum() < slots:
        count[np.argmax(np.where(shares > 0, shares / np.maximum(count, 1), -1))] += 1
    return count


def _honest(prepared, tried, predicted, values, trained, cost):
    """Predictions for each row by a choice that did not see its fold."""
    task = prepared.task
    linear = np.array([c.width == 0 for c in tried])
    out = np.full((len(trained), task.k), np.nan)
    best_linear = out.copy()
    for fold in range(trained.max() + 1):
        seen, rows = (trained >= 0) & (trained != fold), trained == fold
        choice = choose(values[:, :, seen], task.weight[seen], cost)
        at_best = predicted[np.arange(len(tried)), choice.report][:, rows]
        out[rows] = np.tensordot(choice.shares, at_best, 1)
        if linear.any():
            best = np.flatnonzero(linear)[np.argmin(choice.costs[linear])]
            best_linear[rows] = at_best[best]
    return out, best_linear


def _why(rows: Sequence[Row], folds: int) -> str:
    linear = sum(row.share for row in rows if row.width == 0)
    best = min(rows, key=lambda row: row.cost)
    name = "a linear model" if best.width == 0 else f"a network of {best.width} hidden units"
    return (
        f"{len(rows)} candidates were trained on {folds} folds; the best alone was {name} (cost {best.cost:.4g}), "
        f"and linear models have {linear:.0%} of the ensemble."
    )
