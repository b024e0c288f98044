"""The benchmark `tables`: its tables, its scores and ranks, and the command."""

import json

import numpy as np
import pytest

from experiments.benchmarks import table_peers, tables
from experiments.benchmarks.table_peers import Answer
from experiments.benchmarks.table_sources import NINE, SOURCES, Split, load, split
from experiments.errors import UsageError


@pytest.mark.parametrize("name", SOURCES)
def test_splits_hold_out_a_fifth_and_repeat(name):
    source, first, again = load(name), split(name, 3), split(name, 3)
    assert np.array_equal(first.x, again.x)
    assert len(first.x_test) == pytest.approx(len(source.x) / 5, abs=1)
    assert len(first.x) + len(first.x_test) == len(source.x)
    assert np.isfinite(first.x).all()
    assert np.isfinite(first.x_test).all()
    assert not np.array_equal(first.y_test, split(name, 4).y_test)
    if source.is_classes:
        assert set(first.y.tolist()) == set(range(int(source.y.max()) + 1))


def test_the_nine_tables_have_their_shapes():
    shapes = {name: load(name).x.shape for name in NINE}
    assert shapes == {
        "iris": (150, 4),
        "wine": (178, 13),
        "breast_cancer": (569, 30),
        "digits": (1797, 64),
        "diabetes": (442, 10),
        "clf": (900, 25),
        "moons": (500, 2),
        "friedman1": (500, 10),
        "mixed": (700, 26),
    }
    assert np.isnan(load("mixed").x).any()


def test_scores_and_log_losses_are_those_of_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    data, answer = Split(*[np.zeros(0)] * 3, y, True), Answer(p.argmax(1), p)
    assert tables.score(answer, data) == pytest.approx(metrics.accuracy_score(y, p.argmax(1)))
    assert tables.log_loss(answer, data) == pytest.approx(metrics.log_loss(y, p))
    assert tables.log_loss(Answer(p.argmax(1)), data) is None
    numbers = Split(*[np.zeros(0)] * 3, p[:, 0], False)
    assert tables.score(Answer(p[:, 1]), numbers) == pytest.approx(metrics.r2_score(p[:, 0], p[:, 1]))


def test_ranks_are_of_mean_scores_and_ties_share_them():
    scores = {"a": (0.9, 0.7), "b": (0.7, 0.9), "c": (0.1, 0.2)}
    rows = [tables.Measured("t", s, m, scores[m][s], None, 1.0) for m in scores for s in range(2)]
    found = tables.summarise(rows, [*scores], ["t"])
    assert found.rank[:, 0].tolist() == [1.5, 1.5, 3.0]
    assert found.error[0, 0] == pytest.approx(0.1)
    text = tables.format_summary(found, [*scores], ["t"])
    assert "0.800±0.100" in text
    assert "-" in text.partition("log-loss")[2]


def test_command_measures_prints_and_saves(monkeypatch, tmp_path, capsys):
    for name in table_peers.PEERS:
        guess = lambda data, seed: Answer(np.full(len(data.y_test), np.bincount(data.y).argmax()))
        monkeypatch.setitem(table_peers.PEERS, name, guess)
    config = tables.Config(tables=("moons", "iris"), seeds=2, seed=1, peers=("svm", "linear"), results=tmp_path)
    tables.main(config)
    saved = json.loads((tmp_path / "tables" / "tables.json").read_text())
    assert len(saved["rows"]) == 2 * 2 * 3
    assert {row["model"] for row in saved["rows"]} == {"search", "svm", "linear"}
    assert {row["score"] for row in saved["rows"] if row["table"] == "moons"} == {0.5}
    assert "mean rank" in capsys.readouterr().out


def test_wrong_flags_are_named(tmp_path):
    for config, flag in [
        (tables.Config(tables=("irish",), results=tmp_path), "--tables"),
        (tables.Config(peers=("search",), results=tmp_path), "--peers"),
        (tables.Config(seeds=0, results=tmp_path), "--seeds"),
        (tables.Config(seed=-1, results=tmp_path), "--seed"),
    ]:
        with pytest.raises(UsageError, match=flag):
            tables.main(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in table_peers.PEERS if name != "search"])
def test_peers_are_better_than_guessing(name):
    for table, least in (("wine", 0.85), ("diabetes", 0.1)):
        data = split(table, 0)
        assert tables.score(table_peers.PEERS[name](data, 0), data) > least
