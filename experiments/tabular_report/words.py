"""The conclusions of a report: each rule is a function of what was measured that returns a sentence, or None.

A remark's tone is "good", "bad" or "note". Names in its text are isolated; see text.py.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from experiments.tabular_report.contents import Candidate
from experiments.tabular_report.scoring import Difference, Score
from experiments.tabular_report.text import listed, number, percent, shown
from experiments.wording import counted

CHANCE = 0.025  # below it a difference is not taken for chance; of the two tests of each comparison one passes in 5 %


class Remark(NamedTuple):
    tone: Literal["good", "bad", "note"]
    text: str


def interval(score: Score, folds: int | None, rows: int = 0) -> tuple[float, float] | None:
    """Return the 95 % interval of a score: Student's t with `folds` - 1 degrees of freedom, else the normal's.

    With `rows`, the score is a share of so many rows: the interval lies in [0, 1] and is never narrower than
    Wilson's, which also holds when all folds agree.
    """
    from scipy import stats

    if score.value is None or score.error is None:
        return None
    width = score.error * float(stats.t.ppf(0.975, folds - 1) if folds else stats.norm.ppf(0.975))
    low, high = score.value - width, score.value + width
    if rows:
        successes = min(max(round(score.value * rows), 0), rows)
        wilson = stats.binomtest(successes, rows).proportion_ci(method="wilson")
        low, high = max(0.0, min(low, wilson.low)), min(1.0, max(high, wilson.high))
    return float(low), float(high)


def against_guessing(cost: Difference, mistakes: Difference, always: str, kind: str) -> Remark:
    """Say whether the model is better than guessing; `always` says what guessing answers."""
    if mistakes.p < CHANCE and cost.p > 1 - CHANCE:
        if kind == "quantities":
            return Remark("note", f"Mostly nearer than guessing ({always}), but a few errors are far larger.")
        text = f"More often right than guessing ({always}), but its probabilities are worse than those of guessing."
        return Remark("bad", text)
    if mistakes.p < CHANCE:
        return Remark("good", f"Better than guessing ({always}), by more than chance explains.")
    if cost.p < CHANCE:
        what = "its probabilities carry information" if kind != "quantities" else "its squared error is smaller"
        how = "It names the right answer no more often" if kind != "quantities" else "Its typical error is no smaller"
        return Remark("note", f"{how} than guessing ({always}), but {what}.")
    if mistakes.p > 1 - CHANCE:
        return Remark("bad", f"Worse than guessing ({always}). Nothing that helps was learnt from these columns.")
    return Remark("bad", f"No better than guessing ({always}): what difference there is, chance explains.")


def against_linear(cost: Difference, mistakes: Difference, by_cost: str, by_mistakes: str) -> Remark:
    """Say whether the model is better than the linear model.

    Args:
      cost, mistakes: the two comparisons.
      by_cost: the scores of both models that the first is about, for example "log-loss 0.41 against 0.45".
      by_mistakes: the scores that the second is about, for example "accuracy 0.90 against 0.85".
    """
    better, worse = cost.p < CHANCE or mistakes.p < CHANCE, cost.p > 1 - CHANCE or mistakes.p > 1 - CHANCE
    scores = by_mistakes if mistakes.p < CHANCE or mistakes.p > 1 - CHANCE else by_cost
    if better and not worse:
        return Remark("good", f"Better than a linear model ({scores}), by more than chance explains.")
    if worse and not better:
        text = f"Worse than a linear model ({scores}), by more than chance explains: prefer --model linear."
        return Remark("bad", text)
    scores = by_mistakes if by_mistakes == by_cost else f"{by_mistakes}; {by_cost}"
    text = f"No better than a linear model, beyond what chance explains ({scores})"
    return Remark("note", f"{text}. A linear model is simpler and easier to explain: consider --model linear.")


def still_improving(history: Mapping[str, np.ndarray] | None, candidates: Sequence[Candidate]) -> Remark | None:
    """Say so if the cost on held-out rows still fell by more than 1 % when the training ended.

    Of a single training, the last tenth of the epochs is compared with the tenth before it. Of a search, candidates
    with most of the ensemble must have been best at the last step.
    """
    if history is not None and "validation_cost" in history:
        cost = np.asarray(history["validation_cost"], float)
        tenth = max(len(cost) // 10, 1)
        if len(cost) < 4 or int(cost.argmin()) < len(cost) - tenth:
            return None
        if cost[-tenth:].mean() < 0.99 * cost[-2 * tenth : -tenth].mean():
            return Remark("note", "Still improving when the training ended: more epochs (--epochs) should help.")
        return None
    share = 0.0
    for one in candidates:
        if len(one.curve) > 1:
            (_, before), (last, end) = one.curve[-2:]
            share += one.share * (one.steps >= last and end < 0.99 * before)
    return (
        Remark(
            "note",
            "Still improving at the last step of the search: more steps should help "
            "(--no-search --epochs 1000 trains one network, for longer).",
        )
        if share > 0.5
        else None
    )


def learnt_by_heart(history: Mapping[str, np.ndarray] | None, kept: int | None) -> Remark | None:
    """Say so if the cost on held-out rows rose by more than 10 % after the kept epoch while the training's fell."""
    if history is None or kept is None or "validation_cost" not in history or "cost" not in history:
        return None
    held_out, training = (np.asarray(history[name], float) for name in ("validation_cost", "cost"))
    end = max(len(held_out) // 10, 1)
    rose = held_out[-end:].mean() > 1.1 * held_out[kept - 1]
    if kept < len(held_out) and rose and training[-end:].mean() < training[kept - 1]:
        return Remark(
            "note",
            f"After epoch {kept} the network learnt the training rows by heart: its cost on other rows rose. "
            f"The parameters of epoch {kept} were kept.",
        )
    return None


def mistaken(confusion: np.ndarray, names: Sequence[str], most: int = 3) -> list[Remark]:
    """Name classes that are mostly mistaken for one other, the largest first.

    At least 5 rows and a quarter of the class must be misread, more than half of them as the same other class: by more
    than 2 standard deviations of a fair coin. Of two classes there is only one other, so that nothing is said.
    """
    if len(names) < 3:
        return []
    found = []
    for c, row in enumerate(confusion):
        wrong = np.where(np.arange(len(row)) == c, 0, row)
        other = int(wrong.argmax())
        if wrong.sum() >= max(5, 0.25 * row.sum()) and wrong[other] > 0.5 * wrong.sum() + np.sqrt(wrong.sum()):
            found.append((int(wrong[other]), c, other))
    return [
        Remark(
            "note",
            f"{shown(names[c])} is mostly mistaken for {shown(names[other])}: "
            f"{count:,} of its {int(confusion[c].sum()):,} rows.",
        )
        for count, c, other in sorted(found, key=lambda one: -one[0])[:most]
    ]


def confidence(stated: float, right: float, error: float) -> Remark | None:
    """Say so if probabilities are too confident, or too timid: by more than 0.03 and more than chance explains.

    Args:
      stated: mean probability of the answers that were given.
      right: share of them that is right.
      error: standard error of stated - right.
    """
    if abs(stated - right) <= max(0.03, 2 * error):
        return None
    how = "too confident" if stated > right else "too timid"
    text = f"Its probabilities are {how}: on average it claims {percent(stated)} and is right in {percent(right)}."
    return Remark("note", text)


def few_rows(rows: int, low_high: tuple[float, float] | None, name: str) -> Remark | None:
    """Say so if the 95 % interval of the leading score is wider than 0.2."""
    if low_high is None or low_high[1] - low_high[0] <= 0.2:
        return None
    few = "Few rows" if rows < 500 else "Folds that differ much"
    ends = f"{number(low_high[0], 2)} to {number(low_high[1], 2)}"
    return Remark("note", f"{few}: the 95 % interval of the {name} is wide, {ends} ({counted(rows, 'row')}).")


def rare(counts: np.ndarray, names: Sequence[str], least: int = 10) -> Remark | None:
    """Name the classes with fewer than `least` rows."""
    found = [names[c] for c in np.argsort(counts, kind="stable") if counts[c] < least]
    if not found:
        return None
    one = len(found) == 1
    text = f"{listed(found)} {'has' if one else 'have'} fewer than {least} rows"
    return Remark("note", f"{text}: what is said of {'it' if one else 'them'} is uncertain.")
