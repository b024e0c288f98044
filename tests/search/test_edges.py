"""Searches on awkward tables, and the quality of what is found. Slow: each compiles its own program."""

import time

import numpy as np
import pytest

import fnn.search
from experiments.benchmarks.table_peers import search
from experiments.benchmarks.table_sources import split
from experiments.benchmarks.tables import score
from fnn.search import Candidate
from fnn.search.plan import plan_search

pytestmark = pytest.mark.slow

FEW = (Candidate(0, 1e-3), Candidate(8, 1e-3, 0.25))


def drawn(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_one_seed_gives_one_result_and_another_another():
    x = drawn(50, 3)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    first, again, other = (fnn.search.classes(x, y, 2, seed=seed, candidates=FEW) for seed in (1, 1, 2))
    assert np.array_equal(first.report.out_of_fold, again.report.out_of_fold)
    assert np.array_equal(fnn.search.predict(first.ensemble, x), fnn.search.predict(again.ensemble, x))
    assert not np.array_equal(fnn.search.predict(first.ensemble, x), fnn.search.predict(other.ensemble, x))


def test_out_of_fold_predictions_of_noise_are_no_better_than_guessing():
    losses, chosen = [], []
    for seed in range(4):
        x, y = drawn(60, 8, seed), np.random.default_rng(100 + seed).permutation(np.arange(60) % 2)
        report = fnn.search.classes(x, y, 2, seed=seed).report
        losses.append(-np.log(report.out_of_fold[np.arange(60), y]).mean())
        chosen.append(min(row.cost for row in report.rows))
    assert np.mean(losses) > np.log(2) - 0.01
    assert np.mean(losses) > np.mean(chosen) + 0.01  # the chosen cost is too low, the honest one is not


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_tables_of_few_rows(n):
    x, y = drawn(n, 3), np.arange(n) % 2
    for found in (fnn.search.classes(x, y, 2, candidates=FEW), fnn.search.quantities(x, x[:, :1], candidates=FEW)):
        assert np.isfinite(fnn.search.predict(found.ensemble, x)).all()
        assert np.isfinite(found.report.out_of_fold).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.concatenate([x, drawn(len(x), 400, 9)], axis=1),  # more columns than rows
        lambda x: np.concatenate([x, x, x], axis=1),
        lambda x: np.concatenate([x, np.full((len(x), 3), 1e30)], axis=1),
        lambda x: x * [1e-20, 1e12] + [0.0, 1e15],
        lambda x: np.where(np.arange(len(x))[:, None] == 5, 1e7, x),  # one far value in each column
        lambda x: np.where(np.arange(len(x))[:, None] % 80 == 5, [-1e300, 9999.0], x),  # in both parts
    ],
)
def test_awkward_columns(change):
    x = drawn(120, 2)
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    wide = change(x)
    found = fnn.search.classes(wide[:80], y[:80], 2, candidates=(*FEW, Candidate(0, 1e-1)))
    p = fnn.search.predict(found.ensemble, wide[80:])
    assert np.isfinite(p).all()
    assert (p.argmax(1) == y[80:]).mean() > 0.6


def test_far_values_in_new_rows_have_a_bounded_effect():
    x = drawn(600, 3)
    y = x[:, :1] + x[:, 1:2]
    found = fnn.search.quantities(x[:200], y[:200], candidates=FEW)
    fresh = x[200:].copy()
    fresh[:, 2] = np.where(np.arange(400) % 2, 1e7, -1e300)  # of no use for y
    error = fnn.search.predict(found.ensemble, fresh) - y[200:]
    assert np.square(error).mean() < 0.3 * y.var()


def test_classes_with_fewer_rows_than_folds_and_without_rows():
    x = drawn(90, 2)
    y = np.concatenate([np.zeros(50, int), np.full(37, 2), [5, 5, 7]])
    x[:, 0] += y
    found = fnn.search.classes(x, y, 9, candidates=FEW)
    p = fnn.search.predict(found.ensemble, x)
    assert p.shape == (90, 9)
    assert p[:, [1, 3, 4, 6, 8]].mean() < 0.02
    assert (p.argmax(1) == y).mean() > 0.78


def test_weights_of_a_class_raise_its_recall():
    x, rng = drawn(300, 2), np.random.default_rng(3)
    y = (x[:, 0] + rng.normal(size=300) > 1.8).astype(int)
    weight = np.where(y == 1, (y == 0).sum() / (y == 1).sum(), 1.0)
    plain, weighted = (fnn.search.classes(x, y, 2, weight=w, candidates=FEW) for w in (None, weight))
    recall = lambda found: (found.report.out_of_fold.argmax(1) == 1)[y == 1].mean()
    assert recall(weighted) > recall(plain) + 0.2


def test_labels_are_predicted_each_by_itself():
    x = drawn(200, 4)
    y = (x[:, :3] + x[:, 1:] > 0).astype(int)
    found = fnn.search.labels(x, y, candidates=FEW)
    fresh = drawn(500, 4, 8)
    right = (fnn.search.predict(found.ensemble, fresh) > 0.5) == (fresh[:, :3] + fresh[:, 1:] > 0)
    assert (right.mean(axis=0) > 0.92).all()


def test_outliers_in_the_target_do_not_spoil_the_rest():
    data = split("outliers", 0)
    found = fnn.search.quantities(data.x, data.y[:, None])
    assert "Huber" in found.report.why
    error = np.abs(fnn.search.predict(found.ensemble, data.x_test)[:, 0] - data.y_test)
    spread = np.median(np.abs(data.y_test - np.median(data.y_test)))
    assert np.median(error) < 0.4 * spread


@pytest.mark.parametrize(("name", "least"), [("iris", 0.92), ("wine", 0.95), ("diabetes", 0.30), ("friedman1", 0.90)])
def test_scores_reach_those_of_the_best_models(name, least):
    splits = [split(name, seed) for seed in (0, 1)]
    assert np.mean([score(search(data, 0), data) for data in splits]) > least


def test_probabilities_are_calibrated_and_better_than_one_networks():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(4000, 6))
    truth = 1 / (1 + np.exp(-(2 * x[:, 0] * x[:, 1] + x[:, 2])))
    y = (rng.random(4000) < truth).astype(int)
    found = fnn.search.classes(x[:600], y[:600], 2)
    p = fnn.search.predict(found.ensemble, x[600:])[:, 1]
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [abs(p[bins == b].mean() - y[600:][bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    assert sum(gaps) < 0.06  # the expected calibration error
    best = -np.mean(np.log(np.where(y[600:] == 1, truth[600:], 1 - truth[600:])))
    loss = -np.mean(np.log(np.where(y[600:] == 1, p, 1 - p)))
    assert loss < best + 0.12


def test_large_tables_are_split_once():
    x, rng = drawn(7000, 5), np.random.default_rng(6)
    y = np.sin(2 * x[:, :1]) * x[:, 1:2] + 0.1 * rng.normal(size=(7000, 1))
    tried = (Candidate(32, 1e-5), Candidate(0, 1e-3))
    assert plan_search(tried, 7000, 5, 1).trained_folds == 1
    found = fnn.search.quantities(x[:6500], y[:6500], candidates=tried)
    report = found.report
    assert 1000 < (report.folds >= 0).sum() < 2000
    assert np.isnan(report.out_of_fold[:, 0]).tolist() == (report.folds < 0).tolist()
    error = fnn.search.predict(found.ensemble, x[6500:]) - y[6500:]
    assert np.square(error).mean() < 0.1 * y.var()


def test_a_limit_of_seconds_shortens_the_search():
    x, y = drawn(3000, 300), np.arange(3000) % 3
    start = time.process_time()
    found = fnn.search.classes(x, y, 3, seconds=1.0)
    assert time.process_time() - start < 40  # without a limit: several minutes
    assert found.report.rows[0].steps < 320
    assert np.isfinite(fnn.search.predict(found.ensemble, x[:10])).all()
