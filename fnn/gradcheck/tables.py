"""The table of a report, with one row per leaf: for terminals, made by rich, and as HTML for notebooks."""

import html
from collections.abc import Callable, Sequence
from typing import Any

HEADER = ("leaf", "shape", "status", "max error", "tolerance", "worst index", "detects ≥", "hint")
COLOURS = {"PASS": "green", "FAIL": "bold red", "KINK": "yellow", "INCONCLUSIVE": "yellow", "SKIPPED": "dim"}
ROWS = 20  # of the table in notebooks; leaves that pass give way to others
EVIDENCE = 12  # lines about one leaf there


def rich_table(headline: str, leaves: Sequence[Any], foot: Sequence[str], show: Callable[[str], str]):
    """Return the table for rich, in letters that `show` makes printable, and the lines below it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=show(headline))
    for column in HEADER:
        table.add_column(show(column), overflow="fold")
    for leaf in leaves:
        table.add_row(*(Text(show(cell)) for cell in _cells(leaf)), style=COLOURS[leaf.status])
    return Group(table, Text(show("\n".join(foot))))


def html_table(headline: str, leaves: Sequence[Any], foot: Sequence[str]) -> str:
    """Return the table as HTML, with the evidence below each leaf that does not pass, and the lines below the table."""
    others = sum(leaf.status != "PASS" for leaf in leaves)
    passes, rows = max(0, ROWS - others), []
    for leaf in leaves:
        passes -= leaf.status == "PASS"
        if leaf.status == "PASS" and passes < 0:
            continue
        mark = "b" if leaf.status == "FAIL" else "span"
        cells = [f"<td {_LEFT}><{mark}>{html.escape(cell)}</{mark}></td>" for cell in _cells(leaf)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
        if leaf.status not in ("PASS", "SKIPPED") and leaf.evidence:
            lines = [*leaf.evidence[:EVIDENCE], *["…"] * (len(leaf.evidence) > EVIDENCE)]
            text = "<br>".join(html.escape(line) for line in lines)
            style = 'style="text-align: left; white-space: pre-wrap"'
            rows.append(f'<tr><td></td><td colspan="{len(HEADER) - 1}" {style}>{text}</td></tr>')
    if passes < 0:
        rows.append(f'<tr><td colspan="{len(HEADER)}" {_LEFT}>… and {-passes} more leaves that pass</td></tr>')
    head = "".join(f"<th {_LEFT}>{html.escape(name)}</th>" for name in HEADER)
    below = "<br>".join(html.escape(line) for line in foot)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<p><b>{html.escape(headline)}</b></p>{table}<p>{below}</p>"


_LEFT = 'style="text-align: left"'


def _cells(leaf: Any) -> list[str]:
    error, tolerance, detects = (
        "" if v is None else f"{v:.1e}" for v in (leaf.max_error, leaf.tol, leaf.min_detectable)
    )
    index = "" if leaf.worst_index is None else str(list(leaf.worst_index))
    note = leaf.hint or leaf.kink or ""
    return [leaf.label, str(leaf.shape), leaf.status, error, tolerance, index, detects, note]
