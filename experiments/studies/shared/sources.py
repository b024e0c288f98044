"""What a study's numbers come from: its own file, what it imports of the experiments, and the whole of fnn."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import fnn

ROOT = Path(__file__).parents[3]


def parse(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring(path: Path) -> str:
    """The docstring of a Python file, without importing it; its first line is the title."""
    return ast.get_docstring(parse(path)) or ""


def imported(tree: ast.Module) -> Iterator[str]:
    """Names that may be modules: of every import, wherever it stands.

    >>> list(imported(ast.parse("import os\\nfrom experiments.errors import usage")))
    ['os', 'experiments.errors', 'experiments.errors.usage']
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def used(path: Path) -> set[Path]:
    """The file itself and the files of experiments that it imports, those that they import, and so on.

    study.py, which knows every kind of data and reports, is left out: it makes no numbers.
    """
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file() or path == Path(__file__).with_name("study.py"):
            continue
        found.add(path)
        names = [name for name in imported(parse(path)) if name.startswith("experiments.")]
        waiting += [ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names]
    return found


@functools.cache
def code(path: Path) -> bytes:
    """A digest of what the file does: comments, docstrings and its layout change nothing."""
    tree = parse(path)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:]  # pyright: ignore[reportAttributeAccessIssue]
    return hashlib.sha256(ast.dump(tree).encode()).digest()


def fingerprint(path: Path) -> str:
    """Of everything that the numbers of a study in this file depend on, but the data and the versions."""
    files = {*used(path), *Path(fnn.__file__).parent.rglob("*.py")}
    return hashlib.sha256(b"".join(map(code, sorted(files)))).hexdigest()[:16]
