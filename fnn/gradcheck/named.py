"""The cases that a command line names, as MODULE or MODULE:function."""

from collections.abc import Sequence
from typing import NamedTuple

from fnn.gradcheck.discover import Case, case_named, cases_in
from fnn.gradcheck.importing import NamingError, import_all


class Named(NamedTuple):
    """Cases, and submodules that need a module that is not installed."""

    cases: list[Case]
    absent: list[tuple[str, str]]
    """Pairs of a submodule and of the module that it needs."""


def named(names: Sequence[str]) -> Named:
    """Import modules and return the cases of their functions, each once.

    Raises:
      NamingError: if a module or a function does not exist, or the modules have no function to check.
      ImportFailedError: if a module raises an exception.
    """
    found, known = Named([], []), set()
    for name in names:
        module, _, function = name.rpartition(":") if _has_function(name) else (name, "", "")
        imported = import_all(module)
        if function:
            cases = case_named(imported.modules[0], function)
        else:
            cases = [case for each in imported.modules for case in cases_in(each)]
            found.absent.extend(imported.absent)
        found.cases.extend(case for case in cases if case.label not in known)
        known.update(case.label for case in cases)
    if not found.cases:
        what = "custom_vjp, custom_jvp, layer, loss or function with an example"
        raise NamingError(f"no {what} in {', '.join(names)}")
    return found


def _has_function(name: str) -> bool:
    """Return whether a colon separates a function, and not the drive of a path on Windows."""
    _, colon, function = name.rpartition(":")
    return bool(colon) and not {"/", "\\"} & set(function)
