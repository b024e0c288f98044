"""What a report is made of: predictions beside true values, and what is known about the data and the training."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

Kind = Literal["classes", "quantities", "labels"]


class Column(NamedTuple):
    """A column of the table and what was decided about it.

    name       the column's name
    use        what it is used as, in a word or two: "numeric", "categorical", "date", "target", "left out" …
    why        why, in a few words: "12 different texts", "set by --ignore", "the same value in every row" …
    missing    number of rows without a value
    override   the flag that decides otherwise, for example "--numeric age"
    """

    name: str
    use: str
    why: str = ""
    missing: int = 0
    override: str = ""


class Candidate(NamedTuple):
    """A configuration that a search compared.

    name     what it is, in a few words: "64 units, L2 0.003, dropout 0.25", "linear, L2 0.01"
    cost     its cost on held-out rows at `steps`: log-loss, or half the squared error of standardised quantities
    steps    the number of steps that was chosen for it
    share    its share in the ensemble, 0 to 1
    linear   True if it has no hidden layer
    curve    rows (step, cost on held-out rows) at all steps that were compared; no rows if they are not known
    """

    name: str
    cost: float
    steps: int
    share: float
    linear: bool = False
    curve: Sequence[tuple[float, float]] = ()


class Part(NamedTuple):
    """Predictions for some rows, beside the true values.

    y           true values: (n,) class indices, (n, k) numbers, or (n, k) 0/1 labels
    model       (n, k) predictions of the model: probabilities of the classes or labels, or quantities
    linear      the same of the linear model; None if there is none
    """

    y: np.ndarray
    model: Float[np.ndarray, "n k"]
    linear: Float[np.ndarray, "n k"] | None = None


class Contents(NamedTuple):
    """Everything that a report says. Text may hold any characters; it is escaped where it is shown.

    At least one of `out_of_fold` and `test` must be given.

    title         heading of the page, for example "species from flowers.csv"
    model         what the model is, in one sentence: "An average of 7 networks with 16 or 64 hidden units …"
    kind          "classes" (one of several classes), "quantities" (numbers) or "labels" (each column 0 or 1)
    targets       names of the columns to predict: one for classes, k for quantities and labels
    classes       names of the k classes; () for quantities and labels
    out_of_fold   predictions for the training rows by models that did not see the row's fold, also in their selection
    folds         (n,) fold of each row of `out_of_fold`
    test          predictions for rows that took no part in training and selection; None if all rows were used
    train_y       true values of the rows that the tested model learnt from. Guessing on the test part uses them;
                  None: those of `out_of_fold`
    columns       the decisions about the table's columns, in the order of the table
    warnings      sentences about the data: leaking columns, id-like columns, rare classes, left-out rows …
    facts         name -> value, about the data: file, rows, columns, size, encoding …
    features      names of the columns that the importances are about
    importances   (features, repeats) decrease of the score if the column's values are permuted; None if not computed
    importance_of the score that decreases: "accuracy", "R²" …
    candidates    what a search compared; () if there was no search
    why           one sentence on why the search chose as it did
    history       name -> values per epoch of the training of a single network ("cost", "validation_cost" …), or None
    kept          the epoch, from 1, whose parameters were kept, if there is a history
    by_rows       rows (training rows, score, standard error) of the model with fewer training rows; () if not computed
    command       the command that predicts with this model
    made_by       the command that made it
    seconds       name -> seconds, "whole" among them
    versions      name -> version
    """

    title: str
    model: str
    kind: Kind
    targets: Sequence[str]
    classes: Sequence[str] = ()
    out_of_fold: Part | None = None
    folds: Int[np.ndarray, " n"] | None = None
    test: Part | None = None
    train_y: np.ndarray | None = None
    columns: Sequence[Column] = ()
    warnings: Sequence[str] = ()
    facts: Mapping[str, Any] = {}
    features: Sequence[str] = ()
    importances: Float[np.ndarray, "features repeats"] | None = None
    importance_of: str = ""
    candidates: Sequence[Candidate] = ()
    why: str = ""
    history: Mapping[str, np.ndarray] | None = None
    kept: int | None = None
    by_rows: Sequence[tuple[int, float, float]] = ()
    command: str = ""
    made_by: str = ""
    seconds: Mapping[str, float] = {}
    versions: Mapping[str, Any] = {}


def check(contents: Contents) -> None:
    """Raise ValueError, naming the field, if parts of the contents do not fit together or are not finite."""
    k = len(contents.classes) if contents.kind == "classes" else len(contents.targets)
    if contents.kind == "classes" and k < 2:
        raise ValueError(f"write: classes must have at least 2 names, got {k}")
    if contents.out_of_fold is None and contents.test is None:
        raise ValueError("write: out_of_fold or test must be given, got None for both")
    for name in ("out_of_fold", "test"):
        part = getattr(contents, name)
        if part is not None:
            _check_part(name, contents.kind, part, k)
    if contents.out_of_fold is not None:
        shape = None if contents.folds is None else np.shape(contents.folds)
        if shape != (len(contents.out_of_fold.y),):
            raise ValueError(f"write: folds must have shape {(len(contents.out_of_fold.y),)}, got {shape}")
    if contents.importances is not None:
        shape = np.shape(contents.importances)
        if len(shape) != 2 or shape[0] != len(contents.features) or not shape[1]:
            raise ValueError(f"write: importances must have shape ({len(contents.features)}, repeats), got {shape}")
        _check_finite("importances", contents.importances)


def _check_part(name: str, kind: Kind, part: Part, k: int) -> None:
    n = len(part.y)
    expected = (n,) if kind == "classes" else (n, k)
    if n == 0 or np.shape(part.y) != expected:
        raise ValueError(f"write: {name}.y must have shape {expected} with at least one row, got {np.shape(part.y)}")
    _check_finite(f"{name}.y", part.y)
    if kind == "classes" and not ((part.y >= 0) & (part.y < k)).all():
        raise ValueError(
            f"write: {name}.y must be class indices from 0 to {k - 1}, got {part.y.min()} to {part.y.max()}"
        )
    if kind == "labels" and not np.isin(part.y, (0, 1)).all():
        raise ValueError(f"write: {name}.y must be 0 or 1, got {part.y.min()} to {part.y.max()}")
    for field, values in (("model", part.model), ("linear", part.linear)):
        if values is None and field == "linear":
            continue
        values = np.asarray(values)
        if np.shape(values) != (n, k):
            raise ValueError(f"write: {name}.{field} must have shape {(n, k)}, got {np.shape(values)}")
        _check_finite(f"{name}.{field}", values)
        if kind != "quantities" and not ((values >= -1e-6) & (values <= 1 + 1e-6)).all():
            raise ValueError(f"write: {name}.{field} must be probabilities, got {values.min():g} to {values.max():g}")


def _check_finite(name: str, values: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = ", ".join(map(str, bad[0]))
        raise ValueError(f"write: {name} must be finite, got {values[tuple(bad[0])]} at [{place}]")
