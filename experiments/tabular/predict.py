"""What a network that `train` made says of new data: a .csv with a prediction per row.

    python -m experiments predict --run results/train/flowers --data new.csv

The data must have the columns that the network was trained on, in any order; others are passed over.
If the target is among them, how many predictions are right, or how far off they are, is printed too.
Classes come with the probability of each.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.data.examples import Wanted, read_examples
from experiments.errors import DataError, UsageError, usage
from experiments.tabular import trained
from experiments.tabular.reports import print_table, scores
from experiments.tabular.trained import Answers, Model


@dataclass(frozen=True)
class Config:
    run: Path
    """The folder that train wrote."""
    data: Path
    """A .csv file with names in its first line, or an .npz file."""
    out: Path | None = None
    """The .csv to write; None: the data's name with -predictions, beside the parameters."""
    drop_missing: bool = False
    """Leave out rows where something is missing, instead of an error."""
    delimiter: str = ","
    """What separates the fields of a .csv file."""


def write(path: Path, model: Model, rows: Sequence[int], given: Answers) -> None:
    """Per example the number of its row, its prediction, and of classes the probability of each."""
    heads = [f"probability of {name}" for name in model.classes]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["row", model.target, *heads])
            for row, value, shares in zip(rows, given.values, given.probabilities, strict=True):
                said = model.classes[value] if model.classes else repr(float(value))
                writer.writerow([row, said, *(f"{share:.6f}" for share in shares)])
    except OSError as error:
        raise UsageError(f"--out: cannot write {path}: {error.strerror or error}") from None


def main(config: Config) -> None:
    """Reads, predicts, writes; compares where the truth is there."""
    if len(config.delimiter) != 1:
        raise usage("--delimiter", "one character", repr(config.delimiter))
    model, params = trained.load(config.run)
    wanted = Wanted(model.target, model.features, drop_missing=config.drop_missing, optional=True)
    examples = read_examples(config.data, wanted, config.delimiter)
    given = trained.answers(model, params, trained.inputs(model, examples.x, config.data))
    out = config.out or config.run / f"{config.data.stem}-predictions.csv"
    write(out, model, examples.rows, given)
    dropped = f", {examples.dropped:,} rows with gaps left out" if examples.dropped else ""
    print(f"{config.data}: {len(examples.x):,} predictions of {model.target}{dropped}")
    if examples.target:
        try:
            y = trained.truth(model, examples.target, config.data)
            print_table(f"compared with the column {model.target}", {"new data": scores(model, given, y)})
        except DataError as error:
            print(f"not compared with the column {model.target}: {error}")
    print(f"saved: {out}")
