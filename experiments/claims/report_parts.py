"""The parts of the page as HTML: a study, the list of studies, the errors found in the notes, the claims."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.claims import report_text
from experiments.claims.report_figures import Inline
from experiments.studies.shared import outcomes, study

GOOD, BAD, OPEN = "good", "bad", "open"
MARKS = {GOOD: "✓", BAD: "✗", OPEN: "–"}
# states of studies, of their criteria, of tests and of claims; every other one is open
GOOD_STATES = (outcomes.HOLDS, "yes", "passed", "shown")
BAD_STATES = (outcomes.BROKEN, outcomes.FAILED, "no", "fails", "not shown")
KINDS = {"WRONG": "wrong as printed", "TYPO": "misprints"}


class Part(NamedTuple):
    """A study as the page shows it.

    state    holds, does not hold, failed, skipped: needs …, not run
    values   what its JSON says, if it is there
    error    what it said when it failed
    notes    what else the reader should know
    """

    name: str
    id: str
    claims: tuple[str, ...]
    docstring: str
    command: str
    state: str
    values: dict[str, Any] | None = None
    figure: Inline | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return report_text.title(self.docstring)


def meaning(state: str) -> str:
    """Good, bad, or open."""
    return GOOD if state in GOOD_STATES else BAD if state in BAD_STATES else OPEN


def badge(state: str) -> str:
    """A state as a symbol, a colour and a word."""
    kind = meaning(state)
    return f'<span class="badge {kind}"><span aria-hidden="true">{MARKS[kind]}</span> {html.escape(state)}</span>'


def mark(state: str) -> str:
    """A state as a symbol and a colour; the word is for those who listen, and under the pointer."""
    kind, word = meaning(state), html.escape(state)
    seen = f'<span class="mark {kind}" title="{word}" aria-hidden="true">{MARKS[kind]}</span>'
    return f'{seen}<span class="unseen">{word}: </span>'


def claim_link(claim: str, known: frozenset[str]) -> str:
    """A claim's number, as a link where the table has it."""
    text = html.escape(claim)
    return f'<a href="#{text}">{text}</a>' if claim in known else text


def cells(row: Sequence[tuple[str, str]], *, key: str = "") -> str:
    """A row of a table, each cell with the name of its column, which phones show."""
    start = f'<tr id="{html.escape(key)}"' if key else "<tr"
    return start + ">" + "".join(f'<td data-label="{html.escape(name)}">{cell}</td>' for name, cell in row) + "</tr>"


def table(kind: str, columns: Sequence[str], rows: Sequence[str], caption: str = "") -> str:
    """A table of rows that are HTML already."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<table class="{kind}">{title}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def criteria(values: dict[str, Any]) -> str:
    """What must hold, what was measured over the seeds, and whether it does."""
    columns, rows = ("criterion", "must be", "measured", "holds"), []
    for row in values["criteria"]:
        limits = study.limits(row["least"], row["most"])
        measured = study.shown(row["measured"])
        texts = [report_text.span(row["text"]), html.escape(limits), html.escape(measured)]
        rows.append(cells(list(zip(columns, [*texts, badge("yes" if row["holds"] else "no")], strict=True))))
    return table("criteria", columns, rows)


def numbers(values: dict[str, Any]) -> str:
    """What was measured besides, to unfold."""
    if not values["numbers"]:
        return ""
    columns = ("measured besides", "value")
    rows = [
        cells([(columns[0], report_text.span(name)), (columns[1], html.escape(study.shown(value)))])
        for name, value in values["numbers"].items()
    ]
    summary = f"<summary>{len(rows)} more {'number' if len(rows) == 1 else 'numbers'}</summary>"
    return f"<details>{summary}{table('numbers', columns, rows)}</details>"


def figure(part: Part) -> str:
    """The figure with its alternative text."""
    if part.figure is None:
        return ""
    name, drawn = f"{html.escape(part.name)}-title", part.figure
    told = html.escape(f"Figure: {part.title} In it: {'; '.join(drawn.words)}.")
    svg = f'<svg viewBox="{drawn.box}" role="img" aria-labelledby="{name}"><title id="{name}">{told}</title>'
    kind = ' class="paper"' if drawn.fixed else ""
    return f"<figure{kind}><div>{svg}{drawn.content}</svg></div></figure>"


def one_study(part: Part, known: frozenset[str]) -> str:
    """A study's section."""
    links = " ".join(claim_link(claim, known) for claim in part.claims)
    notes = "".join(f' <span class="note">{html.escape(note)}</span>' for note in part.notes)
    number = f'<a class="number" href="#{html.escape(part.name)}">{html.escape(part.id)}</a>'
    lines = [
        f'<section class="study" id="{html.escape(part.name)}">',
        f"<h3>{number} {report_text.span(part.title)}</h3>",
        f'<p class="meta">{badge(part.state)} <span>claims {links}</span>{notes}</p>',
    ]
    if part.error is not None:
        lines.append(f'<pre class="error">{html.escape(part.error.strip())}</pre>')
    told = report_text.body(part.docstring)
    if part.values is None:
        lines.append(f'<div class="prose">{told}</div>')
    else:
        lines += [figure(part), criteria(part.values), f'<div class="prose">{told}']
        lines += [f'<p class="remark">{report_text.span(remark)}</p>' for remark in part.values["remarks"]]
        lines += ["</div>", numbers(part.values)]
    seconds = f" <span>{part.values['seconds']:.1f} s</span>" if part.values else ""
    lines.append(f'<p class="command"><code>{html.escape(part.command)}</code>{seconds}</p></section>')
    return "\n".join(lines)


def contents(parts: Sequence[Part]) -> str:
    """A line per study: its state, number and title."""
    items = []
    for part in parts:
        number = f'<span class="number">{html.escape(part.id)}</span>'
        link = f'<a href="#{html.escape(part.name)}">{report_text.span(part.title)}</a>'
        items.append(f"<li>{mark(part.state)}{number}{link}</li>")
    return f'<ol class="contents">{"".join(items)}</ol>'


def errors(rows: Sequence[dict[str, Any]]) -> str:
    """The statements that are wrong or misprinted, with what is right."""
    found, columns = "", ("claim", "the notes say", "right is", "where")
    for verdict, words in KINDS.items():
        chosen = [row for row in rows if row["verdict"] == verdict]
        lines = []
        for row in chosen:
            link = f'<a href="#{html.escape(row["id"])}">{html.escape(row["id"])}</a>'
            texts = [report_text.span(row.get(field) or "") for field in ("claim", "correction", "where")]
            lines.append(cells(list(zip(columns, [link, *texts], strict=True))))
        if chosen:
            found += f"<h3>{len(chosen)} {words}</h3>{table('errors', columns, lines)}"
    return found


def evidence(by: dict[str, str], names: frozenset[str]) -> str:
    """What shows a claim: a study, as a link, or a test, whose name is a sentence."""
    name = html.escape(by["name"])
    sentence = name.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    shown = f'<a href="#{name}">{name}</a>' if by["name"] in names else f'<span title="{name}">{sentence}</span>'
    return f"<li>{mark(by['state'])}{shown}</li>"


def one_claim(row: dict[str, Any], names: frozenset[str]) -> str:
    """A claim's row."""
    says = f"<p>{report_text.span(row['claim'])}</p>"
    if row.get("correction"):
        says += f'<p class="correction">{report_text.span(row["correction"])}</p>'
    by = "".join(evidence(one, names) for one in row["shown_by"])
    verdict = html.escape(row["verdict"])
    cell = [
        ("claim", f'<a href="#{html.escape(row["id"])}">{html.escape(row["id"])}</a>'),
        ("verdict", f'<span class="verdict {verdict.lower()}">{verdict}</span>'),
        ("the notes say", f'{says}<p class="where">{report_text.span(row["where"])}</p>'),
        ("shown by", f"<ul>{by}</ul>" if by else report_text.span(row.get("untestable") or "nothing")),
        ("state", badge(row["state"])),
    ]
    return cells(cell, key=row["id"])


def claims(rows: Sequence[dict[str, Any]], names: frozenset[str]) -> str:
    """All of them in one table, a heading per section."""
    lines, section = [], None
    for row in rows:
        if row["section"] != section:
            section = row["section"]
            lines.append(f'<tr class="section"><th colspan="5" scope="rowgroup">{html.escape(section)}</th></tr>')
        lines.append(one_claim(row, names))
    return table("claims", ("claim", "verdict", "the notes say", "shown by", "state"), lines)


def read(name: str) -> str:
    """A file of the page: its HTML, style or script."""
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")
