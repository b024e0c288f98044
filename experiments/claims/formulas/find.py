"""Find the formulas in a line of text.

A word ends a formula. On a line of its own (`display`), the rest is a formula. In prose, the rest is one only if it has
a sign that prose lacks: a relation, a script, a root, a sum, a norm or a Greek letter. What cannot be read as a formula
stays text.
"""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from experiments.claims.formulas.parser import mathml
from experiments.claims.formulas.tokens import CLOSING, FUNCTIONS

SHORT_WORDS = frozenset(
    [
        "am",
        "an",
        "as",
        "at",
        "be",
        "by",
        "do",
        "go",
        "he",
        "if",
        "in",
        "is",
        "it",
        "me",
        "my",
        "no",
        "of",
        "oh",
        "ok",
        "on",
        "or",
        "so",
        "to",
        "up",
        "us",
        "we",
        "vs",
    ]
)
WORD = re.compile(r"(?<![A-Za-z_^])[A-Za-z]{2,}[A-Za-z0-9_]*(?:['’.-][A-Za-z]{2,}[A-Za-z0-9_]*|'s\b)*|\b[A-Z]\d{2,}\b")
SIGN = re.compile(
    r"(?<!-)[=←≤≥≈∈^√ΣΠ∂‖∘½¼¾⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵀ₀₁₂₃₄₅₆₇₈₉\u0302\u0303ŷãα-ω]|[A-Za-z]_[\w({]|(?<=\s)[<>](?=\s)|\s[<>]=\s|[A-Za-z]·\w"
)
BREAK = re.compile(
    r"[.,;:?!](?=\s|$)|[^\w\s.,:+=<>≤≥≈≠±×·∘←→∈~*|‖()\[\]{}/^√ΣΠ∂∞½¼¾⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀⁿ₀-₉'\u0302\u0303…%!-]|--+|==+"
)
NAMES = "|".join(sorted(FUNCTIONS))
EDGE = r"(?:[-+=<>≤≥≈≠±×·∘←→∈*/|,:;…]|:=|<=|>=)"
LEADING = re.compile(rf"\s*[Aa]\s+(?=[\w(√‖Σ\[])|\s*(?:{EDGE}(?:\s+|$))*")
TRAILING = re.compile(rf"(?:\s+{EDGE}|(?<=[\w)\]])\s+(?:{NAMES}))*\s*$|[,:;/]+\s*$")


class Segment(NamedTuple):
    """A part of a line: a formula, or text."""

    text: str
    formula: bool


def is_word(text: str) -> bool:
    """Return True for a word of prose, False for a function and a product of two letters.

    >>> [is_word(text) for text in ("slope", "of", "exp", "dz", "C163", "max_ij", "log-likelihood")]
    [True, True, False, False, True, False, True]
    """
    name = re.match(r"[A-Za-z]+", text)
    if name is None or re.fullmatch(r"[A-Z]\d+", text):
        return True
    rest = text[len(name[0]) :]
    if text.lower() in SHORT_WORDS:
        return True
    if name[0] in FUNCTIONS or re.fullmatch(r"d[A-Za-z]", name[0]):
        return bool(rest) and rest[0] != "_" and not rest.isdigit()
    return len(text) > 2 or text.isupper()


def unmatched(text: str) -> list[int]:
    """Return the places of brackets without a partner.

    >>> unmatched("(a) + b) - (c")
    [7, 11]
    """
    opened: list[int] = []
    alone = []
    for i, sign in enumerate(text):
        if sign in CLOSING:
            opened.append(i)
        elif sign in CLOSING.values():
            if opened and CLOSING[text[opened[-1]]] == sign:
                opened.pop()
            else:
                alone.append(i)
    return sorted(alone + opened)


def breaks(text: str, display: bool) -> Iterator[tuple[int, int]]:
    """Yield the places of what ends a formula: words, unmatched brackets, signs of prose."""
    words = [match.span() for match in WORD.finditer(text) if is_word(match[0])]
    yield from words
    start = 0
    for begin, end in [*words, (len(text), len(text))]:
        part = text[start:begin]
        alone = [start + i for i in unmatched(part)]
        yield from ((i, i + 1) for i in alone)
        for match in BREAK.finditer(text, start, begin):
            before = text[start : match.start()]
            inside = unmatched(before) not in ([], [i - start for i in alone if i < match.start()])
            rest = text[match.end() : begin].strip()
            if inside or (display and match[0] == "," and rest):
                continue
            yield match.span()
        start = end


def segments(text: str, *, display: bool = False) -> list[Segment]:
    """Return the text as formulas and text in turn.

    >>> [segment.text for segment in segments("With a = σ(z), the slope a (1 - a) is at most 1/4.") if segment.formula]
    ['a = σ(z)']
    """
    found, start = [], 0
    for begin, end in [*sorted(breaks(text, display)), (len(text), len(text))]:
        if begin > start:
            found += judged(text[start:begin], display)
        found.append(Segment(text[begin:end], False))
        start = max(start, end)
    merged: list[Segment] = []
    for segment in found:
        if merged and not merged[-1].formula and not segment.formula:
            merged[-1] = Segment(merged[-1].text + segment.text, False)
        elif segment.text:
            merged.append(segment)
    return merged


def judged(text: str, display: bool) -> list[Segment]:
    """Return text without words as a formula with text around it, or as text."""
    first = 0
    while (lead := LEADING.match(text, first)) and lead.end() > first:
        first = lead.end()
    last = TRAILING.search(text, first)
    last = len(text) if last is None else last.start()
    core = text[first:last]
    letter = re.search(r"[A-Za-z]", re.sub(NAMES, "", core)) and core not in ("a", "A")
    relation = re.match(r"[=<>≤≥←]", core)
    if relation or not (SIGN.search(core) or (display and letter) or (display and core.startswith("[["))):
        return [Segment(text, False)]
    try:
        mathml(core)
    except ValueError:
        return [Segment(text, False)]
    return [Segment(text[:first], False), Segment(core, True), Segment(text[last:], False)]


def with_formulas(text: str, *, display: bool = False) -> str:
    """Return a line of text as HTML with its formulas in MathML.

    >>> with_formulas("the slope σ' < 1 & more").partition("<math")[0]
    'the slope '
    """
    shown = lambda part: mathml(part.text, display=display) if part.formula else html.escape(part.text)
    return "".join(shown(part) for part in segments(text, display=display))
