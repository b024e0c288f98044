"""Parts of the page: the headline numbers, the conclusions, the scores, the classes and their confusion."""

import html
from collections.abc import Sequence

import numpy as np

from experiments.tabular_report import charts, words
from experiments.tabular_report.conclusions import confusion, leading_interval, n_folds
from experiments.tabular_report.measured import NAMES, Measured
from experiments.tabular_report.scoring import FEWEST, Score
from experiments.tabular_report.text import cell, clean, escape, number, percent, percents, plain, table
from experiments.tabular_report.words import Remark
from experiments.wording import counted

MARKS = {"good": ("✓", "good"), "bad": ("✗", "bad"), "note": ("!", "open")}
SMALL, MEDIUM = 12, 30  # classes whose confusion matrix is a table with counts; of more, it is a picture
HEADS = {"model": "this model", "linear": "linear model", "guessing": "guessing"}


def tiles(measured: Measured) -> str:
    """Return the headline numbers: the leading scores, the rows, the kind of target."""
    shown = {"classes": ("accuracy", "roc_auc"), "labels": ("accuracy", "f1"), "quantities": ("r2", "median_error")}
    numbers = []
    for metric in measured.metrics:
        if metric.key in shown[measured.contents.kind]:
            found = measured.main_scores[metric.key]["model"]
            share = metric.key in ("accuracy",) and found.value is not None
            value = (
                percent(found.value) if share and found.value is not None else plain(Score(found.value), metric.fixed)
            )
            numbers.append((value, metric.name))
    ends = leading_interval(measured)
    if ends is not None:
        low, high = (max(ends[0], 0), min(ends[1], 1)) if measured.contents.kind != "quantities" else ends
        text = (
            f"{number(low, 2)} – {number(high, 2)}" if measured.contents.kind == "quantities" else percents(low, high)
        )
        numbers.insert(1, (text, "95 % interval of it"))
    numbers.append((f"{len(measured.main.y):,}", "rows measured on"))
    if measured.contents.kind == "classes":
        numbers.append((f"{len(measured.contents.classes):,}", "classes"))
    elif len(measured.contents.targets) > 1:
        numbers.append((f"{len(measured.contents.targets):,}", measured.contents.kind))
    return "".join(f"<li><b>{html.escape(value)}</b> {html.escape(what)}</li>" for value, what in numbers)


def remarks(found: Sequence[Remark]) -> str:
    """Return the conclusions: the first as a paragraph, the others as a list with marks."""
    items = "".join(
        f"<li><span class='mark {MARKS[one.tone][1]}' aria-hidden='true'>{MARKS[one.tone][0]}</span>"
        f"<span>{escape(one.text)}</span></li>"
        for one in found[1:]
    )
    return f"<p class='lead'>{escape(found[0].text)}</p><ul class='remarks'>{items}</ul>"


def scores(measured: Measured) -> str:
    """Return a table of the scores for each part of the data."""
    found = []
    for name, part in measured.parts.items():
        who = [one for one in HEADS if one in measured.main.who() and getattr(part, one, None) is not None]
        rows = []
        for metric in measured.metrics:
            row = measured.scores[name][metric.key]
            arrow = (
                "<span class='soft'>higher is better</span>"
                if metric.rises
                else "<span class='soft'>lower is better</span>"
            )
            title = f"<b>{html.escape(metric.name)}</b> {arrow}<p class='soft'>{html.escape(metric.meaning)}</p>"
            best = _best(row, metric.rises)
            values = ((plain(row[one], metric.fixed), one == best) for one in who)
            values = (f"<b>{value}</b>" if is_best else value for value, is_best in values)
            rows.append((title, *values))
        heads = ["score", *(HEADS[one] for one in who)]
        how = (
            "cross-validation" if part.folds is not None else "held-out rows" if name == "out_of_fold" else NAMES[name]
        )
        caption = f"<h3>{how[0].upper()}{how[1:]}: {counted(len(part.y), 'row')}</h3>"
        whole = table(heads, rows, "scores blocks", right=range(1, len(heads)))
        found.append(f"{caption}{whole}<p class='soft'>{_how(measured, name)}</p>")
    return "".join(found)


def _best(row: dict[str, Score], rises: bool) -> str | None:
    known = {who: found.value for who, found in row.items() if found.value is not None}
    if len(known) < 2:
        return None
    best = (max if rises else min)(known.values())
    winners = [who for who, value in known.items() if value == best]
    return winners[0] if len(winners) == 1 else None


def _how(measured: Measured, name: str) -> str:
    """Say how the scores of a part and their standard errors were computed."""
    part = measured.parts[name]
    if part.folds is None:
        rows = "took no part in the training" if name == "test" else "no network was trained on"
        return f"Rows that {rows}. ± standard error from bootstrap samples of the rows."
    text = "Each row is predicted by networks that were trained without its fold."
    sizes = np.unique(part.folds, return_counts=True)[1]
    if sizes.min() < FEWEST:
        return f"{text} The folds are small: scores are over all rows, ± standard error from bootstrap samples of them."
    error = "the standard error accounts for the training rows that the folds share (Nadeau and Bengio 2003)"
    return f"{text} Mean of {len(sizes)} folds ± standard error; {error}."


def by_output(measured: Measured) -> str:
    """Return precision, recall, F1 and ROC AUC of each class or label; of each quantity its scores."""
    contents, main = measured.contents, measured.main
    if contents.kind == "quantities":
        return _by_quantity(measured)
    values, errors = next(iter(measured.by_output.values()))
    kind = contents.kind
    counts = np.bincount(main.y, minlength=values.shape[1]) if kind == "classes" else main.y.sum(axis=0)
    rows = []
    for c, name in enumerate(measured.outputs):
        found = [Score(*(float(v[i, c]) if np.isfinite(v[i, c]) else None for v in (values, errors))) for i in range(4)]
        f1 = found[2]
        ends = words.interval(f1, n_folds(measured))
        bar = charts.bar(f1.value or 0.0, 1.0, plain(f1), ends) if f1.value is not None else "–"
        rows.append((cell(name), bar, plain(found[0]), plain(found[1]), plain(found[3]), f"{int(counts[c]):,}"))
    head = (("class" if kind == "classes" else "label"), "F1", "precision", "recall", "ROC AUC", "rows")
    whole = table(head, rows, "outputs blocks", right=range(2, 6))
    if len(rows) <= MEDIUM:
        return whole
    order = np.argsort(np.nan_to_num(values[2], nan=-1), kind="stable")
    worst = table(head, [rows[c] for c in order[:10]], "outputs blocks", right=range(2, 6))
    return f"<h3>The 10 with the lowest F1</h3>{worst}<details><summary>All {len(rows):,}</summary>{whole}</details>"


def _by_quantity(measured: Measured) -> str:
    if not measured.quantities:
        return ""
    from experiments.tabular_report.metrics import family

    metrics = family("quantities", 1)
    rows = []
    for name, found in zip(measured.outputs, next(iter(measured.quantities.values())), strict=True):
        r2 = found["r2"]
        ends = words.interval(r2["model"], n_folds(measured))
        bar = charts.bar(r2["model"].value or 0.0, 1.0, plain(r2["model"]), ends)
        linear = plain(r2["linear"]) if "linear" in r2 else "–"
        rows.append(
            (cell(name), bar, linear, *(plain(found[metric.key]["model"], fixed=False) for metric in metrics[1:]))
        )
    head = ("quantity", "R²", "R² of the linear model", *(metric.name for metric in metrics[1:]))
    return table(head, rows, "outputs blocks", right=range(2, 6))


def confusions(measured: Measured) -> str:
    """Return the confusion matrix: a table, or for many classes a picture, with the most frequent mistakes."""
    if measured.contents.kind != "classes":
        return ""
    names, counts = measured.contents.classes, confusion(measured)
    k, wrong = len(names), counts * (1 - np.eye(len(names), dtype=int))
    pairs = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda pair: -wrong[pair])
    right = int(np.trace(counts))
    text = f"<p>{right:,} of {int(counts.sum()):,} rows are right. Rows of the table are the true classes."
    text += " Columns are the predicted ones, by the number before their name.</p>" if k <= MEDIUM else "</p>"
    if k <= MEDIUM:
        shown = _matrix(names, counts, small=k <= SMALL)
    else:
        shown = f"<div class='picture'>{charts.heat(counts)}</div>"
        text = text.replace("the table", "the picture")
    listed = table(
        ("true class", "predicted", "rows", "of the class"),
        (
            (cell(names[i]), cell(names[j]), f"{wrong[i, j]:,}", percent(wrong[i, j] / counts[i].sum()))
            for i, j in pairs[:15]
        ),
        "pairs",
        right=(2, 3),
    )
    more = f"<h3>Most frequent mistakes</h3>{listed}" if pairs and k > 2 else ""
    return f"<section id='confusion'><h2>What is mistaken for what</h2>{text}{shown}{more}</section>"


def _matrix(names: Sequence[str], counts: np.ndarray, small: bool) -> str:
    head = "".join(f"<th scope='col' title=\"{html.escape(clean(name))}\">{j}</th>" for j, name in enumerate(names, 1))
    body = ""
    for i, row in enumerate(counts):
        cells = ""
        for j, count in enumerate(row):
            share = 12 + 48 * count / max(row.sum(), 1)
            style = f" class='{'right-cell' if i == j else 'wrong-cell'}' style='--share:{share:.0f}%'" if count else ""
            cells += f"<td{style}>{f'{count:,}' if count else '<span class=soft>·</span>'}</td>"
        body += f"<tr><th scope='row'><div><span class='soft'>{i + 1}</span>{cell(names[i])}</div></th>{cells}</tr>"
    kind = "matrix" if small else "matrix dense"
    return (
        f"<div class='wide'><table class='{kind}'><thead><tr><th scope='col'>true \\ predicted</th>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
