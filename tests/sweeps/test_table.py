"""Tables of a sweep: one row per run, best values and means, sorting, CSV files."""

import csv

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.sweeps.table import Table, best_of, hyper_columns, mean_of
from tests.support.sweeping import keys, make_run


def test_the_table_has_a_row_per_run_with_its_best_epoch():
    hypers = {"alpha": jnp.array([0.5, 0.01, jnp.nan])}
    results = fnn.sweep(make_run(make_optimizer=lambda h: fnn.sgd(h["alpha"]), l2=0.0), hypers, keys(2))
    columns, cost = results.table().columns, results.history["validation_cost"]
    assert {len(column) for column in columns.values()} == {6}
    assert columns["hyper"].tolist() == [0, 0, 1, 1, 2, 2]
    assert columns["key"].tolist() == [0, 1, 0, 1, 0, 1]
    for row in range(6):
        i, j = row // 2, row % 2
        np.testing.assert_equal(columns["alpha"][row], results.hypers["alpha"][i])
        np.testing.assert_equal(columns["validation_cost"][row], cost[i, j, -1])
        if i < 2:
            assert columns["best_validation_cost"][row] == cost[i, j].min()
            assert columns["best_validation_cost_epoch"][row] == cost[i, j].argmin() + 1
            assert columns["best_accuracy"][row] == results.history["accuracy"][i, j].max()
    assert np.isnan(columns["best_validation_cost"][4:]).all()
    assert columns["best_validation_cost_epoch"][4:].tolist() == [0, 0]

    means = results.means().columns
    expected = cost[..., -1].astype(np.float64)
    np.testing.assert_allclose(means["validation_cost"][:2], expected[:2].mean(1), rtol=1e-12)
    np.testing.assert_allclose(means["validation_cost_se"][:2], np.abs(np.diff(expected[:2]))[:, 0] / 2, rtol=1e-12)
    assert means["diverged"].tolist() == [0, 0, 2]
    assert means["keys"].tolist() == [2, 2, 2]
    assert results.means().sorted("validation_cost").columns["hyper"][-1] == 2


def test_the_best_cost_is_the_lowest_and_other_best_values_are_the_highest():
    history = {
        "cost": np.array([[3.0, 1.0, 2.0], [np.nan, 5.0, np.nan], [np.inf, np.nan, np.inf]]),
        "accuracy": np.array([[0.1, 0.9, 0.9], [np.nan] * 3, [-np.inf, 0.2, np.inf]]),
    }
    columns = best_of(history, None)
    np.testing.assert_array_equal(columns["cost"], [2.0, np.nan, np.inf])
    np.testing.assert_array_equal(columns["best_cost"], [1.0, 5.0, np.inf])
    assert columns["best_cost_epoch"].tolist() == [2, 2, 1]
    np.testing.assert_array_equal(columns["best_accuracy"], [0.9, np.nan, np.inf])
    assert columns["best_accuracy_epoch"].tolist() == [2, 0, 3]
    assert best_of(history, lambda name: True)["best_accuracy"][0] == 0.1


def test_mean_and_standard_error():
    out = mean_of({"a": np.array([[1.0, 2.0, 6.0], [1.0, np.nan, 1.0]])})
    np.testing.assert_allclose(out["a"], [3.0, np.nan])
    np.testing.assert_allclose(out["a_se"], [np.sqrt(7 / 3), np.nan])
    assert np.isnan(mean_of({"a": np.ones((2, 1))})["a_se"]).all()


@pytest.mark.parametrize("descending", [False, True])
def test_sorting_puts_nan_last_and_keeps_the_order_of_equals(descending):
    values = np.array([2.0, np.nan, 1.0, np.inf, 2.0, -np.inf, np.nan], np.float32)
    table = Table({"cost": values, "i": np.arange(7)}).sorted("cost", descending)
    expected = [3, 0, 4, 2, 5, 1, 6] if descending else [5, 2, 0, 4, 3, 1, 6]
    assert table.columns["i"].tolist() == expected
    words = Table({"word": np.array(["b", "a", "c"]), "n": np.array([1, 2, 0], np.uint8)})
    assert "".join(words.sorted("word", descending).columns["word"]) == ("cba" if descending else "abc")
    assert words.sorted("n", descending).columns["n"].tolist() == ([2, 1, 0] if descending else [0, 1, 2])


def test_sorting_by_a_column_that_does_not_exist():
    with pytest.raises(ValueError, match=r"sorted: by must be a column \(cost, i\), got 'loss'"):
        Table({"cost": np.ones(2), "i": np.ones(2)}).sorted("loss")


def test_a_csv_gives_every_bit_back(tmp_path):
    bits = np.random.default_rng(1).integers(0, 2**31, 500).astype(np.uint32)
    single = bits.view(np.float32)
    double = np.random.default_rng(2).integers(0, 2**63, 500).view(np.float64)
    single[:4], double[:4] = [np.nan, np.inf, -np.inf, -0.0], [np.nan, np.inf, -np.inf, 5e-324]
    table = Table({"a,b": single, "double": double, "n": np.arange(500), "ok": np.arange(500) % 2 == 0})
    table.save_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    assert names == ["a,b", "double", "n", "ok"]
    for name, text in zip(names[:3], zip(*rows, strict=True), strict=False):
        column = table.columns[name]
        back = np.array(text).astype(column.dtype)
        np.testing.assert_array_equal(back, column)
        assert not np.signbit(back[np.isfinite(back)] * 0 + column[np.isfinite(column)] * 0).any() or name != "n"
    assert rows[3][0] == "-0.0"


def test_names_that_are_taken_have_a_prefix():
    leaves = {"key": np.ones(2), "cost": np.ones(2), "alpha": np.ones(2)}
    assert list(hyper_columns(leaves, {"key", "cost"})) == ["alpha", "hyper.cost", "hyper.key"]


def test_a_table_as_text():
    text = str(Table({"alpha": np.array([0.1, 10.0], np.float32), "n": np.array([1, 200])}))
    assert text.splitlines() == ["alpha    n", "  0.1    1", "   10  200"]
