"""The page of an audit: one self-contained HTML file."""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from experiments.audit.baseline import Entry
from experiments.audit.table import STATUSES, Group, Summary, distinct
from experiments.wording import counted

HERE = Path(__file__).parent
TITLES = {
    "new": "Not looked at yet",
    "wrong": "Wrong gradients",
    "accuracy": "Inexact at extreme numbers",
    "convention": "Conventions, where there is no derivative",
}


def write(path: Path, summary: Summary) -> None:
    """Write the page. The file appears whole or not at all."""
    template = Template((HERE / "page.html").read_text(encoding="utf-8"))
    text = template.substitute(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        tiles=_tiles(summary),
        versions=html.escape(" · ".join(summary.versions)),
        findings="".join(_section(status, summary.groups) for status in STATUSES) or "<p>No findings.</p>",
        gone=_gone(summary.gone),
        left=_left(summary),
        calls=_calls(summary.done.values()),
    )
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _tiles(summary: Summary) -> str:
    numbers = [(len(summary.done), f"of {summary.selected} calls audited")]
    for status in STATUSES:
        count = sum(group.status == status for group in summary.groups)
        if count or status == "wrong":
            numbers.append((count, TITLES[status].partition(",")[0].lower()))
    unreported = sum(group.status == "wrong" and group.report.startswith("none known") for group in summary.groups)
    if unreported:
        numbers.append((unreported, "of the wrong ones without a public report"))
    return "".join(f"<li><b>{number:,}</b> {html.escape(words)}</li>" for number, words in numbers)


def _section(status: str, groups: Sequence[Group]) -> str:
    inner = [group for group in groups if group.status == status]
    if not inner:
        return ""
    title = f"<h2>{TITLES[status]} <span class='number'>{len(inner)}</span></h2>"
    return f"<section id='{status}'>{title}{''.join(map(_finding, inner))}</section>"


def _finding(group: Group) -> str:
    """Return a group of findings: the call, what came out and what was expected, where else, and the code."""
    first = group.rows[0]
    cells = {
        "argument": first.argument,
        "error": first.kind,
        "got": number(first.got),
        "expected": " or ".join(number(v) for v in first.expected.split(" or ")),
        "according to": first.by,
        "at": first.point,
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in cells.items())
    also = ", ".join(row.point for row in group.rows[1:])
    notes = [f"Also at: {html.escape(also)}."] if also else []
    if first.entry:
        notes = [f"{html.escape(first.entry.why)}.", _report(first.entry), *notes]
    notes += [] if any(row.checker for row in group.rows) else ["Found by the element-wise comparison alone."]
    code = f"<pre><code>{html.escape(first.code)}</code></pre>" if first.code else ""
    version = html.escape(f"{first.library} {first.version}")
    return (
        f"<article><h3><code>{html.escape(first.function)}</code> <span class='version'>{version}</span></h3>"
        f"<dl>{rows}</dl><p>{' '.join(notes)}</p>{code}</article>"
    )


def number(text: str) -> str:
    """Return a number with six digits.

    >>> number("0.30000000000000004"), number("nan"), number("1.4835751850141947e+22")
    ('0.3', 'nan', '1.48358e+22')
    """
    return f"{float(text):.6g}"


def _report(entry: Entry) -> str:
    """Return the report, whose addresses become links."""
    if entry.report == "none known":
        return "No public report is known." if entry.status == "wrong" else ""
    words = [_link(word) if word.startswith("https://") else word for word in html.escape(entry.report).split()]
    return f"Report: {' '.join(words)}."


def _link(address: str) -> str:
    return f"<a href='{address}'>{address.removeprefix('https://github.com/')}</a>"


def _gone(entries: Sequence[Entry]) -> str:
    if not entries:
        return ""
    rows = [
        (f"<code>{html.escape(e.target)}</code>", *map(html.escape, (e.argument, e.kind, ", ".join(e.versions), e.why)))
        for e in entries
    ]
    head = ("call", "argument", "error", "seen in", "why")
    return f"<section id='gone'><h2>Known, and no longer found</h2>{_table(head, rows)}</section>"


def _left(summary: Summary) -> str:
    rows = [(f"<code>{html.escape(r['name'])}</code>", html.escape(r["checker"])) for r in summary.failed]
    rows += [(f"<code>{html.escape(name)}</code>", html.escape(why)) for name, why in summary.skipped.items()]
    return f"<section id='left'><h2>Not audited</h2>{_table(('call', 'why'), rows)}</section>" if rows else ""


def _calls(done: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for r in sorted(done, key=lambda r: r["name"]):
        others = "; ".join([*(f"{n} × {kind}" for kind, n in r["others"].items()), *r["notes"]])
        cells = (r["points"], r["checker"], distinct(r["findings"]) or "", others, f"{r['seconds']:.1f}")
        rows.append((f"<code>{html.escape(r['name'])}</code>", *(html.escape(str(cell)) for cell in cells)))
    head = ("call", "points", "checker", "findings", "besides", "seconds")
    return f"<details><summary>{counted(len(rows), 'call')}</summary>{_table(head, rows)}</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table from cells that are already HTML."""
    top = "".join(f"<th scope='col'>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='wide'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
