"""Parts of the page about the training: learning curves, the score over the number of rows, the search."""

import html
from collections.abc import Callable, Sequence

import numpy as np

from experiments.tabular_report import charts
from experiments.tabular_report.contents import Contents
from experiments.tabular_report.figure_parts import figure, section
from experiments.tabular_report.text import cell, clean, escape, number, percent, table

MOST_CANDIDATES = 3  # with a colour of their own


def learning(contents: Contents) -> str:
    """Return the learning curves: of the candidates, or of a single training; and the score over training rows."""
    panels = ""
    if contents.history is not None:
        panels += _history(contents)
    elif any(np.isfinite(cost) for one in contents.candidates if len(one.curve) > 1 for _, cost in one.curve):
        panels += _candidates(contents)
    if len(contents.by_rows) > 1:
        rows, score, error = (np.array(column, float) for column in zip(*sorted(contents.by_rows), strict=True))
        x = charts.whole_axis(rows, is_log=True)
        y = charts.whole_axis([*(score - error), *(score + error)])
        content = charts.whiskers(x, y, rows, score - error, score + error, "blue")
        content += charts.line(x, y, rows, score, "blue") + charts.dots(x, y, rows, score, "blue", 6)
        name = contents.importance_of or "score"
        drawn = charts.chart(
            x, y, "training rows", f"{name} ± standard error", content, "Score over the number of rows"
        )
        panels += figure("With fewer rows", drawn, "If it still rises at the right end, more rows would help.")
    return section("learning", "Learning curves", panels and f"<div class='panels'>{panels}</div>")


def _history(contents: Contents) -> str:
    history = {name: np.asarray(values, float) for name, values in (contents.history or {}).items()}
    panels = ""
    for name in [name for name in history if not name.startswith("validation_") and len(history[name])]:
        pairs = [("blue", "", "training", history[name])]
        if f"validation_{name}" in history:
            pairs.append(("orange", "dashed", "held-out rows", history[f"validation_{name}"]))
        values = np.concatenate([values for *_, values in pairs])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        is_log = bool(name.endswith("cost") and values.min() > 0)
        x, y = charts.axis(0, len(history[name])), charts.whole_axis(values, is_log=is_log)
        content = ""
        if contents.kept:
            content += charts.line(x, y, np.array([contents.kept] * 2), np.array([y.low, y.high]), "soft", "dashed")
        for colour, kind, _, one in pairs:
            content += charts.line(x, y, np.arange(1, len(one) + 1), one, colour, kind)
        caption = (
            f"The dashed vertical line: epoch {contents.kept}, whose parameters were kept." if contents.kept else ""
        )
        drawn = charts.chart(x, y, "epoch", name.replace("_", " "), content, f"{name} over the epochs")
        entries = charts.legend([(colour, kind, words) for colour, kind, words, _ in pairs])
        panels += figure(html.escape(name.replace("_", " ").capitalize()), drawn, caption, entries)
    return panels


def _candidates(contents: Contents) -> str:
    known = sorted((one for one in contents.candidates if len(one.curve) > 1), key=lambda one: one.share)
    steps = [step for one in known for step, _ in one.curve]
    costs = [cost for one in known for _, cost in one.curve if np.isfinite(cost)]
    best = [one for one in known if one.share > 0][-MOST_CANDIDATES:]
    x, y = charts.whole_axis(steps, is_log=True), charts.whole_axis(_without_extremes(costs), is_log=min(costs) > 0)
    content = "<g clip-path='url(#inside)'>"
    content += _clip()
    entries = [("soft", "thin faint", "other candidates")] if len(known) > len(best) else []
    for one in known:
        named = one in best
        colour = charts.COLOURS[len(best) - 1 - best.index(one)] if named else "soft"
        curve = np.array(one.curve, float)
        content += charts.line(x, y, curve[:, 0], curve[:, 1], colour, "" if named else "thin faint")
        if named:
            content += charts.dots(x, y, np.array([one.steps]), np.array([one.cost]), colour, 8)
    entries = [
        *((charts.COLOURS[i], "", f"{one.name} ({percent(one.share)})") for i, one in enumerate(reversed(best))),
        *entries,
    ]
    drawn = charts.chart(
        x, y, "steps", "cost on held-out rows", f"{content}</g>", "Cost of the candidates over the steps"
    )
    caption = "Dots: the steps that were chosen. In brackets: the share in the ensemble."
    return figure("Candidates of the search", drawn, caption, charts.legend(entries))


def _without_extremes(costs: Sequence[float]) -> list[float]:
    """Leave out costs far above the others, such as those of a training that diverged."""
    most = 10 * float(np.median(costs)) if np.median(costs) > 0 else np.inf
    return [cost for cost in costs if cost <= most]


def _clip() -> str:
    size = f"width='{charts.WIDTH - charts.LEFT - charts.RIGHT}' height='{charts.HEIGHT - charts.TOP - charts.BOTTOM}'"
    return f"<clipPath id='inside'><rect x='{charts.LEFT}' y='{charts.TOP}' {size}/></clipPath>"


def search(contents: Contents) -> str:
    """Return the table of what was searched, and why it chose."""
    if not contents.candidates:
        return ""
    key: Callable[..., tuple[float, float]] = lambda one: (-one.share, one.cost)
    rows = [
        (
            cell(one.name),
            number(one.cost, 4) if np.isfinite(one.cost) else "diverged",
            f"{one.steps:,}",
            charts.bar(one.share, 1.0, percent(one.share)) if one.share else "",
        )
        for one in sorted(contents.candidates, key=key)
    ]
    why = f"<p>{escape(clean(contents.why))}</p>" if contents.why else ""
    shown = table(
        ("candidate", "cost on held-out rows", "steps", "share in the ensemble"), rows, "search blocks", right=(1, 2)
    )
    return section("search", "What was searched", why + shown)
