"""Write report.html and scores.json; the table of scores for the terminal."""

import html
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from experiments import reports
from experiments.tabular_report.contents import Contents, check
from experiments.tabular_report.metrics import family
from experiments.tabular_report.scoring import Score, rows, scores

if TYPE_CHECKING:
    from rich.table import Table

HERE = Path(__file__).parent
STYLE = HERE.parent / "claims" / "page" / "report.css"  # the style that the pages of experiments share
PARTS = {"out_of_fold": "cross-validation", "test": "test"}
FILES = ("report.html", "scores.json")


def write(folder: Path, contents: Contents) -> Path:
    """Write report.html and scores.json to the folder; return the path of the page.

    The page is one file that needs no network.

    Raises:
      ValueError: if parts of the contents do not fit together; the message names the field.
    """
    check(contents)
    path = folder / FILES[0]
    path.write_text(build(contents), encoding="utf-8")
    reports.save_json(folder / FILES[1], as_json(contents))
    return path


def build(contents: Contents) -> str:
    """Return the page as HTML."""
    template = Template((HERE / "page.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(contents.title), style=STYLE.read_text(encoding="utf-8"))


def all_scores(contents: Contents) -> dict[str, dict[str, dict[str, Score]]]:
    """Return part -> metric's key -> "model", "linear" or "guessing" -> Score."""
    parts = {name: rows(contents, name) for name in PARTS}
    return {name: scores(contents.kind, part) for name, part in parts.items() if part is not None}


def as_json(contents: Contents) -> dict[str, Any]:
    """Return what scores.json stores. An unknown value or standard error is null."""
    return {
        name: {key: {who: score._asdict() for who, score in row.items()} for key, row in table.items()}
        for name, table in all_scores(contents).items()
    }


def scores_table(contents: Contents) -> "Table":
    """Return the key scores as a table of rich's, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(contents.title), title_justify="left")  # not markup: a title may hold [red]
    found = all_scores(contents)
    table.add_column("score")
    first = next(iter(found))
    heads = [(first, who) for who in next(iter(found[first].values()))]
    heads += [("test", "model")] if len(found) > 1 else []
    for name, who in heads:
        table.add_column(who if name == first else f"{who}, test part", justify="right")
    outputs = len(contents.classes) if contents.kind == "classes" else len(contents.targets)
    for metric in family(contents.kind, outputs):
        table.add_row(metric.name, *(plain(found[name][metric.key][who]) for name, who in heads))
    return table


def plain(score: Score) -> str:
    """Format a score with its standard error.

    >>> plain(Score(0.9, 0.0123)), plain(Score(0.5)), plain(Score(None)), plain(Score(12345.6, 678.0))
    ('0.900 ± 0.012', '0.500', '–', '12,346 ± 678')
    """
    if score.value is None:
        return "–"
    size = abs(score.value)
    digits = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    text = f"{score.value:,.{digits}f}" if 1e-2 <= size < 1e9 or not size else f"{score.value:.3g}"
    if score.error is None:
        return text
    return f"{text} ± " + (f"{score.error:,.{digits}f}" if score.error >= 0.5 * 10**-digits else f"{score.error:.1g}")
