"""What a transformer has learnt is stored as JSON, and gives the same numbers again."""

import json

import numpy as np
import pandas as pd

from experiments.tabular.transform import date_parts, from_json, make_transformer, outputs_of, to_json
from experiments.tabular.values import CATEGORY, DATE, NUMBER, YES_NO, Column

N = 300
KINDS = {"a": NUMBER, "b": NUMBER, "flag": YES_NO, "city": CATEGORY, "many": CATEGORY, "rare": CATEGORY}
KINDS |= {"when": DATE, "until": DATE}
COLUMNS = [Column(name, kind, "", 0, 0) for name, kind in KINDS.items()]


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "a": rng.normal(1e9, 3, N),
            "b": np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N)),
            "flag": rng.integers(0, 2, N).astype(float),
            "city": pd.Series(rng.choice(["x", "y", "z", ""], N), dtype=object).replace("", np.nan),
            "many": pd.Series([f"k{i}" for i in rng.integers(0, 150, N)], dtype=object),
            "rare": pd.Series([f"u{i}" for i in range(N)], dtype=object),
            "when": pd.date_range("2020-01-01", periods=N, freq="5h"),
            "until": pd.date_range("2021-01-01", periods=N, freq="D"),
        }
    )
    found.loc[7, "when"] = pd.NaT
    return found


def test_the_stored_transformer_gives_the_same_numbers():
    data = frame()
    fitted = make_transformer(COLUMNS).fit(data)
    again = from_json(json.loads(json.dumps(to_json(fitted))), COLUMNS)
    other = data.copy()
    other.loc[:50, "city"] = "unknown"
    other.loc[:90, "a"] = np.nan
    other.loc[3:60, "until"] = pd.NaT
    for rows in (data, other):
        x = fitted.transform(rows)
        np.testing.assert_array_equal(again.transform(rows), x)
        assert np.isfinite(x).all()


def test_numbers_are_standardised_and_categories_pooled():
    data = frame()
    fitted = make_transformer(COLUMNS).fit(data)
    x = fitted.transform(data)
    groups = dict(zip(KINDS, outputs_of(fitted, COLUMNS), strict=True))
    assert sorted(np.concatenate([*groups.values()])) == list(range(x.shape[1]))
    np.testing.assert_allclose(x[:, groups["a"][0]].std(), 1, rtol=1e-6)
    assert [len(groups[name]) for name in ("a", "b", "flag", "city", "rare", "when", "until")] == [1, 2, 1, 4, 1, 12, 6]
    missing = data["b"].isna().to_numpy()
    assert len(set(x[missing, groups["b"][0]])) == 1  # the median
    assert x[missing, groups["b"][1]].min() > 0 > x[~missing, groups["b"][1]].max()
    np.testing.assert_array_equal(x[:, groups["city"]].sum(axis=1), 1)
    np.testing.assert_array_equal(x[:, groups["rare"]], 1)  # one column for all texts of a single row
    changed = data.copy()
    changed["many"] = "unknown"
    moved = (fitted.transform(changed) != x).any(axis=0)
    assert set(np.flatnonzero(moved)) <= set(groups["many"])


def test_parts_of_dates():
    dates = pd.DataFrame({"d": pd.to_datetime(["2024-02-29 18:30", None])})
    parts = date_parts(dates)
    assert parts[0].tolist() == [2024, 2, 29, 3, 18.5, 19782 + 18.5 / 24]
    assert np.isnan(parts[1]).all()
