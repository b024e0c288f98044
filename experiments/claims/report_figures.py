"""Figures for the page: smaller SVG, unique ids, colours that follow the page.

Black, white, greys and the colours of experiments/figures.py become CSS variables --c-rrggbb. `variables`
defines them for light and for dark pages. Other colours stay as they are.
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
INK, GROUND = 0xE6, 0x1B  # grey levels that replace black and white on a dark page


class Inline(NamedTuple):
    """A figure for the page.

    box        its viewBox
    content    the content of its <svg> element
    colours    the colours that became variables
    words      its titles, labels and legends, without the numbers along axes
    fixed      True if it must stay on white, because text is drawn on an image or a coloured surface
    """

    box: str
    content: str
    colours: frozenset[str]
    words: tuple[str, ...]
    fixed: bool


def dark_colour(colour: str) -> str | None:
    """Return the colour to use on a dark page, or None if the colour stays as it is.

    >>> dark_colour("#000000"), dark_colour("#ffffff"), dark_colour("#808080")
    ('#e6e6e6', '#1b1b1b', '#808080')
    >>> dark_colour("#0072b2"), dark_colour("#123456")
    ('#4aa8e8', None)
    """
    if colour[1:3] == colour[3:5] == colour[5:7]:
        level = round(INK + (GROUND - INK) * int(colour[1:3], 16) / 255)
        return f"#{level:02x}{level:02x}{level:02x}"
    return DARK.get(colour)


def text_of(svg: str) -> tuple[str, ...]:
    """Return the text that matplotlib leaves as comments above the outlines of the letters."""
    found = (re.sub(r"[${}\\]|mathdefault", "", text).strip() for text in re.findall(r"<!-- (.*?) -->", svg, re.DOTALL))
    return tuple(dict.fromkeys(text for text in found if re.search(r"[^\W\d_]{2}", text)))


def round_decimal(number: re.Match[str]) -> str:
    """Round to a hundredth of a point, which is finer than any screen."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def has_text_on_image(root: ElementTree.Element) -> bool:
    """Return True if there is text inside axes that contain an image or a coloured mesh."""
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
    """Prepare a study's figure for the page. Its ids get the study's name as prefix."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    fixed = has_text_on_image(root)
    elements, colours = list(root.iter()), set()
    values = [value for element in elements for value in element.attrib.values()]
    wanted = {value[1:] for element in elements if (value := element.get(HREF, "")).startswith("#")}
    wanted |= {target for value in values for target in REFERENCE.findall(value)}

    def variable(match: re.Match[str]) -> str:
        colour = match[0].lower()
        if fixed or dark_colour(colour) is None:
            return match[0]
        colours.add(colour)
        return f"var(--c-{colour[1:]})"

    for element in elements:
        element.tag = element.tag.removeprefix(SVG)
        if not (element.text or "").strip():
            element.text = None  # drop line ends between elements
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
                value = DECIMAL.sub(round_decimal, " ".join(value.split()))
            element.set(key, REFERENCE.sub(lambda match: f"url(#{name}-{match[1]})", value))
    content = "".join(ElementTree.tostring(child, encoding="unicode", short_empty_elements=False) for child in root)
    return Inline(root.get("viewBox", ""), content, frozenset(colours), text_of(svg), fixed)


def variables(colours: Iterable[str]) -> str:
    """Return the style sheet that defines the variables for light and for dark pages.

    Print always uses light.
    """
    ordered = sorted(set(colours))
    light = "".join(f"--c-{colour[1:]}:{colour};" for colour in ordered)
    night = "".join(f"--c-{colour[1:]}:{dark_colour(colour)};" for colour in ordered)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{night}}}}}"
