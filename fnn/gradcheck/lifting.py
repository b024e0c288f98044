"""Lifting to float64 of the arrays that a function closes over, together with its arguments.

A cost usually closes over its data: `cost = lambda params: loss(params, x, y)`. If only `params` were float64, each
operation on `x` alone would still round to float32, and a cast to the dtype of `x` would round the parameters too.

`lift` follows closures, default arguments, the globals that a function's code names, `functools.partial`, methods and
the attributes of their objects, tuples, lists, dicts, deques, and functions made with `jax.jit`, `jax.custom_vjp`,
`jax.custom_jvp` and `functools.lru_cache`. It copies only what leads to an array and changes nothing in place. What it
does not follow, such as the objects of libraries in C, keeps its dtypes; the report then names the cast that sets the
tolerance.
"""

import copy
import dis
import functools
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

LIBRARIES = {"jax", "jaxlib", "numpy", "fnn", *sys.stdlib_module_names} - {"__main__"}
"""Top-level packages whose globals and objects hold none of the user's data."""
MOST = 20_000
"""The number of objects after which the search stops; arrays beyond them keep their dtype."""


def lift(values: tuple) -> tuple:
    """Return functions as they would be if the arrays they close over were float64. Others are returned themselves.

    If an object on the way cannot be examined or copied, all are returned themselves.
    """
    try:
        return _lifted(values)
    except Exception:  # raised by code of the objects, such as a `__getattr__`
        return values


def _lifted(values: tuple) -> tuple:
    found = _search(values)
    lifted = {key: _lifted_array(value) for key, (value, _) in found.items() if _narrow(value)}
    parents: dict[int, list[int]] = {}
    for key, (_, parts) in found.items():
        for part in parts.values():
            parents.setdefault(id(part), []).append(key)
    changed, queue = set(lifted), list(lifted)
    while queue:
        for parent in parents.get(queue.pop(), []):
            if parent not in changed:
                changed.add(parent)
                queue.append(parent)

    def renew(value):
        """Return the lifted copy of an object; the object itself if it leads to no array."""
        key = id(value)
        if key in lifted or key not in changed:
            return lifted.get(key, value)
        value, parts = found[key]
        new, fill = _copy(value, {slot for slot, part in parts.items() if id(part) in changed})
        if new is not None:
            lifted[key] = new  # before its parts, which may refer to it
        lifted[key] = fill({slot: renew(part) for slot, part in parts.items()}) or new
        return lifted[key]

    return tuple(map(renew, values))


def _search(values: tuple) -> dict[int, tuple[Any, dict]]:
    """Return each object that the values lead to, by its id, with its parts."""
    found: dict[int, tuple[Any, dict]] = {}
    queue = list(values)
    while queue and len(found) < MOST:
        value = queue.pop()
        if id(value) not in found:
            found[id(value)] = (value, {} if _narrow(value) else _parts(value))
            queue += found[id(value)][1].values()
    return found


def _narrow(value) -> bool:
    """Return True for a floating-point or complex array that is narrower than float64 or complex128."""
    if isinstance(value, Tracer) or not isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return False
    return jnp.issubdtype(value.dtype, np.inexact) and value.dtype.itemsize < _wide(value).itemsize


def _wide(value) -> np.dtype:
    return np.dtype(np.complex128 if jnp.issubdtype(value.dtype, np.complexfloating) else np.float64)


def _lifted_array(value):
    return jnp.asarray(value, _wide(value)) if isinstance(value, jax.Array) else value.astype(_wide(value))


def _parts(value) -> dict[Any, Any]:
    """Return the parts of an object that may lead to arrays, by the place that holds them."""
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if isinstance(value, types.MethodType):
        return {"function": value.__func__, "self": value.__self__}
    if isinstance(value, functools.partial):
        return {"function": value.func, "args": value.args, "keywords": value.keywords}
    if _is_jitted(value) or _is_cached(value):
        return {"function": value.__wrapped__}
    if type(value) in (list, tuple, deque) or _is_namedtuple(value):
        return dict(enumerate(value))
    if isinstance(value, types.ModuleType | type):
        return {}
    items = {("item", key): part for key, part in value.items()} if isinstance(value, dict) else {}
    if isinstance(value, jax.custom_vjp | jax.custom_jvp) or not _in_library(type(value).__module__):
        return items | _attributes(value)
    return items


def _attributes(value) -> dict[Any, Any]:
    """Return the attributes of an object, those in slots too; none if it is not a plain object of Python."""
    try:
        _blank(value)
    except Exception:  # a class in C has a `__new__` of its own
        return {}
    held = {("attribute", name): part for name, part in getattr(value, "__dict__", {}).items()}
    for base in type(value).__mro__:
        for name, slot in vars(base).items():
            if isinstance(slot, types.MemberDescriptorType) and hasattr(value, slot.__name__):
                held["slot", name] = slot.__get__(value)
    return held


def _blank(value) -> Any:
    """Return another object of the same class; of a dict, a shallow copy, which keeps a default factory."""
    return copy.copy(value) if isinstance(value, dict) else object.__new__(type(value))


def _parts_of_function(function: types.FunctionType) -> dict[Any, Any]:
    parts = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            parts["cell", name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    parts |= {("default", n): v for n, v in enumerate(function.__defaults__ or ())}
    parts |= {("keyword", name): v for name, v in (function.__kwdefaults__ or {}).items()}
    if _of_user(function.__module__, function.__code__.co_filename):
        names, scope = _names(function.__code__), function.__globals__
        for name in names & scope.keys():
            if not isinstance(scope[name], types.ModuleType):
                parts["global", name] = scope[name]
            elif _of_user(name, getattr(scope[name], "__file__", None) or "site-packages"):
                held = vars(scope[name])
                parts |= {("module", name, attribute): held[attribute] for attribute in names & held.keys()}
    return parts


def _of_user(module: str | None, file: str) -> bool:
    return not _in_library(module) and "site-packages" not in file


def _in_library(module: str | None) -> bool:
    return (module or "").split(".")[0] in LIBRARIES


def _is_namedtuple(value) -> bool:
    return isinstance(value, tuple) and hasattr(type(value), "_make")


def _is_jitted(value) -> bool:
    return hasattr(value, "lower") and callable(getattr(value, "__wrapped__", None))


def _is_cached(value) -> bool:
    return hasattr(value, "cache_parameters") and callable(getattr(value, "__wrapped__", None))


def _names(code: types.CodeType) -> set[str]:
    """Return the globals and attributes that a code and the functions within it read; none if it assigns globals."""
    instructions = list(dis.get_instructions(code))
    if any(i.opname == "STORE_GLOBAL" for i in instructions):
        return set()
    return set(code.co_names).union(*[_names(part) for part in code.co_consts if isinstance(part, types.CodeType)])


def _copy(value, changed: set) -> tuple[Any, Callable[[dict], Any]]:
    """Return an unfilled copy of an object and a function that fills it, or None and a function that makes the copy."""
    if isinstance(value, types.FunctionType):
        return _copy_function(value, changed)
    if isinstance(value, types.MethodType):
        return None, lambda parts: types.MethodType(parts["function"], parts["self"])
    if isinstance(value, functools.partial):
        return None, lambda parts: functools.partial(parts["function"], *parts["args"], **parts["keywords"])
    if _is_jitted(value):
        return None, lambda parts: parts["function"]  # compiled by the check itself
    if _is_cached(value):
        return None, lambda parts: functools.lru_cache(**value.cache_parameters())(parts["function"])
    if isinstance(value, tuple):
        make = getattr(type(value), "_make", tuple)
        return None, lambda parts: make(parts.values())
    if type(value) in (list, deque):
        filled = [] if type(value) is list else deque(maxlen=value.maxlen)
        return filled, lambda parts: filled.extend(parts.values())
    new = _blank(value)

    def fill(parts: dict) -> None:
        for (kind, name), part in parts.items():
            if kind == "item":
                new[name] = part
            elif kind == "attribute":
                vars(new)[name] = part
            else:
                object.__setattr__(new, name, part)  # also of a frozen dataclass

    return new, fill


def _copy_function(function: types.FunctionType, changed: set) -> tuple[types.FunctionType, Callable[[dict], None]]:
    """Return a copy of a function. It shares the cells and globals that do not change, so `nonlocal` still works."""
    names, old = function.__code__.co_freevars, function.__closure__ or ()
    cells = [types.CellType() if ("cell", n) in changed else cell for n, cell in zip(names, old, strict=True)]
    own_globals = any(slot[0] in ("global", "module") for slot in changed)
    scope = dict(function.__globals__) if own_globals else function.__globals__
    new = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, tuple(cells))
    new.__dict__.update(function.__dict__)
    new.__qualname__, new.__module__, new.__doc__ = function.__qualname__, function.__module__, function.__doc__
    keywords = new.__kwdefaults__ = dict(function.__kwdefaults__ or {})

    def fill(parts: dict) -> None:
        for slot in changed:
            kind, name, part = slot[0], slot[1], parts[slot]
            if kind == "cell":
                cells[names.index(name)].cell_contents = part
            elif kind == "global":
                scope[name] = part
            elif kind == "module":
                module = scope[name]
                if module is function.__globals__[name]:
                    scope[name] = types.ModuleType(module.__name__)
                    vars(scope[name]).update(vars(module))
                setattr(scope[name], slot[2], part)
        if new.__defaults__:
            new.__defaults__ = tuple(parts["default", n] for n in range(len(new.__defaults__)))
        keywords.update({name: parts["keyword", name] for name in keywords})

    return new, fill
