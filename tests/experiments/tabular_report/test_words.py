"""Each rule of the conclusions, in both directions."""

import numpy as np
import pytest

from experiments.tabular_report import Candidate, words
from experiments.tabular_report.scoring import Difference, Score
from experiments.tabular_report.text import terminal

BETTER, SAME, WORSE = Difference(0.1, 4.0, 0.01), Difference(0.01, 0.5, 0.3), Difference(-0.1, -4.0, 0.99)


def text(remark) -> str:
    return "" if remark is None else terminal(remark.text)


@pytest.mark.parametrize(
    ("cost", "mistakes", "tone", "says"),
    [
        (BETTER, BETTER, "good", "Better than guessing (always b)"),
        (SAME, BETTER, "good", "Better than guessing"),
        (WORSE, BETTER, "bad", "its probabilities are worse than those of guessing"),
        (BETTER, SAME, "note", "its probabilities carry information"),
        (SAME, SAME, "bad", "No better than guessing (always b)"),
        (WORSE, SAME, "bad", "No better than guessing"),
        (WORSE, WORSE, "bad", "Worse than guessing"),
    ],
)
def test_against_guessing(cost, mistakes, tone, says):
    remark = words.against_guessing(cost, mistakes, "always b", "classes")
    assert remark.tone == tone
    assert says in text(remark)


def test_against_guessing_of_a_quantity_speaks_of_errors():
    assert "a few errors are far larger" in text(words.against_guessing(WORSE, BETTER, "always the mean", "quantities"))
    assert "squared error is smaller" in text(words.against_guessing(BETTER, SAME, "always the mean", "quantities"))


@pytest.mark.parametrize(
    ("cost", "mistakes", "tone", "says"),
    [
        (BETTER, SAME, "good", "Better than a linear model (log-loss 1 against 2)"),
        (SAME, BETTER, "good", "Better than a linear model (accuracy 4 against 3)"),
        (SAME, SAME, "note", "No better than a linear model, beyond what chance explains (accuracy 4 against 3; log-"),
        (BETTER, WORSE, "note", "No better than a linear model"),
        (WORSE, SAME, "bad", "Worse than a linear model (log-loss 1 against 2)"),
        (SAME, WORSE, "bad", "Worse than a linear model (accuracy 4 against 3)"),
    ],
)
def test_against_the_linear_model(cost, mistakes, tone, says):
    remark = words.against_linear(cost, mistakes, "log-loss 1 against 2", "accuracy 4 against 3")
    assert remark.tone == tone
    assert text(remark).startswith(says)


def test_a_history_that_still_falls():
    epochs = np.arange(1, 101)
    falling, flat = {"validation_cost": 1 / epochs}, {"validation_cost": 1 + 1 / epochs**2}
    assert "more epochs" in text(words.still_improving(falling, ()))
    assert words.still_improving(flat, ()) is None
    assert words.still_improving({"validation_cost": np.abs(epochs - 50.0) + 1}, ()) is None
    assert words.still_improving({"cost": 1 / epochs}, ()) is None
    assert words.still_improving(None, ()) is None


def test_a_search_that_was_best_at_its_last_step():
    falling, risen = ((10, 1.0), (100, 0.5), (200, 0.4)), ((10, 1.0), (100, 0.4), (200, 0.5))
    make = lambda share, curve, steps: Candidate("c", 0.4, steps, share, False, curve)
    assert "more steps" in text(words.still_improving(None, [make(0.6, falling, 200), make(0.4, risen, 100)]))
    assert words.still_improving(None, [make(0.4, falling, 200), make(0.6, risen, 100)]) is None
    assert words.still_improving(None, [make(1.0, ((10, 1.0), (200, 0.999)), 200)]) is None
    assert words.still_improving(None, [make(1.0, (), 200)]) is None


def test_learnt_by_heart():
    epochs = np.arange(1, 101)
    held_out, training = np.abs(epochs - 20.0) / 50 + 1, 1 / epochs
    remark = words.learnt_by_heart({"validation_cost": held_out, "cost": training}, 20)
    assert "After epoch 20" in text(remark)
    assert words.learnt_by_heart({"validation_cost": training, "cost": training}, 100) is None
    assert words.learnt_by_heart({"validation_cost": held_out, "cost": 1 - training}, 20) is None
    assert words.learnt_by_heart({"validation_cost": held_out}, 20) is None


def test_a_class_that_is_mostly_mistaken_for_another():
    confusion = np.array([[50, 0, 0], [2, 20, 28], [5, 5, 40]])
    found = words.mistaken(confusion, ("ant", "bee", "cat"))
    assert [text(one) for one in found] == ["bee is mostly mistaken for cat: 28 of its 50 rows."]
    assert words.mistaken(np.array([[10, 20, 20], [0, 50, 0], [0, 0, 50]]), ("a", "b", "c")) == []
    assert words.mistaken(np.array([[50, 0, 0], [5, 20, 8], [0, 0, 50]]), ("a", "b", "c")) == []
    assert words.mistaken(np.array([[1, 3, 0], [0, 50, 0], [0, 0, 50]]), ("a", "b", "c")) == []
    assert words.mistaken(np.array([[10, 40], [0, 50]]), ("a", "b")) == []


def test_confidence():
    assert "too confident" in text(words.confidence(0.95, 0.8, 0.01))
    assert "too timid" in text(words.confidence(0.6, 0.8, 0.01))
    assert words.confidence(0.82, 0.8, 0.001) is None
    assert words.confidence(0.95, 0.8, 0.1) is None


def test_few_rows():
    assert "Few rows: the 95 % interval of the accuracy is wide, 0.50 to 0.90 (40 rows)" in text(
        words.few_rows(40, (0.5, 0.9), "accuracy")
    )
    assert "Folds that differ much" in text(words.few_rows(5000, (0.5, 0.9), "accuracy"))
    assert words.few_rows(40, (0.8, 0.9), "accuracy") is None
    assert words.few_rows(40, None, "accuracy") is None


def test_rare_classes():
    assert text(words.rare(np.array([50, 3, 7]), "abc")).startswith("b and c have fewer than 10 rows")
    assert text(words.rare(np.array([50, 3, 70]), "abc")).startswith("b has fewer than 10 rows: what is said of it")
    assert words.rare(np.array([50, 10, 70]), "abc") is None


def test_an_interval_uses_students_t_and_is_never_narrower_than_wilsons():
    from scipy import stats

    low, high = words.interval(Score(0.5, 0.01), 5)
    assert (low, high) == pytest.approx((0.5 - 0.01 * stats.t.ppf(0.975, 4), 0.5 + 0.01 * stats.t.ppf(0.975, 4)))
    assert words.interval(Score(0.5, 0.01), None) == pytest.approx((0.5 - 0.0196, 0.5 + 0.0196), abs=1e-4)
    low, high = words.interval(Score(1.0, 0.0), 5, rows=30)
    assert low == pytest.approx(stats.binomtest(30, 30).proportion_ci(method="wilson").low)
    assert high == 1
    assert words.interval(Score(0.5), 5) is None
