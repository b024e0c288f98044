"""What is computed once from the contents, for the sentences, the page, the terminal and scores.json."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.tabular_report import scoring
from experiments.tabular_report.contents import Contents, check
from experiments.tabular_report.metrics import Metric, decide, family, one_hot, roc_auc
from experiments.tabular_report.scoring import Difference, Rows, Score

NAMES = {"out_of_fold": "cross-validation", "test": "test part"}
PER_CLASS = ("precision", "recall", "f1", "roc_auc")


class Against(NamedTuple):
    """The model compared with another: by cost (log-loss, squared error) and by mistakes (wrong, absolute error)."""

    cost: Difference
    mistakes: Difference


class Measured(NamedTuple):
    """The scores of all parts.

    contents   what was given
    metrics    the scores of this kind of target; the first leads
    parts      the rows of "out_of_fold" and of "test", those that there are; the first is the main one
    scores     part -> key -> who -> Score
    by_output  part -> (PER_CLASS, k) values and standard errors of the model, of each class or label, NaN if unknown
    quantities part -> for each quantity, key -> who -> Score; [] for other kinds and for a single quantity
    against    "linear" (if there is one) and "guessing" -> the comparison on the main part
    """

    contents: Contents
    metrics: tuple[Metric, ...]
    parts: dict[str, Rows]
    scores: dict[str, dict[str, dict[str, Score]]]
    by_output: dict[str, tuple[np.ndarray, np.ndarray]]
    quantities: dict[str, list[dict[str, dict[str, Score]]]]
    against: dict[str, Against]

    @property
    def main(self) -> Rows:
        return next(iter(self.parts.values()))

    @property
    def main_scores(self) -> dict[str, dict[str, Score]]:
        return next(iter(self.scores.values()))

    @property
    def outputs(self) -> Sequence[str]:
        """The names of the columns of the predictions."""
        return self.contents.classes if self.contents.kind == "classes" else self.contents.targets


def measure(contents: Contents) -> Measured:
    """Compute all scores.

    Raises:
      ValueError: if parts of the contents do not fit together; the message names the field.
    """
    check(contents)
    kind = contents.kind
    found = {name: scoring.rows(contents, name) for name in NAMES}
    parts = {name: part for name, part in found.items() if part is not None}
    main = next(iter(parts.values()))
    k = main.model.shape[1]
    several = {name: _each_quantity(part) for name, part in parts.items()} if kind == "quantities" and k > 1 else {}
    return Measured(
        contents,
        family(kind, k),
        parts,
        {name: scoring.scores(kind, part) for name, part in parts.items()},
        {} if kind == "quantities" else {name: by_output(kind, part) for name, part in parts.items()},
        several,
        {who: _against(contents, main, who) for who in main.who() if who != "model"},
    )


def by_output(kind: str, part: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return precision, recall, F1 and ROC AUC of each class or label, (4, k), and their standard errors.

    The ROC AUC has one only if it is a mean over folds: resampling it for each of many classes would take too long.
    """
    k = part.model.shape[1]
    truth_of: Callable[[np.ndarray], np.ndarray] = lambda y: one_hot(y, k) if kind == "classes" else y

    def value(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        from sklearn.metrics import precision_recall_fscore_support

        truth, decided = truth_of(y), one_hot(decide("classes", p), k) if kind == "classes" else p >= 0.5
        truth, decided = (np.pad(one, ((0, 0), (1, 0))).astype(int) for one in (truth, decided))  # one column alone
        options: dict[str, Any] = {"average": None, "zero_division": np.nan}  # is not "several labels" to scikit-learn
        found = precision_recall_fscore_support(truth, decided, **options)
        return np.stack([np.asarray(one, float)[1:] for one in found[:3]])

    whole = scoring.estimate(value, part.y, part.model, part.folds)
    auc = scoring.estimate(lambda y, p: roc_auc(truth_of(y), p)[None], part.y, part.model, part.folds, resample=False)
    values, errors = (np.concatenate(pair) for pair in zip(whole, auc, strict=True))
    return values, errors


def _each_quantity(part: Rows) -> list[dict[str, dict[str, Score]]]:
    def one(values: np.ndarray | None, c: int) -> np.ndarray | None:
        return None if values is None else values[:, c : c + 1]

    return [
        scoring.scores(
            "quantities",
            Rows(
                part.y[:, c : c + 1],
                part.model[:, c : c + 1],
                one(part.linear, c),
                part.guessing[:, c : c + 1],
                part.folds,
            ),
        )
        for c in range(part.model.shape[1])
    ]


def _against(contents: Contents, part: Rows, who: str) -> Against:
    other, kind = getattr(part, who), contents.kind
    return Against(
        *(
            scoring.compare(cost(kind, part.y, part.model), cost(kind, part.y, other), part.folds)
            for cost in (scoring.row_costs, scoring.row_mistakes)
        )
    )
