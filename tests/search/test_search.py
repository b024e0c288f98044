"""A whole search on small tables: what it returns, and what it refuses."""

import jax
import numpy as np
import pytest

import fnn.search
from fnn.search import Candidate

FEW = (Candidate(0, 1e-3), Candidate(8, 1e-3, 0.25))  # shared, so that tables of one shape share nothing but this


def table(n=60, d=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, (x[:, 0] + 0.3 * rng.normal(size=n) > 0).astype(int)


@pytest.fixture(scope="module")
def found():
    x, y = table()
    weight = np.ones(len(y))
    weight[[3, 7]] = 0.0
    return fnn.search.classes(x, y, 2, weight=weight, seed=1, candidates=FEW)


def test_report_and_ensemble_agree_in_form(found):
    x, y = table()
    report, ensemble = found.report, found.ensemble
    p = fnn.search.predict(ensemble, x)
    assert p.shape == report.out_of_fold.shape == report.linear_out_of_fold.shape == (60, 2)
    assert p.sum(axis=1) == pytest.approx(1)
    assert np.flatnonzero(report.folds < 0).tolist() == [3, 7]
    assert np.isnan(report.out_of_fold).all(axis=1).nonzero()[0].tolist() == [3, 7]
    held_out = report.folds >= 0
    assert ((report.out_of_fold.argmax(1) == y)[held_out]).mean() > 0.8
    assert ensemble.shares.sum() == pytest.approx(1)
    assert sum(row.share for row in report.rows) == pytest.approx(1)
    assert [row[:3] for row in report.rows] == [tuple(candidate) for candidate in FEW]
    assert all(dict(row.curve)[row.steps] == row.cost == min(cost for _, cost in row.curve) for row in report.rows)
    assert report.seconds > 0
    assert "2 candidates on 5 folds" in report.why


def test_reprs_are_short(found):
    assert repr(found.report) == f"Report(60 rows. {found.report.why})"
    assert repr(found.ensemble) == f"Ensemble({len(found.ensemble.shares)} networks, 3 inputs, softmax)"
    assert "<table" in found.report._repr_html_()
    assert found.report._repr_html_().count("<tr") == 1 + len(FEW)
    assert repr(jax.tree.map(lambda leaf: None, found))


def test_why_says_what_was_chosen_and_how_good_it_is_on_rows_that_the_choice_did_not_see(found):
    why = found.report.why
    assert "2 were combined" in why or "one was chosen" in why
    assert "1 were" not in why
    assert "that this choice did not see, the log-loss is" in why
    alone = fnn.search.classes(*table(), 2, candidates=FEW[:1]).report.why
    assert "Of 1 candidates on 5 folds, one was chosen" in alone


def test_rows_without_weight_count_for_nothing(found):
    x, y = table()
    weight = np.ones(len(y))
    weight[[3, 7]] = 0.0
    x[[3, 7]] = 1e9
    y[[3, 7]] = 1 - y[[3, 7]]
    again = fnn.search.classes(x, y, 2, weight=7 * weight, seed=1, candidates=FEW)
    here = table()[0]
    assert np.array_equal(fnn.search.predict(again.ensemble, here), fnn.search.predict(found.ensemble, here))
    assert np.array_equal(again.report.out_of_fold, found.report.out_of_fold, equal_nan=True)


def test_files_restore_the_ensemble(found, tmp_path):
    x = table(seed=5)[0]
    fnn.search.to_files(tmp_path / "model", found.ensemble)
    back = fnn.search.from_files(tmp_path / "model")
    assert np.array_equal(fnn.search.predict(back, x), fnn.search.predict(found.ensemble, x))
    (tmp_path / "model" / "ensemble.json").write_text("{}")
    with pytest.raises(ValueError, match=r"ensemble\.json must be as to_files wrote it"):
        fnn.search.from_files(tmp_path / "model")


def test_members_are_networks_of_the_library(found):
    from fnn.search.network import skip_network

    members = found.ensemble.members
    m, d, width = members.w_in.shape
    network = skip_network(d, width, 2, 0.0)
    x = table()[0]
    z = ((x - found.ensemble.center) / found.ensemble.scale).astype(np.float32)
    mean = np.zeros((len(x), 2))
    for i in range(m):
        zeros = np.zeros(2, np.float32)
        hidden = (fnn.Dense(members.w_in[i], members.b_in[i]), (), (), fnn.Dense(members.w_out[i], zeros))
        logits = network.forward((fnn.Dense(members.w_skip[i], members.b_out[i]), hidden), z)[0]
        mean += found.ensemble.shares[i] * np.asarray(fnn.softmax.forward((), logits)[0])
    assert np.abs(mean - fnn.search.predict(found.ensemble, x)).max() < 1e-5


def test_quantities_have_their_own_units():
    x, _ = table(50, 2)
    y = np.stack([1e6 + 1e3 * x[:, 0], 1e-6 * x[:, 1]], axis=1)
    found = fnn.search.quantities(x, y, candidates=FEW[:1])
    error = fnn.search.predict(found.ensemble, x) - y
    assert (np.abs(error).max(axis=0) < [200.0, 2e-7]).all()
    assert (np.abs(found.report.out_of_fold - y).max(axis=0) < [300.0, 3e-7]).all()


X, Y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
WRONG = [
    (
        lambda: fnn.search.classes(X, np.zeros(4, int), 2),
        "search.classes: y must be of at least two classes, got class 0",
    ),
    (lambda: fnn.search.classes(X, Y, 2, weight=1 - Y), "at least two classes, got class 0 in all rows with weight"),
    (lambda: fnn.search.classes(X, Y + 1, 2), r"search.classes: y must be in 0\.\.1, got 1\.\.2"),
    (lambda: fnn.search.classes(X, Y[:3], 2), "search.classes: y must be of as many rows as x, 4"),
    (lambda: fnn.search.classes(X[0], Y, 2), r"search.classes: x must be a table of numbers \(n, d\)"),
    (lambda: fnn.search.classes(X[:, :0], Y, 2), "search.classes: x must be a table of at least one column"),
    (lambda: fnn.search.classes(X * np.nan, Y, 2), "search.classes: x must be finite, got nan in row 0, column 0"),
    (lambda: fnn.search.classes(X, Y, 2, weight=-Y), "search.classes: weight must be finite and at least 0"),
    (lambda: fnn.search.classes(X, Y, 2, weight=[0, 1, 0, 0]), "a table of at least two rows with weight, got 1"),
    (lambda: fnn.search.classes(X, Y, 2, seed=-1), "search.classes: seed must be in"),
    (lambda: fnn.search.classes(X, Y, 2, seconds=-1), "search.classes: seconds must be finite and at least 0"),
    (lambda: fnn.search.classes(X, Y, 2, candidates=[]), "search.classes: candidates must be at least one Candidate"),
    (lambda: fnn.search.labels(X, X + 2), "search.labels: y must be zeros and ones, got a 2"),
    (lambda: fnn.search.quantities(X, Y), r"search.quantities: y must be numbers of shape \(n, k\)"),
    (
        lambda: fnn.search.quantities(X, X * np.inf),
        "search.quantities: y must be finite, got NaN or an infinity in row 0",
    ),
]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("call", "message"), WRONG)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_other_columns_are_refused(found):
    with pytest.raises(ValueError, match=r"search.predict: x must be of shape \(n, 3\)"):
        fnn.search.predict(found.ensemble, np.zeros((2, 4)))
    assert fnn.search.predict(found.ensemble, np.zeros((0, 3))).shape == (0, 2)
