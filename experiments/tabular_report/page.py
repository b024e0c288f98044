"""Write report.html and scores.json; the table of scores for the terminal."""

import html
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from experiments import reports
from experiments.tabular_report import data_parts, figure_parts, learning_parts, score_parts
from experiments.tabular_report.conclusions import conclusions
from experiments.tabular_report.contents import Contents
from experiments.tabular_report.figure_parts import section
from experiments.tabular_report.measured import PER_CLASS, Measured, measure
from experiments.tabular_report.scoring import finite
from experiments.tabular_report.text import clean, plain, terminal

if TYPE_CHECKING:
    from rich.table import Table

HERE = Path(__file__).parent
STYLES = (
    HERE.parent / "claims" / "page" / "report.css",
    HERE / "page.css",
)  # the style of all pages, and what is added
FILES = ("report.html", "scores.json")
LINKS = {
    "scores": "Scores",
    "outputs": "Detail",
    "confusion": "Confusion",
    "probabilities": "Probabilities",
    "errors": "Errors",
    "importance": "Importance",
    "learning": "Learning",
    "search": "Search",
    "warnings": "Warnings",
    "data": "Data",
    "use": "Use",
}


def write(folder: Path, contents: Contents | Measured) -> Path:
    """Write report.html and scores.json to the folder; return the path of the page.

    The page is one file that needs no network. A caller that also needs `scores_table` or `sentences` saves time by
    calling `measure(contents)` once, and passing its result to all of them.

    Raises:
      ValueError: if parts of the contents do not fit together; the message names the field.
    """
    measured = _measured(contents)
    path = folder / FILES[0]
    text = build(measured)
    path.write_text(text, encoding="utf-8")
    reports.save_json(folder / FILES[1], as_json(measured))
    return path


def build(measured: Measured) -> str:
    """Return the page as HTML."""
    contents = measured.contents
    sections = {
        "scores": section("scores", "How good it is", score_parts.scores(measured)),
        "outputs": section("outputs", _outputs(contents), score_parts.by_output(measured)),
        "confusion": score_parts.confusions(measured),
        "probabilities": figure_parts.probabilities(measured),
        "errors": figure_parts.quantities(measured),
        "importance": figure_parts.importance(contents),
        "learning": learning_parts.learning(contents),
        "search": learning_parts.search(contents),
        "warnings": data_parts.warnings(contents),
        "data": data_parts.columns(contents),
        "use": data_parts.use(contents),
    }
    links = (f'<a href="#{name}">{LINKS[name]}</a>' for name, text in sections.items() if text)
    return Template((HERE / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(clean(contents.title)),
        style="\n".join(path.read_text(encoding="utf-8") for path in STYLES),
        model=html.escape(clean(contents.model)),
        tiles=score_parts.tiles(measured),
        remarks=score_parts.remarks(conclusions(measured)),
        links=" ".join(links),
        sections="\n".join(text for text in sections.values() if text),
    )


def _outputs(contents: Contents) -> str:
    return {"classes": "Class by class", "labels": "Label by label", "quantities": "Quantity by quantity"}[
        contents.kind
    ]


def as_json(measured: Measured) -> dict[str, Any]:
    """Return what scores.json stores. An unknown value or standard error is null."""
    stored: dict[str, Any] = {"conclusions": sentences(measured)}
    for name, found in measured.scores.items():
        stored[name] = {
            "rows": len(measured.parts[name].y),
            "scores": {key: {who: one._asdict() for who, one in row.items()} for key, row in found.items()},
        }
        if name in measured.by_output:
            values, errors = measured.by_output[name]
            stored[name]["by_class" if measured.contents.kind == "classes" else "by_label"] = [
                {"name": clean(output)}
                | {
                    key: {"value": finite(values[i, c]), "error": finite(errors[i, c])}
                    for i, key in enumerate(PER_CLASS)
                }
                for c, output in enumerate(measured.outputs)
            ]
        if name in measured.quantities:
            stored[name]["by_quantity"] = [
                {"name": clean(output)}
                | {key: {who: one._asdict() for who, one in row.items()} for key, row in found.items()}
                for output, found in zip(measured.outputs, measured.quantities[name], strict=True)
            ]
    return stored


def _measured(contents: Contents | Measured) -> Measured:
    return contents if isinstance(contents, Measured) else measure(contents)


def sentences(contents: Contents | Measured) -> list[str]:
    """Return the conclusions as plain sentences, for the terminal."""
    return [terminal(one.text) for one in conclusions(_measured(contents))]


def scores_table(contents: Contents | Measured) -> "Table":
    """Return the key scores as a table of rich's, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    measured = _measured(contents)
    title = clean(measured.contents.title)
    table = Table(title=Text(title), title_justify="left")  # not markup: a title may hold [red]
    first = next(iter(measured.scores))
    heads = [(first, who) for who in measured.main.who()]
    heads += [("test", "model")] if len(measured.scores) > 1 else []
    table.add_column("score")
    for name, who in heads:
        table.add_column(who if name == first else f"{who}, test part", justify="right")
    for metric in measured.metrics:
        table.add_row(
            metric.name, *(plain(measured.scores[name][metric.key][who], metric.fixed) for name, who in heads)
        )
    return table
