"""Tables of HTML for notebooks: plain, escaped, without colours of their own, so that they fit light and dark pages."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fnn.display.lines import format_value

HEAD, TAIL = 10, 5  # the rows of a long table that are shown
FIRST, LAST = 8, 4  # the columns of a wide one


def table(columns: Mapping[str, Any], caption: str = "", total: Sequence[Any] = ()) -> str:
    """Return a table. Of a long or wide one, only the first and the last rows and columns are shown.

    Args:
      columns: sequences of numbers or of texts, by name. Columns of numbers are aligned to the right.
      caption: a line above the table.
      total: one more row, below the others.

    >>> table({"epoch": [1, 2], "cost": np.array([0.5, 0.25])}).count("<tr>")
    3
    """
    names = [*columns]
    n = min((len(column) for column in columns.values()), default=0)
    places, rows = _shown(len(names), FIRST, LAST), _shown(n, HEAD, TAIL)
    shown = [columns[names[j]] if j is not None else ["…"] * n for j in places]
    aligns = ["left" if n and isinstance(column[0], str) and column[0] != "…" else "right" for column in shown]
    head = _row("th", [names[j] if j is not None else "…" for j in places], aligns)
    body = [_row("td", [column[i] if i is not None else "…" for column in shown], aligns) for i in rows]
    foot = _row("th", [total[j] if j is not None else "…" for j in places], aligns) if total else ""
    title = f'<caption style="text-align: left; white-space: nowrap">{escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead>{head}</thead><tbody>{''.join(body)}</tbody><tfoot>{foot}</tfoot></table>"


def escape(text: Any) -> str:
    """Return a value's text for HTML; of a long text, the first 200 characters."""
    text = str(text)
    return html.escape(text if len(text) <= 200 else text[:199] + "…")


def _shown(n: int, head: int, tail: int) -> list[int | None]:
    """Return the indices to show of n: the first and the last, with None in place of those between them."""
    return [*range(n)] if n <= head + tail + 1 else [*range(head), None, *range(n - tail, n)]


def _row(kind: str, cells: Sequence[Any], aligns: Sequence[str]) -> str:
    pairs = zip(cells, aligns, strict=True)
    return "".join(["<tr>", *(_cell(kind, align, cell) for cell, align in pairs), "</tr>"])


def _cell(kind: str, align: str, value: Any) -> str:
    return f'<{kind} style="text-align: {align}">{_text(value)}</{kind}>'


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return format_value(float(value))
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(value)
