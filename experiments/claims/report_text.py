"""Docstrings as escaped HTML: paragraphs, lists, and formulas in MathML."""

import html
import itertools
import re

from experiments.claims.formulas.find import with_formulas

CELL = re.compile(r"\S+(?: \S+)*")


def span(text: str) -> str:
    """Return a line of text as HTML. Text between backticks becomes code, and formulas become MathML.

    >>> span("a run < a fit by `fnn.mlp`")
    'a run &lt; a fit by <code>fnn.mlp</code>'
    """
    parts = re.split(r"`([^`]+)`", text)
    return "".join(
        f"<code>{html.escape(part)}</code>" if i % 2 else with_formulas(part) for i, part in enumerate(parts)
    )


def columns(lines: list[str]) -> list[list[list[str]]]:
    """Return the cells of lines by columns: lists of lines, columns, and what one column holds.

    Two spaces or more end a cell. A column begins where cells of several lines begin, or where one begins the line.

    >>> columns(["cost   C = 0,  D = 1", "other  C = 1"])
    [[['cost'], ['C = 0,', 'D = 1']], [['other'], ['C = 1']]]
    """
    cells = [[(match.start(), match[0]) for match in CELL.finditer(line)] for line in lines]
    places = [place for row in cells for place, _ in row]
    begins = sorted({place for place in places if places.count(place) > 1} | {row[0][0] for row in cells})
    found = []
    for row in cells:
        held = {begin: [] for begin in begins}
        for place, text in row:
            held[max(begin for begin in begins if begin <= place)].append(text)
        found.append(list(held.values()))
    return found


def equations(lines: list[str]) -> str:
    """Return indented lines as formulas: side by side on one line, or in a table whose columns are the lines'."""
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    rows = columns([line[indent:] for line in lines])
    whole = lambda text: re.sub(r"(<math.*?</math>[,.;:])", r'<span class="whole">\1</span>', text)
    cell = lambda texts: "".join(f"<span>{whole(with_formulas(text, display=True))}</span>" for text in texts)
    if len(rows) == 1:
        return f'<div class="equations">{cell(itertools.chain(*rows[0]))}</div>'
    body = "".join("<tr>" + "".join(f"<td>{cell(texts)}</td>" for texts in row) + "</tr>" for row in rows)
    return f'<div class="equations"><table role="presentation">{body}</table></div>'


def listed(kind: str, lines: list[str], mark: str) -> str:
    """Return a list, `ul` or `ol`, whose items start with the mark.

    >>> listed("ol", ["1. one", "   and a half", "2. two"], r"\\d+\\.")
    '<ol><li>one and a half</li><li>two</li></ol>'
    """
    items = re.split(rf"^{mark} ", "\n".join(lines), flags=re.MULTILINE)[1:]
    shown = (span(" ".join(item.split())) for item in items)
    return f"<{kind}>{''.join(f'<li>{item}</li>' for item in shown)}</{kind}>"


def block(lines: list[str]) -> str:
    """Return the lines between two empty lines as HTML: prose with indented formulas, or a list."""
    if lines[0].startswith("- "):
        return listed("ul", lines, "-")
    if lines[0].startswith("1. "):
        return listed("ol", lines, r"\d+\.")
    parts = []
    for indented, group in itertools.groupby(lines, key=lambda line: line.startswith("    ")):
        block_lines = list(group)
        parts.append(equations(block_lines) if indented else f"<p>{span(' '.join(block_lines))}</p>")
    return "".join(parts)


def title(docstring: str) -> str:
    """Return the first line."""
    return docstring.partition("\n")[0].strip()


def body(docstring: str) -> str:
    """Return the text after the first line, without the block that contains only the command.

    >>> body("Title.\\n\\n    python -m experiments x\\n\\nWith words,\\n\\n    y = 2\\n").partition("<math")[0]
    '<p>With words,</p><div class="equations"><span>'
    """
    blocks = re.split(r"\n\s*\n", docstring.partition("\n")[2].strip("\n"))
    kept = [lines for text in blocks if (lines := text.rstrip().splitlines())]
    return "".join(block(lines) for lines in kept if len(lines) > 1 or "python -m experiments" not in lines[0])
