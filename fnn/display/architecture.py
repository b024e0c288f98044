"""The text of a layer: its architecture, written as the code that builds it."""

import itertools
import re
from typing import Any, NamedTuple

from fnn.display.lines import named

WIDTH = 88  # a layer whose text is longer has a line for each of its layers

# The name of a combinator, perhaps within those of wrappers: remat(mixed_precision(repeat(3), bfloat16)).
_NAME = re.compile(r"((?:\w+\()*)([^\W\d]\w*)(?:\(([^()a-zA-Z]*)\))?(\)*(?:, .*)?)")


class _Text(NamedTuple):
    """The text of a layer: before its layers, theirs, and after them; `line` is the same in one line."""

    line: str
    before: str = ""
    parts: tuple["_Text", ...] = ()
    after: str = ""


def architecture(layer: Any) -> str:
    """Return the text of a layer: on one line if it is short, else with one line for each of its layers.

    Layers that follow each other and are the same object are shown once, as in `3 × dense(4, 4)`.

    >>> import fnn
    >>> architecture(fnn.residual(fnn.remat(fnn.mlp([4, 8, 4]))))
    'residual(remat(serial(dense(4, 8), relu, dense(8, 4))), identity)'
    >>> architecture(fnn.repeat(fnn.relu, 3))
    'repeat(3 × relu)'
    """
    return "\n".join(_lines(_text(layer), ""))


def _text(layer: Any) -> _Text:
    """Return the text of a layer. What `jax.tree.map` made of one may hold anything in place of its fields."""
    if not hasattr(layer, "layers"):
        return _Text(str(layer))
    name = named(layer.name, "Layer", layer.forward)
    if not isinstance(layer.layers, tuple) or not layer.layers:
        return _Text(name)
    found = _NAME.fullmatch(name)
    wrappers, inner, arguments, after = found.groups() if found else ("", name, None, "")
    runs = [[*run] for _, run in itertools.groupby(layer.layers, key=id)]
    if len(runs) == 1 and len(layer.layers) == 2 and inner != "repeat":
        runs = [[part] for part in layer.layers]  # two branches, such as those of a residual
    if len(runs) == 1 and arguments == str(len(layer.layers)):
        arguments = None  # repeat(3) says how many there are
    parts = tuple(_times(len(run), _text(run[0])) for run in runs)
    before, after = f"{wrappers}{inner}({arguments + ', ' if arguments else ''}", f"){after}"
    return _Text(before + ", ".join(part.line for part in parts) + after, before, parts, after)


def _times(n: int, text: _Text) -> _Text:
    return text if n == 1 else text._replace(line=f"{n} × {text.line}", before=f"{n} × {text.before}")


def _lines(text: _Text, indent: str) -> list[str]:
    if not text.parts or len(indent + text.line) <= WIDTH:
        return [indent + text.line]
    lines = [indent + text.before.rstrip()]
    for i, part in enumerate(text.parts, 1):
        *rest, last = _lines(part, indent + "  ")
        lines += [*rest, last + "," * (i < len(text.parts))]
    return [*lines, indent + text.after]
