"""Parts of the page as HTML: studies, their list, errors in the notes, claims."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.claims import report_text
from experiments.claims.report_figures import Inline
from experiments.studies.shared import outcomes, study

GOOD, BAD, OPEN = "good", "bad", "open"
MARKS = {GOOD: "✓", BAD: "✗", OPEN: "–"}
# States of studies, criteria, tests and claims. Every other state counts as open.
GOOD_STATES = (outcomes.HOLDS, "yes", "passed", "shown")
BAD_STATES = (outcomes.BROKEN, outcomes.FAILED, "no", "fails", "not shown")
KINDS = {"WRONG": "wrong as printed", "TYPO": "misprints"}


class Part(NamedTuple):
    """A study as the page shows it.

    state    holds, does not hold, failed, skipped: needs …, not run
    values   the content of its JSON file, if it exists
    error    the traceback, if it failed
    notes    notes for the reader, for example that the settings were quick
    needs    names of the data sets that are missing, for which it was skipped
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
    needs: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return report_text.title(self.docstring)


def meaning(state: str) -> str:
    """Classify a state as good, bad or open."""
    return GOOD if state in GOOD_STATES else BAD if state in BAD_STATES else OPEN


def badge(state: str) -> str:
    """Return a state as symbol, colour and word."""
    kind = meaning(state)
    return f'<span class="badge {kind}"><span aria-hidden="true">{MARKS[kind]}</span> {html.escape(state)}</span>'


def mark(state: str) -> str:
    """Return a state as symbol and colour.

    The word is a tooltip and is read by screen readers.
    """
    kind, word = meaning(state), html.escape(state)
    seen = f'<span class="mark {kind}" title="{word}" aria-hidden="true">{MARKS[kind]}</span>'
    return f'{seen}<span class="unseen">{word}: </span>'


def claim_link(claim: str, known: frozenset[str]) -> str:
    """Return the claim's id, as a link if the table contains the claim."""
    text = html.escape(claim)
    return f'<a href="#{text}">{text}</a>' if claim in known else text


def cells(row: Sequence[tuple[str, str]], *, key: str = "") -> str:
    """Return a table row.

    Each cell stores the name of its column, which narrow screens display.
    """
    start = f'<tr id="{html.escape(key)}"' if key else "<tr"
    return start + ">" + "".join(f'<td data-label="{html.escape(name)}">{cell}</td>' for name, cell in row) + "</tr>"


def table(kind: str, columns: Sequence[str], rows: Sequence[str], caption: str = "") -> str:
    """Return a table from rows that are already HTML."""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<table class="{kind}">{title}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def criteria(values: dict[str, Any]) -> str:
    """Return the table of criteria: the limits, the measured values, and whether they hold."""
    columns, rows = ("criterion", "must be", "measured", "holds"), []
    for row in values["criteria"]:
        limits = study.format_limits(row["least"], row["most"])
        measured = study.format_values(row["measured"])
        texts = [report_text.span(row["text"]), html.escape(limits), html.escape(measured)]
        rows.append(cells(list(zip(columns, [*texts, badge("yes" if row["holds"] else "no")], strict=True))))
    return table("criteria", columns, rows)


def numbers(values: dict[str, Any]) -> str:
    """Return the other measured numbers in a collapsed section."""
    if not values["numbers"]:
        return ""
    columns = ("other measurements", "value")
    rows = [
        cells([(columns[0], report_text.span(name)), (columns[1], html.escape(study.format_values(value)))])
        for name, value in values["numbers"].items()
    ]
    summary = f"<summary>{len(rows)} more {'number' if len(rows) == 1 else 'numbers'}</summary>"
    return f"<details>{summary}{table('numbers', columns, rows)}</details>"


def figure(part: Part) -> str:
    """Return the figure with its alternative text."""
    if part.figure is None:
        return ""
    name, image = f"{html.escape(part.name)}-title", part.figure
    text = html.escape(f"Figure: {part.title} Text in the figure: {'; '.join(image.words)}.")
    svg = f'<svg viewBox="{image.box}" role="img" aria-labelledby="{name}"><title id="{name}">{text}</title>'
    kind = ' class="paper"' if image.fixed else ""
    hint = '<figcaption aria-hidden="true">Swipe sideways to see all of the figure.</figcaption>'
    return f"<figure{kind}>{hint}<div>{svg}{image.content}</svg></div></figure>"


def get_data(part: Part) -> str:
    """Return the commands that get the data of a skipped study and run it."""
    if not part.needs:
        return ""
    names = html.escape(" and ".join(part.needs))
    return (
        f'<div class="get"><p>The data of this study were not found: {names}. To get them and to run it:</p>'
        f"<pre>python -m experiments data --download\n{html.escape(part.command)}</pre></div>"
    )


def study_section(part: Part, known: frozenset[str]) -> str:
    """Return the section of a study."""
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
    prose = report_text.body(part.docstring)
    if part.values is None:
        lines += [get_data(part), f'<div class="prose">{prose}</div>']
    else:
        lines += [figure(part), criteria(part.values), f'<div class="prose">{prose}']
        lines += [f'<p class="remark">{report_text.span(remark)}</p>' for remark in part.values["remarks"]]
        lines += ["</div>", numbers(part.values)]
    seconds = f" <span>{part.values['seconds']:.1f} s</span>" if part.values else ""
    lines.append(f'<p class="command"><code>{html.escape(part.command)}</code>{seconds}</p></section>')
    return "\n".join(lines)


def contents(parts: Sequence[Part]) -> str:
    """Return the list of studies: state, number and title of each."""
    items = []
    for part in parts:
        number = f'<span class="number">{html.escape(part.id)}</span>'
        link = f'<a href="#{html.escape(part.name)}">{report_text.span(part.title)}</a>'
        items.append(f"<li>{mark(part.state)}{number}{link}</li>")
    return f'<ol class="contents">{"".join(items)}</ol>'


def errors(rows: Sequence[dict[str, Any]]) -> str:
    """Return the tables of wrong and misprinted statements with their corrections."""
    found, columns = "", ("claim", "the notes say", "correct is", "where")
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
    """Return what shows a claim: a link to a study, or a test, whose name is a sentence."""
    name = html.escape(by["name"])
    sentence = name.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    shown = f'<a href="#{name}">{name}</a>' if by["name"] in names else f'<span title="{name}">{sentence}</span>'
    return f"<li>{mark(by['state'])}{shown}</li>"


def claim_row(row: dict[str, Any], names: frozenset[str]) -> str:
    """Return the row of a claim."""
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
    """Return the table of all claims, with a heading per section."""
    lines, section = [], None
    for row in rows:
        if row["section"] != section:
            section = row["section"]
            lines.append(f'<tr class="section"><th colspan="5" scope="rowgroup">{html.escape(section)}</th></tr>')
        lines.append(claim_row(row, names))
    return table("claims", ("claim", "verdict", "the notes say", "shown by", "state"), lines)


def read(name: str) -> str:
    """Return the content of a file in page/: the HTML, style or script."""
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")
