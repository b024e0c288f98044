"""Describe a value by what the user chose, as text that processes and checkpoints can compare.

The module in which code is defined and the private names inside fnn do not matter.

* Numbers, strings and containers are described by their values, arrays by dtype, shape and a hash.
* A function of fnn is described by the public function that built it and the arguments passed to that function:
  `fnn.sgd(0.5).update` is `sgd(learning_rate=0.5)`. The names of inner functions and of local variables are left out.
* A `Layer` is described by its name and the arguments of its builder, a `Loss` by its name. Functions that users
  wrote themselves are added to both.
* Any other function is described by its `__qualname__`, its defaults and attributes, and the values of its closure,
  with their names. Functions that users wrote are described by the values of the globals that they read, too. The
  module does not count: a script may become a module. Code is compared only if `with_code` is True.
* A bound method is described by its function and its object, an object by its type and its state: what pickle would
  write (its attributes, if pickle cannot), and for classes that users wrote the attributes of the class. Of an object
  of another class that cannot be pickled (a lock, a file), only the type is known.
"""

import enum
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from fnn.dtypes import is_key
from fnn.hashing import hash_array, sha256
from fnn.training import object_state, user_code
from fnn.types import Layer, Loss

_MAX_LENGTH = 160
_MAX_DEPTH = 100  # a longer chain of objects, such as a linked list, is described by its types from there on
_PRIVATE = "_"  # the description of a private function of fnn whose closure contains nothing that the user chose

Describe = Callable[[Any], str]


class _Context(NamedTuple):
    """What one description knows.

    Attributes:
      known: the values described so far and their texts, by id. They are kept alive so that their ids stay unique.
      open_ids: the ids of the values that hold the value to describe, outermost first.
      with_code: whether the code of users' functions counts.
    """

    known: dict[int, tuple[Any, str]]
    open_ids: list[int]
    with_code: bool


def describe(value: Any, *, with_code: bool = False) -> str:
    """Describe a value by what the user chose. The text is the same in every process; hashes replace long parts.

    >>> import fnn
    >>> describe(fnn.sgd(0.5).update)
    'sgd(learning_rate=0.5)'
    """
    return _describe(value, _Context({}, [], with_code))


def _describe(value: Any, context: _Context) -> str:
    if id(value) in context.known:
        return context.known[id(value)][1]
    if id(value) in context.open_ids:
        return "itself"
    if len(context.open_ids) > _MAX_DEPTH:
        return type(value).__qualname__
    context.open_ids.append(id(value))
    text = _text(value, lambda part: _describe(part, context), context.with_code)
    context.open_ids.pop()
    text = text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH // 2]}… #{short_hash(text)}"
    context.known[id(value)] = value, text
    return text


def short_hash(text: str) -> str:
    """The first 12 digits of the SHA-256 of a text."""
    return sha256(text.encode(errors="backslashreplace"))[:12]


def _text(value: Any, inner: Describe, with_code: bool) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer() and repr(value) != "-0.0":
        value = int(value)  # 30 and 30.0 compute the same; optax's schedules turn one into the other when called
    if isinstance(value, enum.Enum):
        return str(value) + (f"={inner(value.value)}" if user_code.is_users(type(value)) else "")
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer):
        return _array(value, inner)
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, Layer):
        return _named(value.name, (value.init, value.forward, value.backward, value.calibrate), inner)
    if isinstance(value, Loss):
        return _named(value.name, (value.forward, value.backward), inner)
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join([*map(inner, value), *_extra_parts(value, inner)])})"
    if isinstance(value, Set):
        return f"{type(value).__name__}({', '.join([*sorted(map(inner, value)), *_extra_parts(value, inner)])})"
    if isinstance(value, Mapping):
        items = sorted(f"{inner(name)}: {inner(part)}" for name, part in value.items())
        return "{" + ", ".join([*items, *_extra_parts(value, inner)]) + "}"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__func__)} of {inner(value.__self__)}"
    rules = _listed([inner(rule) for rule in object_state.derivative_rules(value) if user_code.is_users(rule)])
    if (function := _function(value)) is not None:
        library = _is_library(function)
        return (_library_function(function, inner) if library else _user_function(function, inner, with_code)) + rules
    if (wrapped := object_state.wrapped(value)) is not value:
        return inner(wrapped) + rules
    if isinstance(value, types.ModuleType | Tracer):
        return type(value).__qualname__
    if isinstance(value, type):
        return value.__qualname__ + _listed(_class_parts(value, inner))
    if hasattr(value, "__qualname__") and "__qualname__" not in getattr(value, "__dict__", {}):
        owner = getattr(value, "__self__", None)  # of a method that is written in C
        bound = owner is not None and not isinstance(owner, types.ModuleType)
        return value.__qualname__ + (f" of {inner(owner)}" if bound else "")
    return type(value).__qualname__ + _listed([*_class_parts(type(value), inner), *_state_parts(value, inner)])


def _listed(parts: list[str]) -> str:
    return f"({', '.join(parts)})" if parts else ""


def _class_parts(kind: type, inner: Describe) -> list[str]:
    """The attributes of a class that a user wrote, as far as they are data or functions that hold some."""
    parts = []
    for name, value in user_code.class_attributes(kind):
        function = _function(value)
        text = inner(value)
        if function is None or text != function.__qualname__:
            parts.append(f"{name}={text}")
    return sorted(parts)


def _state_parts(value: Any, inner: Describe) -> list[str]:
    """The parts of an object's state; those of its attributes with their names."""
    return [f"{name}={inner(part)}" if name else inner(part) for name, part in object_state.parts(value)]


def _extra_parts(value: Any, inner: Describe) -> list[str]:
    """What a container holds besides its items: the default of a defaultdict, attributes that a user's class adds."""
    default, kind = getattr(value, "default_factory", None), type(value)
    parts = [] if default is None else [f"default={inner(default)}"]
    if user_code.is_users(kind) and not hasattr(kind, "_fields"):  # the fields of a NamedTuple are its items
        parts += _class_parts(kind, inner)
        parts += [f"{name}={inner(part)}" for name, part in object_state.attributes(value)]
    return parts


def _array(value: np.ndarray | jax.Array, inner: Describe) -> str:
    if isinstance(value, np.ma.MaskedArray):
        return f"{inner(value.filled())} masked {inner(np.ma.getmaskarray(value))}"
    if isinstance(value, np.ndarray) and value.dtype.hasobject:  # its bytes are addresses
        return f"object {value.shape} {inner(value.tolist())}"
    return hash_array(value) if value.ndim or is_key(value) else inner(np.asarray(value).item())


def _function(value: Any) -> types.FunctionType | None:
    """The Python function that this is or that it wraps, for example with `jax.jit`; None if there is none."""
    function = value if isinstance(value, types.FunctionType) else object_state.wrapped(value)
    return function if isinstance(function, types.FunctionType) else None


def _is_library(function: types.FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == "fnn"


def _closure(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Name and value of what a function holds besides its code: defaults and closed-over variables, without None."""
    held: dict[str, Any] = dict(function.__kwdefaults__ or {})
    held |= {f"default {i}": default for i, default in enumerate(function.__defaults__ or ())}
    held |= {f"attribute {name}": value for name, value in vars(function).items() if not name.startswith("__")}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return ((name, part) for name, part in sorted(held.items()) if part is not None)


def _user_function(function: types.FunctionType, inner: Describe, with_code: bool) -> str:
    parts = [f"{name}={inner(part)}" for name, part in _closure(function)]
    for name, part in user_code.globals_read(function):
        text, called = inner(part), _function(part)
        if called is None or with_code or text != called.__qualname__:
            parts.append(f"global {name}={text}")
    code = f" #{short_hash(user_code.describe_code(function))}" if with_code and user_code.is_users(function) else ""
    return function.__qualname__ + code + _listed(parts)


def _builder(function: types.FunctionType) -> str:
    """The name of the outermost function that a function was defined in, its own if there is none."""
    return function.__qualname__.partition(".<locals>")[0]


def _library_function(function: types.FunctionType, inner: Describe) -> str:
    """`builder(argument=value, …)`; without the builder's name if that is private."""
    builder = _builder(function)
    public = "" if builder.startswith("_") else builder
    parts = ", ".join(sorted(_choices(function, inner, set())))
    return f"{public}({parts})" if parts else public or _PRIVATE


def _choices(function: types.FunctionType, inner: Describe, visited: set[int]) -> set[str]:
    """Return the user's choices that a function of fnn has in its closure: `name=value` for arguments of its builder,
    `value` for others. Closures of nested functions of the same builder are searched too, so the result does not
    depend on how the builder is divided into functions.
    """
    if "<locals>" not in function.__qualname__:
        return set()  # defaults of a function of the module are fnn's choice
    visited.add(id(function))
    builder, choices = function.__globals__.get(_builder(function)), set()
    arguments = inspect.signature(builder).parameters if callable(builder) else {}
    for name, value in _closure(function):
        nested = _function(value)
        if nested is not None and name not in arguments and _builder(nested) == _builder(function):
            choices |= set() if id(nested) in visited else _choices(nested, inner, visited)
        elif (text := inner(value)) != _PRIVATE:
            choices.add(f"{name}={text}" if name in arguments else text)
    return choices


def _named(name: str, functions: tuple[Callable | None, ...], inner: Describe) -> str:
    """A Layer or a Loss: its name, the choices that its functions hold, and the functions that are not fnn's."""
    parts: set[str] = set()
    for value in functions:
        function = _function(value)
        if function is not None and _is_library(function):
            parts |= _choices(function, inner, set())
        elif value is not None:
            parts.add(inner(value))
    return f"{name}({', '.join(sorted(parts))})" if parts else name
