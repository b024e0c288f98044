"""Figures inside the page: matplotlib's SVG made small, its ids its own, its colours those of the page.

Black, white, greys and the colours of experiments/figures.py become CSS variables --c-rrggbb, which `variables`
defines, for a dark page too. Everything else keeps its colour.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree

from experiments.figures import BLUE, GREEN, ORANGE, PINK, SKY

SVG, HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
DECIMAL = re.compile(r"-?\d+\.\d{3,}")
DARK = {BLUE: "#4aa8e8", ORANGE: "#f08a3c", GREEN: "#2dbd93", PINK: "#dd94bc", SKY: "#7cc6f0"}
DARK = {colour.lower(): dark for colour, dark in DARK.items()}
INK, GROUND = 0xE6, 0x1B  # what black and white are on a dark page: nearly white, nearly black


class Inline(NamedTuple):
    """A figure for the page.

    box        its viewBox
    content    what is in the element <svg>
    colours    those that became variables
    words      those in it: titles, labels, legends, not the numbers along axes
    fixed      it must stay on white: words lie on an image or on a surface of many colours
    """

    box: str
    content: str
    colours: frozenset[str]
    words: tuple[str, ...]
    fixed: bool


def dark(colour: str) -> str | None:
    """What a colour is on a dark page; None: the same.

    >>> dark("#000000"), dark("#ffffff"), dark("#808080"), dark("#0072b2"), dark("#123456")
    ('#e6e6e6', '#1b1b1b', '#808080', '#4aa8e8', None)
    """
    if colour[1:3] == colour[3:5] == colour[5:7]:
        level = round(INK + (GROUND - INK) * int(colour[1:3], 16) / 255)
        return f"#{level:02x}{level:02x}{level:02x}"
    return DARK.get(colour)


def words(svg: str) -> tuple[str, ...]:
    """The words that matplotlib leaves as comments above the shapes of their letters."""
    found = (re.sub(r"[${}\\]|mathdefault", "", text).strip() for text in re.findall(r"<!-- (.*?) -->", svg, re.DOTALL))
    return tuple(dict.fromkeys(text for text in found if re.search(r"[^\W\d_]{2}", text)))


def shortened(number: re.Match[str]) -> str:
    """A hundredth of a point is finer than any screen."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def annotated(root: ElementTree.Element) -> bool:
    """Whether words lie inside the axes of a figure that has an image, or a surface of many colours, there."""
    for axes in root.iter(f"{SVG}g"):
        if not axes.get("id", "").startswith("axes_"):
            continue
        parts = [part.get("id", "") for part in axes]
        painted = any(part.startswith(("QuadMesh", "PolyQuadMesh", "image")) for part in parts)
        inside = sum(part.startswith("text_") for part in parts)
        if (painted or axes.find(f".//{SVG}image") is not None) and inside > 1:  # one is the title
            return True
    return False


def inline(svg: str, name: str) -> Inline:
    """The figure of a study for the page; its ids start with the study's name."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    fixed = annotated(root)
    elements, colours = list(root.iter()), set()
    values = [value for element in elements for value in element.attrib.values()]
    wanted = {value[1:] for element in elements if (value := element.get(HREF, "")).startswith("#")}
    wanted |= {target for value in values for target in REFERENCE.findall(value)}

    def variable(match: re.Match[str]) -> str:
        colour = match[0].lower()
        if fixed or dark(colour) is None:
            return match[0]
        colours.add(colour)
        return f"var(--c-{colour[1:]})"

    for element in elements:
        element.tag = element.tag.removeprefix(SVG)
        if not (element.text or "").strip():
            element.text = None  # line ends between elements
        element.tail = None
        attributes = dict(element.attrib)
        element.attrib.clear()
        for key, value in attributes.items():
            if key == "id" and value not in wanted:
                continue
            if key == "id":
                value = f"{name}-{value}"
            elif key == HREF:
                key, value = "href", f"#{name}-{value[1:]}" if value.startswith("#") else value
            elif key == "style":
                value = COLOUR.sub(variable, value)
            elif key in ("d", "x", "y", "width", "height"):
                value = DECIMAL.sub(shortened, " ".join(value.split()))
            element.set(key, REFERENCE.sub(lambda match: f"url(#{name}-{match[1]})", value))
    content = "".join(ElementTree.tostring(child, encoding="unicode", short_empty_elements=False) for child in root)
    return Inline(root.get("viewBox", ""), content, frozenset(colours), words(svg), fixed)


def variables(colours: Iterable[str]) -> str:
    """The style sheet that gives the variables their values, on light and on dark pages; paper is light."""
    ordered = sorted(set(colours))
    light = "".join(f"--c-{colour[1:]}:{colour};" for colour in ordered)
    night = "".join(f"--c-{colour[1:]}:{dark(colour)};" for colour in ordered)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{night}}}}}"
