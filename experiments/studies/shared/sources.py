"""Fingerprint of a study's code: its file, the experiments it imports, fnn."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import fnn

ROOT = Path(__file__).parents[3]


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring(path: Path) -> str:
    """Return the docstring of a Python file without importing the file."""
    return ast.get_docstring(parse(path)) or ""


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield every imported name that may be a module, including imports inside functions.

    >>> list(imported_names(ast.parse("import os\\nfrom experiments.errors import usage")))
    ['os', 'experiments.errors', 'experiments.errors.usage']
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dependencies(path: Path) -> set[Path]:
    """Return this file and every file of `experiments` that it imports, directly or indirectly.

    study.py is left out: it imports every kind of data set and report, but computes none of the numbers.
    """
    found, waiting = set(), [path]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file() or path == Path(__file__).with_name("study.py"):
            continue
        found.add(path)
        names = [name for name in imported_names(parse(path)) if name.startswith("experiments.")]
        waiting += [ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names]
    return found


@functools.cache
def code_digest(path: Path) -> bytes:
    """Return a digest of the file's code.

    Comments, docstrings and layout do not change it.
    """
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
    """Return a digest of all code that the study's numbers depend on.

    Data and versions are not part of it.
    """
    files = {*dependencies(path), *Path(fnn.__file__).parent.rglob("*.py")}
    return hashlib.sha256(b"".join(map(code_digest, sorted(files)))).hexdigest()[:16]
