"""Predict with a model that `train` fitted; write predictions to a .csv file.

    python -m experiments predict --run results/train/flowers --data new.csv

The table is read as that of `train` was: a number, a category or a date is understood as it was there. Its columns
may stand in any order, and other columns are ignored. A missing value is filled in as in training, and a category
that was not in the training data counts as a rare one. If a whole column is missing, --allow-missing fills it in.

For classes, the file lists the probability of each class, and a class is written as the training data wrote it. For
a quantity it gives the limits between which nine of ten true values should lie. Columns that `train` was told to
be ids are copied. If the column of the target is there, the predictions are compared with it, and the scores are
printed; otherwise a line says why not.
"""

import csv
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments import reports
from experiments.data.tables import Table, read_table
from experiments.errors import DataError, UsageError, needs
from experiments.tabular.model import FILES, Model, features, inputs, load, predict
from experiments.tabular.target import read_target
from experiments.tabular.values import DATE, ID, NUMBER, YES_NO, read_column
from experiments.tabular_report import Contents, Part, scores_table
from experiments.wording import counted


@dataclass(frozen=True)
class Config:
    run: Path
    """Folder that `train` wrote."""
    data: Path
    """The table: a .csv, .tsv, .txt, .parquet or .npz file; texts also as .gz."""
    out: Path | None = None
    """The .csv file to write. None: DATA-predictions.csv in the folder of --run."""
    drop_missing: bool = False
    """Leave out rows with missing values, instead of filling them in."""
    allow_missing: bool = False
    """Fill in columns that the table lacks, instead of stopping with an error."""
    missing: tuple[str, ...] = ()
    """Further spellings of a missing value, besides those that `train` was given."""
    delimiter: str | None = None
    """Character between the fields of a text, or tab. None: found."""
    encoding: str | None = None
    """Encoding of a text, such as utf-8 or cp1252. None: found."""


def read_features(model: Model, table: Table, config: Config) -> Any:
    """Return the features, a pandas.DataFrame with a row per row of the table.

    Raises:
      DataError: if columns are absent, or a value is not of its column's kind.
    """
    import pandas as pd

    wanted = features(model.columns)
    absent = [column.name for column in wanted if column.name not in table.columns]
    if absent and (not config.allow_missing or len(absent) == len(wanted)):
        close = difflib.get_close_matches(absent[0], [*table.columns], n=1)
        hint = f"; did you rename it to {close[0]!r}?" if close else ""
        if len(table.columns) == 1:
            hint = f": its only column is {next(iter(table.columns))[:60]!r}; see --delimiter"
        advice = "" if hint or len(absent) == len(wanted) else "; --allow-missing fills them in"
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        names = ", ".join(map(repr, absent[:5])) + more
        raise DataError(f"{config.data}: has no column {names}, which the model needs{hint}{advice}")
    spellings = (*model.missing, *config.missing)
    frame: dict[str, Any] = {}
    for column in wanted:
        if column.name in absent:
            dtype = {NUMBER: "float64", YES_NO: "float64", DATE: "datetime64[ns]"}.get(column.kind, object)
            frame[column.name] = pd.Series([None] * len(table.rows), dtype=dtype)
        else:
            frame[column.name] = read_column(column, table, spellings, config.data)
    if absent:
        print(f"warning: filled in, since the table has no such column: {', '.join(absent)}")
    return pd.DataFrame(frame)


def write(path: Path, model: Model, numbers: np.ndarray, ids: dict[str, Any], predicted: np.ndarray) -> None:
    """Write one line per row: its number from 1, ids, the prediction, and probabilities or limits."""
    classes = model.target.classes
    heads = [f"probability of {name}" for name in classes]
    if model.spread is not None:
        heads = ["90 % from", "90 % to"]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["row", *ids, model.target.name, *heads])
            for i, (number, values) in enumerate(zip(numbers, predicted, strict=True)):
                names = [column[i] for column in ids.values()]
                if classes:
                    texts = [classes[values.argmax()], *(f"{share:.6f}" for share in values)]
                else:
                    texts = [repr(float(value)) for value in values[0] + np.array([0.0, *(model.spread or ())])]
                writer.writerow([number, *names, *texts])
    except OSError as error:
        raise UsageError(f"--out: cannot write {path}: {error.strerror or error}") from None


def compare(model: Model, table: Table, kept: np.ndarray, predicted: np.ndarray, config: Config) -> None:
    """Print scores if the table has the target, or why there are none."""
    name = model.target.name
    if name not in table.columns:
        print(f"not compared with true values: there is no column {name!r}")
        return
    try:
        y, known = read_target(model.target, table, (*model.missing, *config.missing), config.data)
    except DataError as error:
        print(f"not compared with the column {name}: {error}")
        return
    if not known[kept].all():
        row = int(np.argmax(kept & ~known)) + 1
        print(f"not compared with true values: the column {name!r} has missing values, first in row {row}")
        return
    y = y[kept] if model.target.classes else y[kept][:, None]
    kind = "classes" if model.target.classes else "quantities"
    part = Part(y, predicted)
    told = Contents(f"compared with the column {name}", "", kind, [name], model.target.classes, test=part)
    Console(highlight=False).print(scores_table(told))


def main(config: Config) -> None:
    """Predict, write the predictions, and score them if the target is present."""
    needs("pandas", "pyarrow", "sklearn")
    out = config.out or config.run / f"{config.data.stem}-predictions.csv"
    read = [config.data, *(config.run / name for name in FILES)]
    reports.distinct("--out", "a file that holds neither the data nor the results of `train`", out, read)
    model = load(config.run)
    known = [*(column.name for column in model.columns), model.target.name]
    table = read_table(config.data, known, config.delimiter, config.encoding)
    frame = read_features(model, table, config)
    kept = ~frame.isna().any(axis=1).to_numpy() if config.drop_missing else np.full(len(frame), True)
    if not kept.any():
        raise DataError(f"{config.data}: every row has missing values; without --drop-missing they are filled in")
    predicted = predict(model, inputs(model, frame[kept], config.data))
    replaced = out.exists()
    ids: dict[str, Any] = {
        column.name: read_column(column, table, (), config.data)
        for column in model.columns
        if column.kind == ID and column.name in table.columns
    }
    ids = {name: values[kept].fillna("").tolist() for name, values in ids.items()}
    write(out, model, 1 + np.flatnonzero(kept), ids, predicted)
    left_out = int((~kept).sum())
    dropped = f"; {counted(left_out, 'row')} with missing values dropped" if left_out else ""
    print(f"{config.data}: {counted(len(predicted), 'prediction')} of {model.target.name}{dropped}")
    compare(model, table, kept, predicted, config)
    print(f"saved: {out}" + (", which replaces an earlier file" if replaced else ""))
