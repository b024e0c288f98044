"""Write the pages of the API: `python -m experiments.api_pages [FOLDER]`, by default results/api.

pdoc makes them of the docstrings (`pip install pdoc`). Open index.html. The exit code is 1 if there is a warning: of
pdoc, for example of an annotation that cannot be resolved, or of a docstring that Markdown would show wrong.
"""

import ast
import importlib
import importlib.util
import inspect
import itertools
import pkgutil
import re
import sys
import types
import typing
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fnn

_MORE = ("layers", "losses", "optimizers", "training", "types")  # pages besides those of the public modules
# as wide as 120 columns of code
_STYLE = "@media (min-width: 770px) { main, header { width: calc(68rem + var(--sidebar-width)) } }"
_WITH_PARTS = ("layers",)  # packages whose modules have pages of their own, where each formula stands


def main(folder: Path) -> int:
    """Write the pages into a folder. Return the exit code."""
    from pdoc import render

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        modules = [*_modules()]
        described = _described(modules)
        pages = {module.__name__: _page(module, described) for module in modules}
        for name, page in pages.items():
            _warn_of_lists(page)
            page.submodules = [inner for other, inner in pages.items() if other.rpartition(".")[0] == name]
        _write(folder / "style" / "custom.css", _STYLE)
        footer = f"fnn {fnn.__version__}"
        render.configure(docformat="google", footer_text=footer, template_directory=folder / "style")
        for name, page in pages.items():
            _write(folder / f"{name.replace('.', '/')}.html", render.html_module(page, pages))
        _write(folder / "index.html", render.html_index(pages))
        _write(folder / "search.js", render.search_index(pages))
    for warning in found:
        print(f"{warning.filename}:{warning.lineno}: {warning.category.__name__}: {warning.message}", file=sys.stderr)
    print(f"{folder / 'index.html'}: {len(pages)} pages, {len(found)} warnings")
    return 1 if found else 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _modules() -> Iterator[types.ModuleType]:
    """Yield the modules that have a page: fnn, its public modules also where they are imported when used, and more."""
    yield fnn
    public = {name for name in dir(fnn) if importlib.util.find_spec(f"fnn.{name}") is not None}
    for name in sorted(public.union(_MORE)):
        module = importlib.import_module(f"fnn.{name}")
        yield module
        if name in _WITH_PARTS:
            for part in pkgutil.walk_packages(module.__path__, f"{module.__name__}."):
                yield importlib.import_module(part.name)


def _members(module: types.ModuleType) -> list[str]:
    """Return the public names of a module: its `__all__`, or what it defines or imports `as` itself."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not inspect.ismodule(getattr(module, name, None))]
    names: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom):
            names += [alias.name for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in dict.fromkeys(names) if not name.startswith("_") and name not in _foreign(module)]


def _foreign(module: types.ModuleType) -> set[str]:
    """Return the names of modules, and of objects of other libraries that have no text here, such as type variables."""
    return {
        name for name, value in vars(module).items() if inspect.ismodule(value) or isinstance(value, typing.TypeVar)
    }


def _described(modules: list[types.ModuleType]) -> dict[int, str]:
    """Return the texts under the variables of all modules, such as `fnn.relu`, by the id of their value."""
    import pdoc.doc

    texts = {}
    for module in [m for name, m in sorted(sys.modules.items()) if name.split(".")[0] == "fnn"] + modules:
        for name, text in pdoc.doc.Module(module)._var_docstrings.items():
            texts[id(getattr(module, name, None))] = text
    return texts


def _page(module: types.ModuleType, described: dict[int, str]) -> Any:
    """Return pdoc's record of a module with its public names."""
    import pdoc.doc

    page = pdoc.doc.Module(module)
    names = _members(module)
    for name in names:
        value = getattr(module, name)
        if id(value) in described:
            page._var_docstrings.setdefault(name, described[id(value)])
        if inspect.isclass(value) and hasattr(value, "_fields"):
            _mend_record(value)
    page._member_objects = {name: getattr(module, name) for name in names}
    return page


def _mend_record(record: Any) -> None:
    """Remove "Alias for field number 0" and the like, and let a constructor know the names of its own module."""
    record.__new__.__annotations__ = typing.get_type_hints(record)
    record.__new__.__doc__ = ""
    for field in record._fields:
        getattr(record, field).__doc__ = ""


def _warn_of_lists(page: Any) -> None:
    """Warn of sentences of which Markdown makes a list, because a line begins with a number and a full stop."""
    for text in {page.docstring, *(member.docstring for member in page.flattened_own_members)}:
        for before, line in itertools.pairwise(text.splitlines()):
            if re.match(r"\s*\d+\. ", line) and re.match(r"\s*[^\s\d>]", before) and not before.startswith("   "):
                warnings.warn(f"{page.fullname}: begin this line of a docstring with a word: {line!r}", stacklevel=1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "results/api")))
