"""What code that users wrote depends on besides its arguments: the globals that it reads, and attributes of classes."""

import argparse
import dataclasses
import dis
import functools
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MAKING = ("__init__", "__new__", "__del__", "__repr__", "__str__", "__setattr__", "__delattr__", "__replace__")
_MAKING += ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__annotate__")
_MAKING += ("__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")
_DATA = argparse.Namespace | types.SimpleNamespace  # objects that only hold attributes


@functools.cache
def _installed_folders() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")})


def is_users(value: Any) -> bool:
    """Return True for a function, a class or a module of the user, False for those of fnn and installed packages.

    >>> is_users(is_users), is_users(Path), is_users(lambda: 0)
    (False, False, False)
    """
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None) or ""
    package = name.partition(".")[0]
    if package == "fnn" or (package in sys.stdlib_module_names and package != "__main__"):
        return False
    module = sys.modules.get(package)
    if package == "__main__" or module is None:
        return True
    places = [getattr(module, "__file__", None) or "", *map(str, getattr(module, "__path__", ()))]
    parents = {parent for place in places if place for parent in Path(place).resolve().parents}
    return parents.isdisjoint(_installed_folders())


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """This code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def globals_read(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Name and value of the globals that a user's function reads, sorted; without modules, and without None.

    Of a module of the user's and of an object that only holds data, such as parsed arguments, the attributes that the
    function reads are listed instead. Functions and classes of installed packages are left out.
    """
    if not is_users(function):
        return []
    codes = list(_codes(function.__code__))
    loaded = {
        step.argval
        for code in codes
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    attributes = {name for code in codes for name in code.co_names}
    found: dict[str, Any] = {}
    for name in loaded & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType) or _only_holds_data(value):
            if not isinstance(value, types.ModuleType) or is_users(value):
                found |= {f"{name}.{part}": getattr(value, part) for part in attributes if hasattr(value, part)}
        else:
            found[name] = value
    return [
        (name, value) for name, value in sorted(found.items()) if value is not None and not _is_code_of_others(value)
    ]


def _only_holds_data(value: Any) -> bool:
    return isinstance(value, _DATA) or (dataclasses.is_dataclass(value) and not callable(value))


def _is_code_of_others(value: Any) -> bool:
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return True
    return isinstance(value, types.FunctionType | type) and not is_users(value)


def class_attributes(kind: type) -> Iterator[tuple[str, Any]]:
    """Name and value of the attributes of a user's class and of the user's classes that it inherits from.

    Functions are among them, but not the special methods that make, compare, show and copy objects.
    """
    seen: set[str] = set()
    for parent in kind.__mro__:
        for name, value in vars(parent).items() if is_users(parent) else ():
            value = getattr(value, "__func__", getattr(value, "fget", value))  # of a static method or a property
            value = value.func if isinstance(value, functools.cached_property) else value
            special = name.startswith("__") and (name in _MAKING or not isinstance(value, types.FunctionType))
            special = special or name == "_abc_impl"
            if not special and name not in seen and not isinstance(value, types.MemberDescriptorType):
                seen.add(name)
                yield name, value


def describe_code(function: types.FunctionType) -> str:
    """The code of a function as text, the same in every process of one version of Python; without comments."""
    texts = []
    for code in _codes(function.__code__):
        constants = [constant for constant in code.co_consts if not isinstance(constant, types.CodeType)]
        documentation = function.__doc__ if code is function.__code__ else None
        values = [constant for constant in constants if constant is not documentation]
        values = [sorted(map(repr, value)) if isinstance(value, frozenset) else value for value in values]
        texts.append(f"{code.co_code.hex()} {code.co_names} {values!r}")
    return "\n".join(texts)
