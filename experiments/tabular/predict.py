"""Predict with a network that `train` fitted; write predictions to a .csv file.

    python -m experiments predict --run results/train/flowers --data new.csv

The data must have the columns that the network was trained on, in any order. Other columns are ignored.
If the target column is present, its values are compared with the predictions and the scores are printed;
otherwise a line says why not. For classes, the file also lists the probability of each class. A class is
written as the training data wrote it.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import reports
from experiments.data.tables import Selection, read_examples
from experiments.errors import DataError, UsageError, usage
from experiments.tabular.model import FILES, Model, Predictions, inputs, load, predict
from experiments.tabular.reports import print_table, scores
from experiments.tabular.target import parse_target
from experiments.wording import counted


@dataclass(frozen=True)
class Config:
    run: Path
    """Folder that `train` wrote."""
    data: Path
    """A .csv file with column names in its first line, or an .npz file."""
    out: Path | None = None
    """The .csv file to write. None: DATA-predictions.csv in the folder of --run."""
    drop_missing: bool = False
    """Drop rows with missing values instead of stopping with an error."""
    delimiter: str = ","
    """Character between the fields of a .csv file."""


def write(path: Path, model: Model, rows: Sequence[int], predictions: Predictions) -> None:
    """Write one line per example: row number, prediction, class probabilities."""
    heads = [f"probability of {name}" for name in model.classes]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["row", model.target, *heads])
            values, probabilities = predictions.values, predictions.probabilities
            for row, value, shares in zip(rows, values, probabilities, strict=True):
                text = model.classes[value] if model.classes else repr(float(value))
                writer.writerow([row, text, *(f"{share:.6f}" for share in shares)])
    except OSError as error:
        raise UsageError(f"--out: cannot write {path}: {error.strerror or error}") from None


def main(config: Config) -> None:
    """Predict, write the predictions, and score them if the target is present."""
    if len(config.delimiter) != 1:
        raise usage("--delimiter", "one character", repr(config.delimiter))
    out = config.out or config.run / f"{config.data.stem}-predictions.csv"
    read = [config.data, *(config.run / name for name in FILES)]
    reports.distinct("--out", "a file that holds neither the data nor the results of `train`", out, read)
    model, params = load(config.run)
    selection = Selection(model.target, model.features, drop_missing=config.drop_missing, optional=True)
    examples = read_examples(config.data, selection, config.delimiter)
    predictions = predict(model, params, inputs(model, examples.x, config.data))
    replaced = out.exists()
    write(out, model, examples.rows, predictions)
    dropped = f"; {counted(examples.dropped, 'row')} with missing values dropped" if examples.dropped else ""
    print(f"{config.data}: {counted(len(examples.x), 'prediction')} of {model.target}{dropped}")
    if examples.target:
        try:
            y = parse_target(model, examples.target, config.data)
            print_table(f"compared with the column {model.target}", {"new data": scores(model, predictions, y)})
        except DataError as error:
            print(f"not compared with the column {model.target}: {error}")
    else:
        print(f"not compared with true values: {examples.absent}")
    print(f"saved: {out}" + (", which replaces an earlier file" if replaced else ""))
