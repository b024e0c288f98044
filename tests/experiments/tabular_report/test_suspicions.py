"""The rules about leaks, useless columns, outliers, the spread of predictions, more rows, and an unlike test part."""

import numpy as np

from experiments.tabular_report import suspicions
from experiments.tabular_report.scoring import Score
from experiments.tabular_report.text import terminal


def text(remark) -> str:
    return "" if remark is None else terminal(remark.text)


def test_a_leak_is_suspected_of_a_nearly_perfect_score():
    importances = np.array([[0.6, 0.55], [0.01, 0.02]])
    assert "answer_copy alone carries most of it" in text(
        suspicions.leak(0.999, 0.4, ("answer_copy", "b"), importances)
    )
    both = np.array([[0.4, 0.4], [0.4, 0.4]])
    assert "alone" not in text(suspicions.leak(0.999, 0.4, ("a", "b"), both))
    assert "no column holds the answer" in text(suspicions.leak(0.999, 0.4, (), None))
    assert suspicions.leak(0.98, 0.4, ("a", "b"), importances) is None
    assert suspicions.leak(0.999, 0.99, ("a", "b"), importances) is None


def test_useless_columns():
    random = np.random.default_rng(0)
    importances = np.stack([random.normal(0.2, 0.01, 10), random.normal(0, 0.01, 10) - 0.005])
    assert text(suspicions.useless(("good", "random"), importances)).startswith("random makes no measurable")
    assert suspicions.useless(("good",), importances[:1]) is None
    assert suspicions.useless(("good", "random"), importances[:, :1]) is None
    remark = suspicions.useless(("random",), importances[1:])
    assert remark is not None
    assert remark.tone == "bad"
    assert suspicions.measurable(importances).tolist() == [True, False]
    assert suspicions.measurable(importances[:, :1]).tolist() == [True, importances[1, 0] > 0]


def test_outliers():
    random = np.random.default_rng(0)
    y = random.normal(size=500)
    p = y + random.normal(size=500) * 0.1
    assert suspicions.outliers(y, p, "price") is None
    y[:3] += 50
    assert "price: 5 of 500 rows make" in text(suspicions.outliers(y, p, "price"))
    assert "One row makes" in text(suspicions.outliers(y[:50], p[:50], "price"))
    assert suspicions.outliers(y[:20], p[:20], "price") is None
    assert suspicions.outliers(y, y, "price") is None


def test_the_spread_of_predictions():
    random = np.random.default_rng(0)
    p = random.normal(size=400)
    noise = random.normal(size=400) * 0.2
    assert suspicions.spread(p + noise, p, "price") is None
    assert "differ too much" in text(suspicions.spread(0.6 * p + noise, p, "price"))
    assert "differ too little" in text(suspicions.spread(1.5 * p + noise, p, "price"))
    assert suspicions.spread(p, np.full(400, 3.0), "price") is None
    assert suspicions.spread(0.6 * p[:12] + 10 * noise[:12], p[:12], "price") is None


def test_more_rows():
    assert "from 100 to 200 training rows" in text(
        suspicions.more_rows(((200, 0.9, 0.01), (100, 0.8, 0.01), (50, 0.5, 0.1)))
    )
    assert suspicions.more_rows(((100, 0.88, 0.01), (200, 0.9, 0.01))) is None
    assert suspicions.more_rows(((200, 0.9, 0.01),)) is None


def test_a_test_part_unlike_the_others():
    high, low = Score(0.9, 0.01), Score(0.7, 0.01)
    assert "worse accuracy" in text(suspicions.unlike_test(high, low, "accuracy", rises=True))
    assert suspicions.unlike_test(low, high, "accuracy", rises=True) is None
    assert "worse error" in text(suspicions.unlike_test(low, high, "error", rises=False))
    assert suspicions.unlike_test(high, Score(0.7, 0.2), "accuracy", rises=True) is None
    assert suspicions.unlike_test(high, Score(None), "accuracy", rises=True) is None
