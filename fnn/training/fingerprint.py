"""The fingerprint of a training: what the user chose, as text that processes and checkpoints can compare.

`fit` stores the fingerprint in every checkpoint and resumes only if its own is the same. Two fingerprints are equal
if the user made the same choices: network, loss, optimizer, their numbers, the data, the key. The module in which code
is defined and the private names inside fnn do not matter. A value is described as follows.

* Numbers, strings and containers are described by their values, arrays by dtype, shape and a hash.
* A function of fnn is described by the public function that built it and the arguments passed to that function:
  `fnn.sgd(0.5).update` is `sgd(learning_rate=0.5)`. The names of inner functions and of local variables are left out.
* A `Layer` is described by its name and the arguments of its builder, a `Loss` by its name. Functions that users
  wrote themselves are added to both.
* Any other function is described by its `__qualname__` and the values of its closure, with their names. Its module
  does not count: a script may become a module. Its code and the globals that it reads are not compared.
* Another object is described by its type; an instance of a dataclass also by its fields.
"""

import dataclasses
import enum
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from fnn.dtypes import is_key
from fnn.hashing import hash_array, sha256
from fnn.sharding.process_rows import fingerprint_rows
from fnn.sharding.rows import Examples, Rows
from fnn.training.epoch import Program
from fnn.types import Layer, Loss, PRNGKey

VERSION = 2
"""The version of this description, `identity` in a manifest. Checkpoints of version 1 do not have the entry."""

_MAX_LENGTH = 160
_PRIVATE = "_"  # the description of a private function of fnn whose closure contains nothing that the user chose

Describe = Callable[[Any], str]


def describe(value: Any) -> str:
    """Describe a value by what the user chose. The text is the same in every process; hashes replace long parts.

    >>> import fnn
    >>> describe(fnn.sgd(0.5).update)
    'sgd(learning_rate=0.5)'
    """
    return _describe(value, {}, [])


def _describe(value: Any, known: dict[int, tuple[Any, str]], open_ids: list[int]) -> str:
    """`known` holds the values described so far, and keeps them alive so that their ids stay unique."""
    if id(value) in known:
        return known[id(value)][1]
    if id(value) in open_ids:
        return "itself"
    open_ids.append(id(value))
    text = _text(value, lambda part: _describe(part, known, open_ids))
    open_ids.pop()
    text = text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH // 2]}… #{_short_hash(text)}"
    known[id(value)] = value, text
    return text


def _short_hash(text: str) -> str:
    return sha256(text.encode())[:12]


def _text(value: Any, inner: Describe) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 30 and 30.0 compute the same; optax's schedules turn one into the other when called
    if isinstance(value, enum.Enum):
        return str(value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer):
        return hash_array(value) if value.ndim or is_key(value) else inner(np.asarray(value).item())
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, Layer):
        return _named(value.name, (value.init, value.forward, value.backward, value.calibrate), inner)
    if isinstance(value, Loss):
        return _named(value.name, (value.forward, value.backward), inner)
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(inner, value))})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(f"{inner(name)}: {inner(part)}" for name, part in value.items())) + "}"
    if isinstance(value, functools.partial):
        return f"partial({inner(value.func)}, {inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__func__)} of {inner(value.__self__)}"
    if (function := _function(value)) is not None:
        return _library_function(function, inner) if _is_library(function) else _user_function(function, inner)
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return value.__qualname__
    name = type(value).__qualname__
    if not dataclasses.is_dataclass(value):
        return name
    fields = [f"{field.name}={inner(getattr(value, field.name))}" for field in dataclasses.fields(value)]
    return f"{name}({', '.join(fields)})"


def _function(value: Any) -> types.FunctionType | None:
    """The Python function that this is or that it wraps, for example with `jax.jit`; None if there is none."""
    function = value if isinstance(value, types.FunctionType) else getattr(value, "__wrapped__", None)
    return function if isinstance(function, types.FunctionType) else None


def _is_library(function: types.FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == "fnn"


def _closure(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Name and value of what a function holds besides its code: defaults and closed-over variables, without None."""
    held: dict[str, Any] = dict(function.__kwdefaults__ or {})
    held |= {f"default {i}": default for i, default in enumerate(function.__defaults__ or ())}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return ((name, part) for name, part in sorted(held.items()) if part is not None)


def _user_function(function: types.FunctionType, inner: Describe) -> str:
    parts = ", ".join(f"{name}={inner(part)}" for name, part in _closure(function))
    return function.__qualname__ + (f"({parts})" if parts else "")


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


def describe_network(layer: Layer) -> str:
    """Describe a network by the names of its layers.

    >>> import fnn
    >>> describe_network(fnn.mlp([4, 8, 3]))
    'serial(dense(4, 8), relu, dense(8, 3))'
    """
    name = layer.name or "layer"
    return f"{name}({', '.join(map(describe_network, layer.layers))})" if layer.layers else name


def describe_examples(data: Examples) -> list[str]:
    """Describe each array of the data. The text does not depend on how many devices or processes hold the rows."""
    if not isinstance(data, Rows):
        return [hash_array(part) for part in data]
    if data.arrays[0].is_fully_addressable:
        return [hash_array(part[: data.size]) for part in map(np.asarray, data.arrays)]
    return [
        f"{part.dtype} {(data.size, *part.shape[1:])} ~{fingerprint_rows(data.layout, part, data.size)}"
        for part in data.arrays
    ]


def training_fingerprint(program: Program, key: PRNGKey, data: Examples, validation: Examples | None) -> dict[str, Any]:
    """Return what must be the same if a training is to resume from a checkpoint, by name; values that JSON can hold."""
    return program_fingerprint(program) | {
        "identity": VERSION,
        "data": describe_examples(data),
        "validation": None if validation is None else describe_examples(validation),
        "key": hash_array(key),
    }


def program_fingerprint(program: Program) -> dict[str, Any]:
    """Return the part of the fingerprint that does not depend on the data or the key."""
    network, loss = program.network, program.loss
    return {
        "network": f"{describe_network(network)} #{_short_hash(describe(network))}",
        "loss": f"{loss.name} #{_short_hash(describe(loss))}",
        "optimizer": describe(program.optimizer.update),
        "metrics": describe(program.metrics),
        "l2": program.l2,
        "is_weight": describe(program.is_weight),
        "batch_size": program.batch_size,
        "patience": program.patience,
        "micro_batch_size": program.micro_batch_size,
    }
