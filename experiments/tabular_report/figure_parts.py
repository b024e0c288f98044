"""Parts of the page with charts: probabilities, quantities, importance of columns."""

import html

import numpy as np

from experiments.tabular_report import charts
from experiments.tabular_report.conclusions import answers
from experiments.tabular_report.contents import Contents
from experiments.tabular_report.measured import Measured
from experiments.tabular_report.metrics import decide
from experiments.tabular_report.text import cell, clean, number, percent, percents, table

MOST_TARGETS, MOST_FEATURES = 4, 30


def figure(title: str, content: str, caption: str = "", legend: str = "") -> str:
    """Return a figure; `title` is HTML."""
    words = f"<p class='soft'>{html.escape(caption)}</p>" if caption else ""
    return f"<figure class='panel'><h3>{title}</h3>{legend}{content}{words}</figure>"


def section(name: str, title: str, content: str) -> str:
    return f"<section id='{name}'><h2>{title}</h2>{content}</section>" if content else ""


def probabilities(measured: Measured) -> str:
    """Return the reliability curve of the model and of the linear model, and how sure it is."""
    kind, main = measured.contents.kind, measured.main
    if kind == "quantities":
        return ""
    stated, right = answers(measured)
    x = y = charts.axis(0, 1)
    content = charts.line(x, y, np.array([0, 1]), np.array([0, 1]), "soft", "dashed")
    entries = [("soft", "dashed", "as often right as claimed")]
    shown = [("model", "blue", "this model"), ("linear", "orange", "linear model")]
    drawn = 0
    for who, colour, name in shown if len(main.y) >= 20 else ():
        p = getattr(main, who)
        if p is None:
            continue
        claimed, true, error = reliability(*_chances(kind, main.y, p))
        if who == "model":
            low, high = np.clip(true - 1.96 * error, 0, 1), np.clip(true + 1.96 * error, 0, 1)
            content += charts.whiskers(x, y, claimed, low, high, colour)
        content += charts.line(x, y, claimed, true, colour, "" if who == "model" else "thin")
        content += charts.dots(x, y, claimed, true, colour, 6 if who == "model" else 4)
        entries.append((colour, "" if who == "model" else "thin", name))
        drawn += 1
    if not drawn:
        return section("probabilities", "Can the probabilities be believed?", "<p>Too few rows to say.</p>")
    first = charts.chart(
        x,
        y,
        _claimed(measured),
        "share that is right",
        content,
        "Reliability curve: claimed probability and share",
    )
    caption = "Groups of equally many answers. Above the dashed line the model is too timid, below too confident."
    panels = figure("Reliability", first, caption, charts.legend(entries))
    return section(
        "probabilities",
        "Can the probabilities be believed?",
        f"<div class='panels'>{panels}{_sure(stated, right)}</div>",
    )


def _claimed(measured: Measured) -> str:
    """Return what the claimed probabilities are about."""
    contents = measured.contents
    if contents.kind == "classes" and len(contents.classes) == 2:
        return f"claimed probability of {clean(contents.classes[1])}"
    return "claimed probability of a label" if contents.kind == "labels" else "claimed probability of the answer"


def _chances(kind: str, y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and whether what they are about is true: of the second class, of labels, of the answer."""
    if kind == "labels":
        return p.ravel(), y.ravel() == 1
    if p.shape[1] == 2:
        return p[:, 1], y == 1
    return p.max(axis=1), decide("classes", p) == y


def reliability(claimed: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for up to 10 groups of equally many rows, the claimed probability, the share and its standard error."""
    from sklearn.calibration import calibration_curve

    groups = int(np.clip(len(claimed) // 20, 2, 10))
    share, mean = calibration_curve(right, np.clip(claimed, 0, 1), n_bins=groups, strategy="quantile")
    error = np.sqrt(np.maximum(share * (1 - share), 0.25 / len(claimed)) / (len(claimed) / groups))
    return mean, share, error


def _sure(stated: np.ndarray, right: np.ndarray) -> str:
    """Return how many answers are claimed with which probability, and how many of them are right."""
    edges = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0 + 1e-9])
    group = np.digitize(stated, edges[1:-1], right=False)
    rows = []
    for i in range(len(edges) - 1):
        inside = group == i
        if inside.any():
            claimed = percents(edges[i], min(edges[i + 1], 1.0)) if i else "below 50 %"
            share = float(inside.mean())
            bar = charts.bar(share, 1.0, f"{percent(share)} ({int(inside.sum()):,})")
            rows.append((claimed, bar, percent(float(right[inside].mean()))))
    return figure("How sure is it?", table(("claimed", "answers", "right"), rows, "sure", right=(2,)))


def quantities(measured: Measured) -> str:
    """Return predicted against true values, and the residuals."""
    if measured.contents.kind != "quantities":
        return ""
    main, names = measured.main, measured.contents.targets
    panels = ""
    for c, name in enumerate(names[:MOST_TARGETS]):
        y, p = main.y[:, c], main.model[:, c]
        both = charts.whole_axis([*_ends(y), *_ends(p)])
        ends = np.array([both.low, both.high])
        content = charts.line(both, both, ends, ends, "soft", "dashed") + charts.dots(both, both, y, p, "blue")
        head = f"<bdi>{html.escape(clean(name))}</bdi>"
        drawn = charts.chart(
            both, both, "true value", "predicted value", content, f"{name}: predicted over true values"
        )
        panels += figure(f"{head}: predicted and true", drawn, "On the dashed line the prediction is right.")
        x, rest = charts.whole_axis(_ends(p)), charts.whole_axis([*_ends(y - p), 0.0])
        zero = charts.line(x, rest, np.array([x.low, x.high]), np.zeros(2), "soft", "dashed")
        content = zero + charts.dots(x, rest, p, y - p, "orange")
        drawn = charts.chart(
            x, rest, "predicted value", "true - predicted", content, f"{name}: residuals over predictions"
        )
        panels += figure(f"{head}: residuals", drawn, "A pattern means that something was not learnt.")
    few = f" The first {MOST_TARGETS} of {len(names):,} quantities." if len(names) > MOST_TARGETS else ""
    n = len(main.y)
    few += f" {charts.MOST_POINTS:,} of {n:,} rows, evenly spaced, are drawn." if n > charts.MOST_POINTS else ""
    return section(
        "errors", "Predictions and errors", f"{f'<p>{few}</p>' if few else ''}<div class='panels'>{panels}</div>"
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def importance(contents: Contents) -> str:
    """Return the permutation importances as bars, the largest first, with the interval over the repeats."""
    if contents.importances is None or not len(contents.features):
        return ""
    mean = contents.importances.mean(axis=1)
    repeats = contents.importances.shape[1]
    error = contents.importances.std(axis=1, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.zeros(len(mean))
    order = np.argsort(-mean, kind="stable")
    largest = float(max((mean + 2 * error).max(), 1e-12))
    rows = [
        (
            cell(contents.features[i]),
            charts.bar(
                float(mean[i]), largest, number(float(mean[i]), 2), (mean[i] - 2 * error[i], mean[i] + 2 * error[i])
            ),
        )
        for i in order
    ]
    what = html.escape(contents.importance_of or "score")
    head = ("column", f"decrease of the {what}")
    text = (
        f"<p>How much the {what} falls if the values of one column are shuffled among the rows"
        + (f" (mean of {repeats} shuffles, ± 2 standard errors)" if repeats > 1 else "")
        + ". Columns that say the same as another one share their importance.</p>"
    )
    shown = table(head, rows[:MOST_FEATURES], "importance")
    if len(rows) > MOST_FEATURES:
        rest = table(head, rows[MOST_FEATURES:], "importance")
        shown += f"<details><summary>{len(rows) - MOST_FEATURES:,} more</summary>{rest}</details>"
    return section("importance", "Which columns matter", text + shown)
