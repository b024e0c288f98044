"""The import of the modules that a command names: by a dotted name or by a file, and a package with its submodules."""

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class NamingError(Exception):
    """A module or a function that was named does not exist. The message says which, in one sentence."""


class ImportFailedError(Exception):
    """A module raised an exception when it was imported. The message is its traceback."""


class Imported(NamedTuple):
    """Modules, and those of a package that need an absent one."""

    modules: list[ModuleType]
    absent: list[tuple[str, str]]
    """Pairs of a module that was not imported and the name of the absent module that it needs."""


def import_all(name: str) -> Imported:
    """Import a module, and all submodules of a package except `__main__`.

    Args:
      name: a dotted name, or the path of a .py file or of a package. The current folder is searched first.

    Raises:
      NamingError: if there is no such module.
      ImportFailedError: if the module, or a submodule, raises an exception. A submodule that imports a module of
        another package that is not installed is reported in `absent` instead.
    """
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _by_path(Path(name)) if name.endswith(".py") or os.sep in name or "/" in name else _by_name(name)
    found = Imported([module], [])
    _add_submodules(module, found)
    return found


def imported_names(module: ModuleType) -> set[str]:
    """Return the names in a module that an import statement binds; none if its source is not available."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return set()
    found: set[str] = set()
    for statement in _statements(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            source = "." * statement.level + (statement.module or "")
            other = sys.modules.get(importlib.util.resolve_name(source, module.__package__))
            public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
            found |= {name for name, value in public.items() if other and vars(other).get(name) is value}
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
        elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found.discard(statement.name)
        else:
            stored = [n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            found -= {name.id for name in stored}
    return found


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module in their order, also those in `if`, `try`, `with` and loops."""
    for statement in body:
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or not any(blocks):
            yield statement
            continue
        for block in (*blocks, *(handler.body for handler in getattr(statement, "handlers", []))):
            yield from _statements(block)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean …?" with the closest of the names, or "" if none is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _by_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise NamingError(f"a module must be a dotted name or the path of a .py file, got {name!r}")
    try:
        return _guarded(name, lambda: importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name != name and not name.startswith(f"{error.name}."):
            raise ImportFailedError(_trimmed(name, error)) from error
        raise NamingError(f"no module {name!r}{_hint(name)}") from None


def _by_path(path: Path) -> ModuleType:
    path = path.resolve()
    if path.is_dir():
        path /= "__init__.py"
    if not path.is_file():
        files = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise NamingError(f"no file {str(path)!r}{nearest(path.name, files)}")
    root, parts = path.parent, [] if path.name == "__init__.py" else [path.stem]
    while (root / "__init__.py").is_file():
        parts, root = [root.name, *parts], root.parent
    name = ".".join(parts)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    if name in sys.modules:
        module = sys.modules[name]
    elif all(part.isidentifier() for part in parts):
        module = _by_name(name)
    else:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise NamingError(f"{str(path)!r} is not a file of Python")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        loader = spec.loader
        try:
            _guarded(name, lambda: loader.exec_module(module))
        except BaseException:
            sys.modules.pop(name, None)  # as an import does
            raise
    if Path(getattr(module, "__file__", None) or "?").resolve() != path:
        raise NamingError(f"{str(path)!r} has the name of another module, {name!r}; rename the file")
    return module


def _add_submodules(module: ModuleType, found: Imported) -> None:
    for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
        name = f"{module.__name__}.{info.name}"
        if info.name == "__main__":
            continue
        try:
            submodule = _guarded(name, lambda name=name: importlib.import_module(name))
        except ModuleNotFoundError as error:
            if not error.name or error.name.partition(".")[0] == name.partition(".")[0]:
                raise ImportFailedError(_trimmed(name, error)) from error
            found.absent.append((name, error.name))
            continue
        found.modules.append(submodule)
        _add_submodules(submodule, found)


def _guarded(name: str, load: Callable[[], Any]) -> Any:
    """Load a module. Raises ImportFailedError for what it raises, except an absent module, which passes."""
    try:
        return load()
    except (ModuleNotFoundError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also SystemExit, of a script without a guard
        raise ImportFailedError(_trimmed(name, error)) from error


def _trimmed(name: str, error: BaseException) -> str:
    """Return the traceback of an exception at import, from the first line of the module on."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename in (__file__, importlib.__file__, *_FROZEN):
        frame = frame.tb_next
    text = "".join(traceback.format_exception(type(error), error, frame)).rstrip()
    return f"{text}\n{name} raised {type(error).__name__} when it was imported"


_FROZEN = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")


def _hint(name: str) -> str:
    """Return the closest name of a module beside a missing one, or that it is a function."""
    parent, _, last = name.rpartition(".")
    if not parent:
        return nearest(name, [info.name for info in pkgutil.iter_modules()])
    try:
        module = importlib.import_module(parent)
    except Exception:
        return _hint(parent)
    if hasattr(module, last):
        return f"; did you mean '{parent}:{last}'?"
    beside = [f"{parent}.{info.name}" for info in pkgutil.iter_modules(getattr(module, "__path__", []))]
    return nearest(name, [*beside, *(f"{parent}:{each}" for each in vars(module) if not each.startswith("_"))])
