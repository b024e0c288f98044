"""Columns as numbers for a network, by scikit-learn; what is fitted can be stored as JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from experiments.tabular.values import CATEGORY, DATE, NUMBER, YES_NO, Column

if TYPE_CHECKING:
    import pandas as pd

LEAST, MOST_CATEGORIES = 4, 100  # rows of a category that is not pooled with other rare ones; categories of a column
PARTS = ("year", "month", "day", "weekday", "hour", "days")
KINDS = {"numbers": (NUMBER, YES_NO), "dates": (DATE,), "categories": (CATEGORY,)}


def date_parts(dates: "pd.DataFrame") -> Float64[np.ndarray, "n parts"]:
    """Return year, month, day, weekday (Monday is 0), hour and days since 1970 of each column of dates.

    >>> import pandas as pd
    >>> date_parts(pd.DataFrame({"when": pd.to_datetime(["1970-01-02 12:30"])})).tolist()
    [[1970.0, 1.0, 2.0, 4.0, 12.5, 1.5208333333333333]]
    """
    import pandas as pd

    found: list[Any] = []
    for _, column in dates.items():
        of, days = column.dt, (column - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
        found += [of.year, of.month, of.day, of.day_of_week, of.hour + of.minute / 60, days]
    return np.column_stack([part.to_numpy(np.float64, na_value=np.nan) for part in found])


def make_transformer(columns: Sequence[Column], least: int = LEAST, most: int | None = MOST_CATEGORIES) -> Any:
    """Return a ColumnTransformer for a table of these columns: numbers, dates and categories as numbers.

    Numbers and the parts of dates are standardised; missing ones become the median, with an indicator. Categories
    become one column each, and so does a missing one; those of fewer than `least` rows are pooled, with unknown ones.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=least, max_categories=most, sparse_output=False
    )
    steps = {
        "numbers": make_pipeline(impute, StandardScaler()),
        "dates": make_pipeline(FunctionTransformer(date_parts), impute, StandardScaler()),
        "categories": make_pipeline(SimpleImputer(strategy="constant", fill_value=""), one_hot),
    }
    names = {step: [column.name for column in columns if column.kind in kinds] for step, kinds in KINDS.items()}
    return ColumnTransformer([(step, steps[step], names[step]) for step in steps if names[step]])


def outputs_of(transformer: Any, columns: Sequence[Column]) -> list[np.ndarray]:
    """Return for each column which outputs of the fitted transformer it determines."""
    found: dict[str, list[int]] = {column.name: [] for column in columns}
    for step, part, names in transformer.transformers_:
        start = transformer.output_indices_[step].start
        if step == "categories":
            widths = [
                len(categories) - (0 if rare is None else len(rare) - 1)
                for categories, rare in zip(part[-1].categories_, part[-1].infrequent_categories_, strict=True)
            ]
            owners = np.repeat(np.arange(len(names)), widths)
        else:
            every = np.repeat(np.arange(len(names)), len(PARTS) if step == "dates" else 1)
            owners = np.concatenate([every, every[part[-2].indicator_.features_]])
        for j, owner in enumerate(owners):
            found[names[owner]].append(start + j)
    return [np.array(found[column.name]) for column in columns]


def to_json(transformer: Any) -> dict[str, Any]:
    """Return what a fitted transformer has learnt from its table."""
    stored: dict[str, Any] = {}
    for step, part, _ in transformer.transformers_:
        if step == "categories":
            one_hot = part[-1]
            rare = [categories is not None for categories in one_hot.infrequent_categories_]
            frequent = [
                [name for name in names if infrequent is None or name not in set(infrequent)]
                for names, infrequent in zip(one_hot.categories_, one_hot.infrequent_categories_, strict=True)
            ]
            stored[step] = {"frequent": frequent, "rare": rare}
        elif step in KINDS:
            impute, scale = part[-2], part[-1]
            stored[step] = {
                "medians": impute.statistics_.tolist(),
                "with_missing": impute.indicator_.features_.tolist(),
                "mean": scale.mean_.tolist(),
                "scale": scale.scale_.tolist(),
            }
    return stored


def from_json(stored: Mapping[str, Any], columns: Sequence[Column]) -> Any:
    """Return the fitted transformer that `to_json` stored.

    It is fitted to a small table that has the same categories and missing values; then its statistics are set.

    Raises:
      ValueError, KeyError, TypeError: if the stored values do not fit the columns.
    """
    import pandas as pd

    used = {step: [column.name for column in columns if column.kind in kinds] for step, kinds in KINDS.items()}
    categories = stored["categories"]["frequent"] if used["categories"] else []
    rows = 2 * max(map(len, categories), default=0) + 3
    table: dict[str, Any] = {}
    for step, values in (("numbers", np.zeros(rows)), ("dates", np.full(rows, np.datetime64("2000-01-01")))):
        each = len(PARTS) if step == "dates" else 1
        missing = {int(feature) // each for feature in stored[step]["with_missing"]} if used[step] else set()
        if not missing <= set(range(len(used[step]))):
            raise ValueError(f"with_missing of {step} must be below {len(used[step])}")
        for j, name in enumerate(used[step]):
            table[name] = values.copy()
            if j in missing:
                table[name][0] = np.datetime64("NaT", "D") if step == "dates" else np.nan
    for j, name in enumerate(used["categories"]):
        frequent, rare = categories[j], stored["categories"]["rare"][j]
        if not isinstance(frequent, list) or not all(isinstance(text, str) for text in frequent):
            raise ValueError(f"the categories of {name!r} must be texts")
        fill = [f"{max(frequent, default='')}\0{i}" for i in range(rows)] if rare else [frequent[0]] * rows
        table[name] = pd.Series(([*frequent, *frequent, *fill])[:rows], dtype=object)
    transformer = make_transformer(columns, least=2, most=None).fit(pd.DataFrame(table))
    for step, part, _ in transformer.transformers_:
        if step in ("numbers", "dates"):
            impute, scale = part[-2], part[-1]
            impute.statistics_ = _finite(stored[step]["medians"], len(impute.statistics_))
            scale.mean_ = _finite(stored[step]["mean"], len(scale.mean_))
            scale.scale_ = _finite(stored[step]["scale"], len(scale.mean_))
            scale.var_ = scale.scale_**2
            if (scale.scale_ <= 0).any():
                raise ValueError(f"the scale of {step} must be above 0")
    return transformer


def _finite(values: Any, length: int) -> Float64[np.ndarray, " n"]:
    array = np.array(values, np.float64)
    if array.shape != (length,) or not np.isfinite(array).all():
        raise ValueError(f"must be {length} finite numbers")
    return array
