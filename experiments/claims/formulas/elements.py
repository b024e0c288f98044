"""MathML elements of the parts of a formula."""

import re

from experiments.claims.formulas.tokens import SIGNS


def element(name: str, content: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{content}</{name}>"


def row(parts: list[str]) -> str:
    """Return the parts as one element."""
    return parts[0] if len(parts) == 1 else element("mrow", "".join(parts))


def letters(text: str) -> str:
    """Return the text of a script: digits, signs, letters; a word in upright letters.

    >>> letters("pq")
    '<mrow><mi>p</mi><mi>q</mi></mrow>'
    >>> letters("out"), letters("T")
    ('<mi>out</mi>', '<mi mathvariant="normal">T</mi>')
    """
    if (len(text) > 2 and text.isalpha()) or text == "in":
        return element("mi", text)
    shown = []
    for part in re.findall(r"\d+|.", text):
        if part.isdigit():
            shown.append(element("mn", part))
        elif part == "T":
            shown.append(element("mi", part, ' mathvariant="normal"'))
        else:
            shown.append(element("mi" if part.isalpha() else "mo", SIGNS.get(part) or part))
    return row(shown)


def unbracketed(parts: list[str]) -> str:
    """Return parts as one element, without the round brackets around all of them."""
    if len(parts) == 1:
        inside = re.fullmatch(r'<mrow><mo form="prefix">\(</mo>(.*)<mo form="postfix">\)</mo></mrow>', parts[0])
        if inside:
            return element("mrow", inside[1])
    return row(parts)


def scripted(base: str, below: list[str], above: list[str], *, limits: bool) -> str:
    """Return the base with its scripts, as limits if a sum has them."""
    names = ("munder", "mover", "munderover") if limits else ("msub", "msup", "msubsup")
    if below and above:
        return element(names[2], base + row(below) + row(above))
    if below or above:
        return element(names[0] if below else names[1], base + row(below or above))
    return base
