"""Compare the outputs of two runs of a notebook: the same text, and numbers that agree up to rounding."""

import math
import re
from typing import TYPE_CHECKING, Any

from experiments.tutorials.notebooks import texts

if TYPE_CHECKING:
    from nbformat import NotebookNode

VARIES = "varies"  # the tag of a cell whose outputs depend on the machine
RELATIVE, ABSOLUTE = 0.05, 1e-9  # numbers after a training differ between versions of JAX; below 1e-9 is rounding
SMALL, FACTOR = 1e-5, 10.0  # smaller numbers are errors in single precision: their magnitude counts
DURATION = re.compile(r"\b\d[\d.]*(e-?\d+)? ?(ns|µs|ms|s|seconds|min)\b")
STEP = re.compile(r"2\^-\d+")  # of a finite difference, which rounding may choose
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def differences(stored: "NotebookNode", new: "NotebookNode") -> list[str]:
    """Say in which cells the outputs of two runs of a notebook differ, one text per cell; [] if they agree."""
    pairs = enumerate(zip(stored.cells, new.cells, strict=True), 1)
    found = ((i, _difference(a, b)) for i, (a, b) in pairs if a.cell_type == "code")
    return [f"cell {i}: {text}" for i, text in found if text]


def keep_equal(stored: "NotebookNode", new: "NotebookNode") -> None:
    """Replace the outputs of `new` by stored ones where cell and outputs agree, so that a run changes few bytes."""
    by_source = {cell.source: cell for cell in stored.cells if cell.cell_type == "code"}
    for cell in new.cells:
        before = by_source.get(cell.source)
        if (
            cell.cell_type == "code"
            and before is not None
            and not _difference(before, cell)
            and _same_images(before, cell)
        ):
            cell.outputs = before.outputs


def _same_images(a: "NotebookNode", b: "NotebookNode") -> bool:
    """Return whether two cells show the same pictures, byte for byte."""
    images = [[o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})] for cell in (a, b)]
    return images[0] == images[1]


def _difference(stored: "NotebookNode", new: "NotebookNode") -> str:
    kinds, new_kinds = ([_kinds(output) for output in cell.outputs] for cell in (stored, new))
    if kinds != new_kinds:
        return f"stored outputs are {kinds}, a run gives {new_kinds}"
    if VARIES in stored.metadata.get("tags", []):
        return ""
    for a, b in zip(stored.outputs, new.outputs, strict=True):
        for (kind, expected), (_, got) in zip(texts(a), texts(b), strict=True):
            if not same_text(expected, got):
                return f"{kind} differs; stored:\n{expected}\na run gives:\n{got}"
    return ""


def _kinds(output: Any) -> list[str]:
    return sorted(output["data"]) if "data" in output else [output.get("name", output["output_type"])]


def same_text(a: str, b: str) -> bool:
    """Return whether two texts are the same but for white space, durations, steps, and rounding.

    Numbers with a point or an exponent may differ by 5 %, because a training ends elsewhere with other rounding; those
    below 1e-5 by a factor of ten; whole numbers are the same.

    >>> same_text("cost 0.1234, 5 of 7, 0.8 s", "cost 0.1240, 5 of 7, 1.25 s")
    True
    >>> same_text("5 of 7", "6 of 7"), same_text("error 2e-16", "error 0.0"), same_text("up", "down")
    (False, True, False)
    """
    a, b = (STEP.sub("(step)", DURATION.sub("(time)", " ".join(text.split()))) for text in (a, b))
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    return all(map(_same_number, NUMBER.findall(a), NUMBER.findall(b)))


def _same_number(a: str, b: str) -> bool:
    if a.lstrip("+-").isdigit() and b.lstrip("+-").isdigit():
        return int(a) == int(b)
    low, high = sorted(map(abs, map(float, (a, b))))
    is_small = high < SMALL and high <= FACTOR * low
    return is_small or math.isclose(float(a), float(b), rel_tol=RELATIVE, abs_tol=ABSOLUTE)
