"""Parts of a search: folds, choice, slots of the refit, plans, outliers, standardisation."""

import itertools

import numpy as np
import pytest

from fnn.search.candidates import few_candidates, linear_candidates, network_candidates
from fnn.search.choose import Choice, choose, greedy_shares, half_squared, log_loss, robust
from fnn.search.folds import assign_folds, held_out_rows, strata_of
from fnn.search.outliers import have_outliers
from fnn.search.plan import MOST_OUTPUTS, SECONDS, plan_search, training_seconds
from fnn.search.prepare import of_quantities
from fnn.search.refit import slots_of
from fnn.search.scaling import center_and_scale, far_values, fit_scaling, standardise

rng = np.random.default_rng(0)


@pytest.mark.parametrize("counts", [(50, 50), (97, 3), (4, 3, 2, 1), (200, 1, 1, 1, 1, 1, 1)])
def test_folds_and_classes_in_them_are_even(counts):
    strata = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = assign_folds(strata, 5, seed=3)
    sizes = np.bincount(folds, minlength=5)
    assert sizes.max() - sizes.min() <= 1
    for stratum in range(len(counts)):
        each = np.bincount(folds[strata == stratum], minlength=5)
        assert each.max() - each.min() <= 1
    assert not np.array_equal(folds, assign_folds(strata, 5, seed=4))
    rows = held_out_rows(folds, 5)
    assert sorted(rows[rows >= 0]) == list(range(len(strata)))


def test_quantities_are_stratified_by_their_first_column():
    y = rng.normal(size=(100, 2))
    folds = assign_folds(strata_of(y), 5, 0)
    assert np.ptp([np.median(y[folds == fold, 0]) for fold in range(5)]) < 0.4


def test_greedy_shares_reach_the_best_mean_of_three():
    truth = rng.normal(size=(200, 1))
    noise = rng.normal(size=(3, 200, 1)) * np.array([0.5, 0.7, 2.0])[:, None, None]
    errors = noise + truth * 0
    shares = greedy_shares(errors, np.ones(200), half_squared)
    grid = [np.array(s) / 24 for s in itertools.product(range(25), repeat=3) if sum(s) == 24]
    cost = lambda s: half_squared(np.tensordot(s, errors, 1)).mean()
    assert cost(shares) <= 1.002 * min(map(cost, grid))
    assert cost(shares) < 0.95 * cost(np.array([1.0, 0.0, 0.0]))
    assert shares.sum() == pytest.approx(1)


def test_choice_minds_weights_and_diverged_runs():
    p = np.full((3, 2, 4, 1), 0.5)
    p[0, 1, :2], p[0, 1, 2:] = 0.9, 0.1  # good for the first two rows
    p[1, 0, :2], p[1, 0, 2:] = 0.1, 0.9
    p[2] = np.nan
    choice = choose(p, np.array([1.0, 1.0, 0.0, 0.0]), log_loss)
    assert choice.report[:2].tolist() == [1, 1]
    assert choice.shares.tolist() == [1, 0, 0]
    assert choice.costs[0] == pytest.approx(-np.log(0.9))
    assert choice.costs[2] == np.inf
    np.testing.assert_array_equal(choice.curves.min(axis=1), choice.costs)


def test_robust_cost_is_hubers():
    assert robust(2.0)(np.array([[1.0], [-5.0]])) == pytest.approx([0.5, 8.0])


@pytest.mark.parametrize("picked", [(0,), (10, 11), (0, 1, 2, 10), tuple(range(14))])
def test_every_chosen_candidate_is_refitted_with_its_share(picked):
    plan = plan_search(None, 500, 5, 2)
    shares = np.zeros(14)
    shares[list(picked)] = np.arange(1, 1 + len(picked))
    shares /= shares.sum()
    slots, weights = slots_of(plan, Choice(np.arange(14) % 9, np.zeros(14), shares, np.zeros((14, 9))))
    assert len(slots) == len(weights) == plan.runs
    for c, share in enumerate(shares):
        mine = [(slot, weight) for slot, weight in zip(slots, weights, strict=True) if slot.candidate == c and weight]
        assert sum(weight for _, weight in mine) == pytest.approx(share)
        assert {slot.stop for slot, _ in mine} <= {plan.report_at[c % 9]}
        on_all_rows = [slot.seed for slot, _ in mine if slot.fold < 0]
        assert len(set(on_all_rows)) == len(on_all_rows)
        assert bool(on_all_rows) == bool(share)


SIZES = [(10, 3, 2), (1_000, 20, 2), (5_000, 200, 100), (30, 2_000, 3), (30_000, 20, 2), (100_000, 200, 10)]


@pytest.mark.parametrize(("n", "d", "k"), SIZES)
def test_plans_fit_into_time_and_memory(n, d, k):
    for seconds in (SECONDS, 5.0):
        plan = plan_search(None, n, d, k, seconds)
        assert training_seconds(plan, d, k) <= seconds
        assert plan.runs * plan.most_held_out * k * len(plan.report_at) <= 1.01 * MOST_OUTPUTS
        assert list(plan.report_at) == sorted(set(plan.report_at))
        assert any(c.width for c in plan.candidates)
        assert any(not c.width for c in plan.candidates)


def test_more_rows_have_more_steps_until_they_are_split_once():
    plans = [plan_search(None, n, 10, 2) for n in (500, 4_000, 30_000)]
    assert [plan.trained_folds for plan in plans] == [5, 5, 1]
    assert plans[0].report_at[-1] < plans[1].report_at[-1] < plans[2].report_at[-1]
    tried = few_candidates()
    assert plan_search(tried, 500, 10, 2).candidates == tried


def test_default_candidates_are_fourteen():
    tried = (*network_candidates(), *linear_candidates())
    assert len(set(tried)) == 14


def test_outliers_are_told_from_heavy_tails():
    x = rng.normal(size=(400, 4))
    line = x @ np.array([1.0, -2.0, 0.5, 0.0])
    far = rng.random(400) < 0.05
    assert have_outliers(x, (line + 50 * far * rng.standard_cauchy(400))[:, None], 0)
    assert not have_outliers(x, (line + rng.normal(size=400))[:, None], 0)
    assert not have_outliers(x, np.exp(line)[:, None], 0)  # skewed: its mean needs the large values
    assert not have_outliers(x, (x[:, :1] > 0).astype(float), 0)


def test_standardisation_keeps_differences_of_large_numbers():
    column = np.arange(50.0)
    x = np.stack([column + 1e12, column * 1e-30, column * 1e300, np.full(50, 0.1), np.full(50, -1e200)], axis=1)
    center, scale = center_and_scale(x)
    z = (x - center) / scale
    assert np.abs(z[:, :3].mean(axis=0)).max() < 1e-9
    assert z[:, :3].std(axis=0) == pytest.approx(1)
    assert (z[:, 3:] == 0).all()


TAILS = [
    lambda r: r.normal(size=1000),
    lambda r: np.exp(2 * r.normal(size=1000)),
    lambda r: r.standard_t(2, 1000),
    lambda r: (r.random(1000) < 0.01).astype(float),  # an indicator
    lambda r: r.poisson(0.05, 1000).astype(float),
    lambda r: np.where(r.random(1000) < 0.2, 1000.0, r.normal(size=1000)),  # two groups
    lambda r: np.full(1000, 0.1 + 0.2),
    lambda r: np.where(np.arange(1000) == 3, 1e7, 0.0),  # two values alone
]


@pytest.mark.parametrize("draw", TAILS)
def test_columns_without_far_values_keep_their_mean_and_deviation(draw):
    for seed in range(5):
        x = draw(np.random.default_rng(seed))[:, None]
        scaling, (center, scale) = fit_scaling(x), center_and_scale(x)
        assert (scaling.center, scaling.scale) == (center, scale)
        assert (standardise(x, scaling) == (x - center) / scale).all()


@pytest.mark.parametrize("value", [99.0, 1e7, -1e300, 1.7e308])
def test_far_values_do_not_move_the_standardisation(value):
    x = np.random.default_rng(0).normal(size=(300, 2))
    far = x.copy()
    far[:20, 1] = value
    assert np.flatnonzero(far_values(far[:, 1])).tolist() == list(range(20))
    plain, robust = fit_scaling(x[20:]), fit_scaling(far)
    assert robust.center[1] == pytest.approx(plain.center[1])
    assert robust.scale[1] == pytest.approx(plain.scale[1])
    z = standardise(far, robust)
    assert (np.abs(z[:20, 1]) == robust.reach[1]).all()
    assert 3 <= robust.reach[1] < 4
    assert fit_scaling(far).center[0] == fit_scaling(x).center[0]


def test_far_inputs_of_far_targets_are_no_errors():
    x = np.random.default_rng(0).normal(size=(200, 2))
    x[5, 0] = 1000.0
    told, silent = (of_quantities(x, y, None, 0).scaling for y in (x[:, :1] + x[:, 1:], x[:, 1:]))
    assert told.center[0] == pytest.approx(x[:, 0].mean())
    assert told.reach[0] > 100
    assert silent.center[0] == pytest.approx(x[np.arange(200) != 5, 0].mean())


def test_heavy_tails_reach_further_than_light_ones():
    normal, cauchy = (fit_scaling(draw(size=(1000, 1))).reach[0] for draw in (rng.normal, rng.standard_cauchy))
    assert 10 <= normal < 30
    assert cauchy > 1000


def test_quantities_with_outliers_have_their_median_as_the_center():
    x = rng.normal(size=(300, 2))
    y = x[:, :1] * 3 + 7
    y[:12] += 1e4
    found = of_quantities(x, y, None, 0)
    assert found.task.delta is not None
    assert abs(found.target_center[0] - 7) < 0.5
    assert found.target_scale[0] < 10
    assert of_quantities(x[12:], y[12:], None, 0).task.delta is None
