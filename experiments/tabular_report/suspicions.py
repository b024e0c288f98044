"""More rules like those of words.py: what looks too good, single rows that matter, and what could be improved."""

from collections.abc import Sequence

import numpy as np

from experiments.tabular_report.scoring import Score
from experiments.tabular_report.text import listed, percent, shown
from experiments.tabular_report.words import Remark


def leak(score: float, guessing: float, features: Sequence[str], importances: np.ndarray | None) -> Remark | None:
    """Suspect that a column holds the answer: a nearly perfect score that guessing is far from.

    Args:
      score: accuracy or R²; 0.995 and more is nearly perfect.
      guessing: the same of guessing.
      features: names of the columns.
      importances: (features, repeats) decrease of that score. A column is suspected by name if permuting it loses more
        than half of what the model has over guessing.
    """
    if score < 0.995 or score - guessing < 0.05:
        return None
    text = "The score is nearly perfect."
    if importances is not None and len(features):
        loss = importances.mean(axis=1)
        names = [features[i] for i in np.argsort(-loss) if loss[i] > 0.5 * (score - guessing)]
        if len(names) == 1 and len(features) > 1:
            text += f" {shown(names[0])} alone carries most of it: is it known before the answer is?"
            return Remark("note", f"{text} If not, leave it out with --ignore.")
    return Remark("note", f"{text} Check that no column holds the answer in another form (--ignore leaves it out).")


def measurable(importances: np.ndarray) -> np.ndarray:
    """Return which columns make a measurable difference: their mean is more than 2 standard errors above 0."""
    mean, repeats = importances.mean(axis=1), importances.shape[1]
    if repeats < 2:
        return mean > 0
    return mean > 2 * importances.std(axis=1, ddof=1) / np.sqrt(repeats)


def useless(features: Sequence[str], importances: np.ndarray | None) -> Remark | None:
    """Name the columns whose permutation makes no measurable difference."""
    if importances is None or importances.shape[1] < 2:
        return None
    names = [name for name, some in zip(features, measurable(importances), strict=True) if not some]
    if not names:
        return None
    if len(names) == len(features):
        return Remark("bad", "Permuting any single column makes no measurable difference to the score.")
    makes = "makes" if len(names) == 1 else "make"
    return Remark("note", f"{listed(names)} {makes} no measurable difference to the score.")


def outliers(y: np.ndarray, p: np.ndarray, name: str) -> Remark | None:
    """Say so if 1 % of the rows (at least one) make more than a third of the squared error; y and p are (n,).

    Of normally distributed errors they make 7 to 9 %. Fewer than 30 rows say nothing.
    """
    squares = np.sort((p - y) ** 2)[::-1]
    few = max(len(y) // 100, 1)
    whole = squares.sum()
    if len(y) < 30 or whole == 0 or squares[:few].sum() <= whole / 3:
        return None
    rows = "One row makes" if few == 1 else f"{few:,} of {len(y):,} rows make"
    share = percent(squares[:few].sum() / whole)
    return Remark(
        "note", f"{shown(name)}: {rows} {share} of the squared error. Look at them: errors in the data, or rare cases?"
    )


def spread(y: np.ndarray, p: np.ndarray, name: str) -> Remark | None:
    """Say so if the line of least squares of y over p (n,) has a slope that is not 1.

    It must differ from 1 by more than 0.15 and by more than 3 standard errors.
    """
    if len(y) < 10 or np.ptp(p) <= 1e-12 * max(np.abs(p).max(), 1e-300):
        return None
    centred = p - p.mean()
    squares = float(centred @ centred)
    slope = float(centred @ (y - y.mean())) / squares
    rest = y - y.mean() - slope * centred
    error = float(np.sqrt((rest @ rest) / (len(y) - 2) / squares))
    if abs(slope - 1) <= max(0.15, 3 * error):
        return None
    if slope < 1:
        text = "its predictions differ too much: high ones are too high, low ones too low"
    else:
        text = "its predictions differ too little: high ones are too low, low ones too high"
    return Remark("note", f"{shown(name)}: {text} (slope {slope:.2f} instead of 1).")


def more_rows(by_rows: Sequence[tuple[int, float, float]]) -> Remark | None:
    """Say whether the score still rises with the number of training rows: by more than 2 standard errors."""
    if len(by_rows) < 2:
        return None
    (fewer, low, low_error), (most, high, high_error) = sorted(by_rows)[-2:]
    if high - low <= max(2 * float(np.hypot(low_error, high_error)), 0.005):
        return None
    return Remark("note", f"The score still rises from {fewer:,} to {most:,} training rows: more rows should help.")


def unlike_test(folds: Score, test: Score, name: str, rises: bool) -> Remark | None:
    """Say so if the test part is scored worse than cross-validation by more than 3 standard errors."""
    if folds.value is None or folds.error is None or test.value is None or test.error is None:
        return None
    worse = (folds.value - test.value) * (1 if rises else -1)
    if worse <= 3 * float(np.hypot(folds.error, test.error)) or worse < 1e-6:
        return None
    return Remark(
        "bad",
        f"The test part has a worse {name} than cross-validation, by more than chance explains: "
        "do its rows differ from the others?",
    )
