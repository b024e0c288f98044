"""Docstrings as escaped HTML: paragraphs, lists, and equations as typed."""

import html
import itertools
import re


def span(text: str) -> str:
    """Return a line of text as HTML. Text between backticks becomes code.

    >>> span("a < b by `fnn.mlp`")
    'a &lt; b by <code>fnn.mlp</code>'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def preformatted(lines: list[str]) -> str:
    """Return preformatted lines without their common indentation."""
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    return f"<pre>{html.escape(chr(10).join(line[indent:] for line in lines))}</pre>"


def bullets(lines: list[str]) -> str:
    """Return a list whose items start with a dash."""
    items = re.split(r"(?:^|\s)- ", " ".join(line.strip() for line in lines))[1:]
    return f"<ul>{''.join(f'<li>{span(item.strip())}</li>' for item in items)}</ul>"


def block(lines: list[str]) -> str:
    """Return the lines between two empty lines as HTML: prose with indented parts, or a list."""
    if lines[0].startswith("- "):
        return bullets(lines)
    parts = []
    for indented, group in itertools.groupby(lines, key=lambda line: line.startswith("    ")):
        block_lines = list(group)
        parts.append(preformatted(block_lines) if indented else f"<p>{span(' '.join(block_lines))}</p>")
    return "".join(parts)


def title(docstring: str) -> str:
    """Return the first line."""
    return docstring.partition("\n")[0].strip()


def body(docstring: str) -> str:
    """Return the text after the first line, without the block that contains only the command.

    >>> body("Title.\\n\\n    python -m experiments x\\n\\nWith a < b,\\n\\n    y = 2 x.\\n")
    '<p>With a &lt; b,</p><pre>y = 2 x.</pre>'
    """
    blocks = re.split(r"\n\s*\n", docstring.partition("\n")[2].strip("\n"))
    kept = [lines for text in blocks if (lines := text.rstrip().splitlines())]
    return "".join(block(lines) for lines in kept if len(lines) > 1 or "python -m experiments" not in lines[0])
