"""Apply the rules of words.py and suspicions.py to what was measured: the sentences at the top of a report."""

import numpy as np

from experiments.tabular_report import suspicions, words
from experiments.tabular_report.measured import Measured
from experiments.tabular_report.metrics import decide
from experiments.tabular_report.scoring import Score
from experiments.tabular_report.text import clean, listed, number, percent, plain, shown
from experiments.tabular_report.words import Remark


def conclusions(measured: Measured) -> list[Remark]:
    """Return the remarks, the important ones first; the first says how good the model is."""
    contents, main = measured.contents, measured.main
    guessing = measured.against["guessing"]
    beside = words.against_guessing(guessing.cost, guessing.mistakes, always(measured), contents.kind)
    found: list[Remark | None] = [headline(measured), beside]
    used = [one for one in contents.candidates if one.share > 0]
    is_linear = bool(used) and all(one.linear for one in used)
    if "linear" in measured.against and not is_linear and beside.tone != "bad":
        linear = measured.against["linear"]
        found.append(words.against_linear(linear.cost, linear.mistakes, *_beside_linear(measured)))
    leading, guessed = (measured.main_scores[measured.metrics[0].key][who] for who in ("model", "guessing"))
    if leading.value is not None and guessed.value is not None:
        found.append(suspicions.leak(leading.value, guessed.value, contents.features, contents.importances))
    found.append(words.few_rows(len(main.y), leading_interval(measured), measured.metrics[0].name))
    if len(measured.scores) > 1:
        metric = measured.metrics[0]
        folds, test = (measured.scores[name][metric.key]["model"] for name in ("out_of_fold", "test"))
        found.append(suspicions.unlike_test(folds, test, metric.name, metric.rises))
    if contents.kind == "quantities":
        found += for_quantities(measured)
    else:
        found += for_probabilities(measured, knows=beside.tone != "bad")
    found += [
        words.still_improving(contents.history, contents.candidates),
        words.learnt_by_heart(contents.history, contents.kept),
        suspicions.more_rows(contents.by_rows),
        suspicions.useless(contents.features, contents.importances),
    ]
    return [remark for remark in found if remark is not None]


def _beside_linear(measured: Measured) -> tuple[str, str]:
    """Return the scores of the model and of the linear model that belong to their costs and to their mistakes."""
    keys = ("r2", "mae") if measured.contents.kind == "quantities" else ("log_loss", "accuracy")
    found = {}
    for metric in measured.metrics:
        scores = (Score(measured.main_scores[metric.key][who].value) for who in ("model", "linear"))
        found[metric.key] = f"{metric.name} {' against '.join(plain(score, metric.fixed) for score in scores)}"
    by_cost = found[keys[0]]
    return by_cost, found.get(keys[1], by_cost)  # several quantities have no common error


def n_folds(measured: Measured) -> int | None:
    folds = measured.main.folds
    return None if folds is None else len(np.unique(folds))


def leading_interval(measured: Measured) -> tuple[float, float] | None:
    """Return the 95 % interval of the leading score on the main part."""
    leading = measured.main_scores[measured.metrics[0].key]["model"]
    rows = len(measured.main.y) if measured.contents.kind == "classes" else 0
    ends = words.interval(leading, n_folds(measured), rows)
    return None if ends is None else (ends[0], min(ends[1], 1.0))  # no leading score exceeds 1


def headline(measured: Measured) -> Remark:
    """Say how good the model is, in the score that leads."""
    contents = measured.contents
    score: Score = measured.main_scores[measured.metrics[0].key]["model"]
    seen = "rows that its training did not see"
    if score.value is None:
        return Remark("note", f"There are too few {seen} to say how good it is.")
    ends = leading_interval(measured)
    if contents.kind == "quantities":
        text = f"On {seen}, it explains {percent(max(score.value, 0))} of the variance of {listed(contents.targets)}"
        within = (
            "" if ends is None else f" (R² {number(score.value)}, 95 % interval {number(ends[0])} to {number(ends[1])})"
        )
        if len(contents.targets) == 1:
            error = measured.main_scores["median_error"]["model"]
            within += f"; half of its errors are smaller than {plain(Score(error.value), fixed=False)}"
        return Remark("note", f"{text}{within}.")
    what = "names the right class of" if contents.kind == "classes" else "gets"
    whose = f"{shown(contents.targets[0])} in" if contents.kind == "classes" else ""
    unit = "of the rows" if contents.kind == "classes" else "of the labels right"
    within = "" if ends is None else f" (95 % interval: {percent(max(ends[0], 0))} to {percent(min(ends[1], 1))})"
    return Remark("note", " ".join(f"On {seen}, it {what} {whose} {percent(score.value)} {unit}{within}.".split()))


def always(measured: Measured) -> str:
    """Say what guessing answers."""
    contents, guessing = measured.contents, measured.main.guessing
    if contents.kind == "classes":
        return f"always {shown(contents.classes[int(guessing.mean(axis=0).argmax())])}"
    return "always the mean" if contents.kind == "quantities" else "always the more frequent value of each label"


def confusion(measured: Measured) -> np.ndarray:
    """Return the confusion matrix of the main part, true classes as rows."""
    from sklearn.metrics import confusion_matrix

    main = measured.main
    return confusion_matrix(main.y, decide("classes", main.model), labels=np.arange(main.model.shape[1]))


def answers(measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability that was claimed for each answer, and whether it was right."""
    kind, main = measured.contents.kind, measured.main
    if kind == "classes":
        return main.model.max(axis=1), decide(kind, main.model) == main.y
    return np.maximum(main.model, 1 - main.model).ravel(), (decide(kind, main.model) == main.y).ravel()


def for_probabilities(measured: Measured, knows: bool) -> list[Remark | None]:
    """Return remarks on probabilities and classes; on what is mistaken for what only if the model `knows` anything."""
    contents, main = measured.contents, measured.main
    stated, right = answers(measured)
    gap = stated - right
    error = float(gap.std() / np.sqrt(len(gap)))
    found: list[Remark | None] = [words.confidence(float(stated.mean()), float(right.mean()), error)]
    if contents.kind == "classes":
        found += words.mistaken(confusion(measured), contents.classes) if knows else []
        found.append(words.rare(np.bincount(main.y, minlength=len(contents.classes)), contents.classes))
    else:
        less_frequent = np.minimum(main.y.sum(axis=0), len(main.y) - main.y.sum(axis=0))
        found.append(words.rare(less_frequent, [f"one value of {clean(name)}" for name in contents.targets]))
    return found


def for_quantities(measured: Measured) -> list[Remark | None]:
    main, found = measured.main, []
    for c, name in enumerate(measured.contents.targets[:10]):
        scale = max(np.abs(main.y[:, c]).max(), np.abs(main.model[:, c]).max()) or 1.0  # squares must not overflow
        found += [
            rule(main.y[:, c] / scale, main.model[:, c] / scale, name)
            for rule in (suspicions.spread, suspicions.outliers)
        ]
    return found
