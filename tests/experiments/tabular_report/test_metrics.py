"""The scores of a report against direct calls of scikit-learn, and their standard errors."""

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier, DummyRegressor

from experiments.tabular_report import measure
from experiments.tabular_report.figure_parts import reliability
from experiments.tabular_report.scoring import SAMPLES, bootstrap, compare, estimate, guess, rows
from tests.experiments.tabular_report.predictions import classes, classes_part, folds, labels, quantities


def over_folds(contents, value):
    """Return mean and corrected standard error of a score over the folds, computed in another way."""
    part = contents.out_of_fold
    values = [value(part.y[contents.folds == f], part.model[contents.folds == f]) for f in np.unique(contents.folds)]
    j = len(values)
    return np.mean(values), np.std(values, ddof=1) * np.sqrt(1 / j + 1 / (j - 1))


def one_hot(y, p):
    return np.eye(p.shape[1])[y]


BY_CLASS = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1)),
    "precision": lambda y, p: sk.precision_score(y, p.argmax(1), average="macro"),
    "f1": lambda y, p: sk.f1_score(y, p.argmax(1), average="macro"),
    "roc_auc": lambda y, p: sk.roc_auc_score(y, p, multi_class="ovr"),
    "log_loss": lambda y, p: sk.log_loss(y, p),
    "brier": lambda y, p: ((one_hot(y, p) - p) ** 2).sum(axis=1).mean(),
}
QUANTITY = {
    "r2": sk.r2_score,
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "median_error": sk.median_absolute_error,
}
LABEL = {
    "accuracy": lambda y, p: ((p >= 0.5) == y).mean(),
    "exact": lambda y, p: sk.accuracy_score(y, p >= 0.5),
    "f1": lambda y, p: sk.f1_score(y, p >= 0.5, average="macro"),
    "roc_auc": lambda y, p: sk.roc_auc_score(y, p),
    "log_loss": lambda y, p: np.mean([sk.log_loss(y[:, c], p[:, c]) for c in range(y.shape[1])]),
    "brier": lambda y, p: np.mean([sk.brier_score_loss(y[:, c], p[:, c]) for c in range(y.shape[1])]),
}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [(classes(), BY_CLASS), (quantities(), QUANTITY), (quantities(k=3), {"r2": sk.r2_score}), (labels(), LABEL)],
    ids=["classes", "quantity", "quantities", "labels"],
)
def test_scores_are_scikit_learns_averaged_over_folds(contents, expected):
    found = measure(contents).scores["out_of_fold"]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        mean, error = over_folds(contents, value)
        np.testing.assert_allclose(found[key]["model"], (mean, error), rtol=1e-9, err_msg=key)


def test_two_classes_have_the_binary_auc_and_brier_score():
    contents = classes(names=("no", "yes"))
    found = measure(contents).scores["out_of_fold"]
    for key, value in (("roc_auc", sk.roc_auc_score), ("brier", sk.brier_score_loss)):
        mean, _ = over_folds(contents, lambda y, p, value=value: value(y, p[:, 1]))
        assert found[key]["model"].value == pytest.approx(mean)


@pytest.mark.parametrize("names", [("no", "yes"), ("a", "b", "c")])
def test_scores_of_each_class(names):
    contents = classes(n=300, names=names)
    values, errors = measure(contents).by_output["out_of_fold"]
    options = {"average": None, "zero_division": np.nan}
    parts = [contents.folds == f for f in range(5)]
    y, p = contents.out_of_fold.y, contents.out_of_fold.model
    by_fold = np.array([sk.precision_recall_fscore_support(y[i], p[i].argmax(1), **options)[:3] for i in parts])
    auc = [[sk.roc_auc_score(y[i] == c, p[i][:, c]) for c in range(len(names))] for i in parts]
    np.testing.assert_allclose(values, [*by_fold.mean(axis=0), np.mean(auc, axis=0)])
    np.testing.assert_allclose(errors[0], by_fold[:, 0].std(axis=0, ddof=1) * np.sqrt(1 / 5 + 1 / 4))


@pytest.mark.parametrize("k", [1, 3])
def test_scores_of_each_label(k):
    contents = labels(n=200, k=k)
    values, _ = measure(contents).by_output["out_of_fold"]
    part = contents.out_of_fold
    expected = [over_folds(contents, lambda y, p, c=c: sk.f1_score(y[:, c], p[:, c] >= 0.5))[0] for c in range(k)]
    np.testing.assert_allclose(values[2], expected)
    assert values.shape == (4, part.y.shape[1])


def test_guessing_is_scikit_learns_dummy_fitted_to_the_other_folds():
    contents = classes(n=200)
    part = rows(contents, "out_of_fold")
    for fold in range(5):
        inside = contents.folds == fold
        dummy = DummyClassifier(strategy="prior").fit(part.y[~inside, None], part.y[~inside])
        np.testing.assert_allclose(part.guessing[inside], dummy.predict_proba(part.y[inside, None]))
    contents = quantities(k=2)
    part = rows(contents, "out_of_fold")
    inside = contents.folds == 0
    dummy = DummyRegressor().fit(part.y[~inside], part.y[~inside])
    np.testing.assert_allclose(part.guessing[inside], dummy.predict(part.y[inside]))


def test_guessing_gives_no_class_the_probability_zero():
    guessed = guess("classes", np.zeros(9, int), 2, 3)
    assert (guessed > 0).all()
    np.testing.assert_allclose(guessed.sum(axis=1), 1)


def test_the_test_part_is_guessed_from_the_training_rows():
    contents = classes()._replace(test=classes_part(40, 3, seed=5), train_y=np.array([0, 0, 0, 1, 1, 2]))
    part = rows(contents, "test")
    np.testing.assert_allclose(part.guessing, np.tile([[3 / 6, 2 / 6, 1 / 6]], (40, 1)))


def test_small_folds_are_scored_together_with_an_error_from_the_bootstrap():
    contents = classes(n=30)
    found = measure(contents).scores["out_of_fold"]["accuracy"]["model"]
    y, p = contents.out_of_fold.y, contents.out_of_fold.model
    share = (p.argmax(axis=1) == y).mean()
    assert found.value == pytest.approx(share)
    assert found.error == pytest.approx(np.sqrt(share * (1 - share) / 30), rel=0.4)


def test_a_score_that_a_fold_does_not_define_is_computed_over_all_rows():
    y = np.array([0] * 40 + [1] * 40)
    p = np.random.default_rng(0).random((80, 1))
    value, error = estimate(lambda y, p: np.array([y.mean(), np.nan if y.min() == y.max() else p.mean()]), y, p, y)
    assert value == pytest.approx([0.5, p.mean()])
    assert np.isfinite(error).all()


def test_the_bootstrap_of_many_rows_scales_its_error():
    values = np.random.default_rng(0).normal(size=(200_000, 1))
    error = bootstrap(lambda y, p: p.mean(), values[:, 0], values)
    assert error == pytest.approx(values.std() / np.sqrt(len(values)), rel=0.5)
    assert SAMPLES >= 20


def test_a_comparison_is_the_corrected_test_of_the_folds_differences():
    random = np.random.default_rng(0)
    ours, other, fold = random.random(100), random.random(100) + 0.1, folds(100)
    d = np.array([(other - ours)[fold == f].mean() for f in range(5)])
    found = compare(ours, other, fold)
    assert found.t == pytest.approx(d.mean() / (d.std(ddof=1) * np.sqrt(1 / 5 + 1 / 4)))
    same = compare(ours, ours, fold)
    assert (same.mean, same.t, same.p) == (0, 0, 0.5)
    assert compare(ours, ours + 1, fold).p == 0
    assert compare(ours, ours - 1, None).p == 1


def test_the_reliability_curve_is_scikit_learns():
    random = np.random.default_rng(0)
    claimed = random.random(400)
    right = random.random(400) < claimed
    mean, share, error = reliability(claimed, right)
    assert len(mean) == 10
    np.testing.assert_allclose(share, [right[i].mean() for i in np.array_split(np.argsort(claimed), 10)])
    np.testing.assert_allclose(mean, [claimed[i].mean() for i in np.array_split(np.argsort(claimed), 10)])
    assert (np.abs(share - mean) < 4 * error).all()
