"""Text of a report: names that users chose, numbers, HTML.

A name in a sentence stands between the Unicode characters FSI and PDI (U+2068, U+2069), so that right-to-left names
leave the sentence's order alone. `escape` turns them into <bdi> elements, `terminal` removes them.
"""

import html
import re
from collections.abc import Iterable, Sequence

from experiments.tabular_report.scoring import Score

START, END = "\u2068", "\u2069"
LONG = 60  # characters of a name in a sentence
# What no page can hold or show: control characters, lone surrogates, and marks that would reorder their surroundings.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff]+")


def clean(text: object) -> str:
    """Return text in one line without control characters; "" becomes a visible word.

    >>> clean("a\\nb"), clean(""), clean("\\ud800x"), clean("50 $")
    ('a b', '(empty)', '� x', '50 $')
    """
    found = _UNSEEN.sub(lambda match: "\ufffd " if "\ud800" <= match[0][0] <= "\udfff" else " ", str(text))
    return found.strip() or "(empty)"


def shown(text: object, length: int = LONG) -> str:
    """Return a name for a sentence: cleaned, shortened and isolated."""
    name = clean(text)
    return f"{START}{name if len(name) <= length else name[: length - 1] + '…'}{END}"


def listed(names: Sequence[object], most: int = 5) -> str:
    """Return names with commas and "and".

    >>> terminal(listed(["a"])), terminal(listed("abc")), terminal(listed("abcdefgh", 2))
    ('a', 'a, b and c', 'a, b and 6 more')
    """
    words = [shown(name, 40) for name in names[:most]]
    words += [f"{len(names) - most} more"] if len(names) > most else []
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def terminal(text: str) -> str:
    """Return a sentence for the terminal and for JSON."""
    return text.replace(START, "").replace(END, "")


def escape(text: str) -> str:
    """Return a sentence as HTML."""
    return html.escape(text).replace(START, "<bdi>").replace(END, "</bdi>")


def cell(text: object) -> str:
    """Return a name as HTML for a cell of a table. The style sheet cuts a long one; its title has all of it."""
    name = html.escape(clean(text))
    title = f' title="{name}"' if len(name) > 40 else ""
    return f'<bdi class="name"{title}>{name}</bdi>'


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with this many significant digits or more, without an exponent where people read one.

    >>> number(0.12345), number(12345.6), number(1.5e-7), number(None), number(-0.00001234), number(0.0), number(98.76)
    ('0.123', '12,346', '1.5e-07', '–', '-1.23e-05', '0', '98.8')
    """
    if value is None:
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e9:
        return f"{value:.{digits}g}"
    whole = len(str(int(size))) if size >= 1 else 0
    return f"{value:,.{max(digits - whole, 0)}f}"


def plain(score: Score, fixed: bool = True) -> str:
    """Format a score with its standard error.

    Args:
      score: the score.
      fixed: True for scores whose size is known, such as shares: 0.000012 is 0.000. False for those in units of the
        user's.

    >>> plain(Score(0.9, 0.0123)), plain(Score(0.5)), plain(Score(None)), plain(Score(12345.6, 678.0))
    ('0.900 ± 0.012', '0.500', '–', '12,346 ± 678')
    >>> plain(Score(0.5, 1e-17)), plain(Score(-0.00002, 0.01)), plain(Score(1.5e-6, 2.1e-7)), plain(Score(0.25, 1e-4))
    ('0.500', '0.000 ± 0.010', '0.000', '0.2500 ± 0.0001')
    >>> plain(Score(1.5e-6, 2.1e-7), fixed=False)
    '1.5e-06 ± 2.1e-07'
    >>> [plain(Score(*one), fixed=False) for one in ((5529352.0, 341000.0), (2e9, None), (0.5, 1e-6))]
    ['5.529M ± 0.341M', '2e+09', '0.5000 ± 1e-06']
    """
    if score.value is None:
        return "–"
    value, error = score.value, score.error or 0.0
    error = error if error > max(1e-9 * abs(value), 5e-5 if fixed else 0.0) else 0.0  # rounding
    size = max(abs(value), error)
    if size >= 1e9 or (0 < size < 1e-3 and not fixed):
        return f"{value:.3g} ± {error:.2g}" if error else f"{value:.3g}"
    if size >= 1e6:
        return f"{plain(Score(value / 1e6))}M" + (f" ± {plain(Score(error / 1e6))}M" if error else "")
    digits = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    while error and error < 0.5 * 10**-digits and digits < 4:
        digits += 1
    text = f"{value:,.{digits}f}"
    text = text.lstrip("-") if not text.strip("-0.,") else text
    if not error:
        return text
    return f"{text} ± " + (f"{error:,.{digits}f}" if error >= 0.5 * 10**-digits else f"{error:.1g}")


def percent(share: float) -> str:
    """Format a share; only a whole is 100 %, and only nothing is 0 %.

    The space before % does not break.

    >>> [percent(share).split() for share in (0.5, 0.9996, 1.0, 0.0004, 0.072)]
    [['50', '%'], ['99.9', '%'], ['100', '%'], ['0.1', '%'], ['7', '%']]
    """
    value = 100 * share
    if 0 < value < 1 or 99 < value < 100:
        return f"{min(max(value, 0.1), 99.9):.1f}\u00a0%"
    return f"{value:.0f}\u00a0%"


def percents(low: float, high: float) -> str:
    """Format an interval of shares, as in "60 – 96 %"."""
    return f"{percent(low)[:-2]} – {percent(high)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "", right: Iterable[int] = ()) -> str:
    """Return a table from cells that are already HTML; the columns `right`, counted from 0, are numbers.

    If `kind`, classes of the style sheet, holds "blocks", rows become blocks on a phone, with the names of the columns
    beside the values.
    """
    side = dict.fromkeys(right, " class='right'")
    top = "".join(f"<th scope='col'{side.get(i, '')}>{name}</th>" for i, name in enumerate(head))
    label = [f" data-label='{html.escape(name)}'" if i else "" for i, name in enumerate(head)]
    body = "".join(
        "<tr>" + "".join(f"<td{side.get(i, '')}{label[i]}>{value}</td>" for i, value in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<div class='wide'><table class='{kind}'><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
