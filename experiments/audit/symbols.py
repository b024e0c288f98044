"""The Python code of a call, found by calling it with symbols instead of arrays.

>>> text(lambda f, a, b: f(a, b=b)[0], Symbol("f"), Symbol("x"), Symbol("y")).code
'f(x, b=y)[0]'
"""

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SHORT = {"jax.numpy": "jnp", "numpy": "np"}
"""The usual names of modules."""


class Symbol:
    """An expression. Operations on it make longer expressions."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __call__(self, *args: Any, **keywords: Any) -> "Symbol":
        parts = [show(arg) for arg in args] + [f"{name}={show(value)}" for name, value in keywords.items()]
        return Symbol(f"{self.code}({', '.join(parts)})")

    def __getattr__(self, name: str) -> "Symbol":
        if name.startswith("__"):
            raise AttributeError(name)
        return Symbol(f"{self.code}.{name}")

    def __getitem__(self, key: Any) -> "Symbol":
        if isinstance(key, tuple):
            return Symbol(f"{self.code}[{', '.join(map(_index, key))}]")
        return Symbol(f"{self.code}[{_index(key)}]")

    def __iter__(self) -> Any:
        raise TypeError("a symbol has no known length")

    def __bool__(self) -> bool:
        raise TypeError("a symbol has no truth value")

    def __neg__(self) -> "Symbol":
        return Symbol(f"-({self.code})")


def _binary(sign: str, swapped: bool) -> Callable[[Symbol, Any], Symbol]:
    def operation(self: Symbol, other: Any) -> Symbol:
        left, right = (show(other), self.code) if swapped else (self.code, show(other))
        return Symbol(f"({left} {sign} {right})")

    return operation


for _name, _sign in {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "matmul": "@",
    "pow": "**",
    "mod": "%",
}.items():
    setattr(Symbol, f"__{_name}__", _binary(_sign, swapped=False))
    setattr(Symbol, f"__r{_name}__", _binary(_sign, swapped=True))


class Text(NamedTuple):
    """The code of a call, and the modules that it names."""

    code: str
    modules: tuple[str, ...]


def text(call: Callable, *args: Any, **options: Any) -> Text:
    """Return the code of call(*args, **options), where modules and functions of this package are followed.

    Raises TypeError if the call computes something that symbols cannot, such as a loop over an array.
    """
    modules: list[str] = []
    result = _followed(call, modules)(*args, **options)
    return Text(show(result), tuple(dict.fromkeys(modules)))


def _followed(function: Any, modules: list[str]) -> Any:
    """Return a function in which modules are symbols, and so in the functions of this package that it calls."""
    if isinstance(function, functools.partial):
        return functools.partial(_followed(function.func, modules), *function.args, **function.keywords)
    if not isinstance(function, types.FunctionType) or not _own(function):
        return function
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    renewed = dict(function.__globals__)
    for name in names & renewed.keys():
        value = renewed[name]
        if isinstance(value, types.ModuleType):
            renewed[name] = _module(value, modules)
        elif isinstance(value, types.FunctionType) and _own(value) and value is not function:
            renewed[name] = _followed(value, modules)
    closure = tuple(_cell(cell, modules) for cell in function.__closure__ or ()) or None
    new = types.FunctionType(function.__code__, renewed, function.__name__, function.__defaults__, closure)
    new.__kwdefaults__ = function.__kwdefaults__
    return new


def _cell(cell: types.CellType, modules: list[str]) -> types.CellType:
    return types.CellType(_followed(cell.cell_contents, modules))


def _own(function: types.FunctionType) -> bool:
    return function.__module__.partition(".")[0] in ("experiments", "tests")


def _codes(code: types.CodeType) -> list[types.CodeType]:
    return [code, *(inner for c in code.co_consts if isinstance(c, types.CodeType) for inner in _codes(c))]


def _module(module: types.ModuleType, modules: list[str]) -> Symbol:
    modules.append(module.__name__)
    return Symbol(SHORT.get(module.__name__, module.__name__))


def show(value: Any) -> str:
    """Return the code of a value. Raises TypeError for an object without one.

    >>> show((1, np.array([0.5, 1.0]), {"axis": None}))
    "(1, jnp.array([0.5, 1.0]), {'axis': None})"
    """
    if isinstance(value, Symbol):
        return value.code
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        parts = ", ".join(map(show, value))
        return f"[{parts}]" if isinstance(value, list) else f"({parts}{',' if len(value) == 1 else ''})"
    if isinstance(value, slice):
        return f"slice({show(value.start)}, {show(value.stop)}, {show(value.step)})"
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"jax.random.key({int(np.asarray(jax.random.key_data(value)).ravel()[-1])})"
    if isinstance(value, np.ndarray | jax.Array | np.generic):
        return _array(np.asarray(value))
    if value is None or isinstance(value, bool | int | float | complex | str) or value is Ellipsis:
        return "..." if value is Ellipsis else _number(value)
    if isinstance(value, types.FunctionType) and _own(value):
        return _lambda(value)
    path = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    if path.strip(".") and "<" not in path and callable(value):
        return _public(path, value)
    raise TypeError(f"no code for {type(value).__name__}")


def _number(value: Any) -> str:
    if isinstance(value, float) and not np.isfinite(value):
        return {"nan": "jnp.nan", "inf": "jnp.inf", "-inf": "-jnp.inf"}[repr(value)]
    return repr(value)


def _array(value: np.ndarray) -> str:
    """Return the code of an array with the exact values of its entries."""
    nested = lambda v: [nested(part) for part in v] if isinstance(v, list) else Symbol(_number(v))
    plain = value.dtype in (np.float64, np.int64, np.bool_, np.complex128, np.int32)
    dtype = "" if plain else f", '{value.dtype}'"
    return f"jnp.array({show(nested(value.tolist()))}{dtype})"


def _lambda(function: Callable) -> str:
    names = list(inspect.signature(function).parameters)
    body = show(_followed(function, [])(*map(Symbol, names)))
    return f"lambda {', '.join(names)}: {body}"


def _public(path: str, value: Any) -> str:
    """Return the shortest dotted path of an object in the public modules that are loaded."""
    top, _, name = path.partition(".")[0], None, path.rpartition(".")[2]
    found = [
        module
        for module in list(sys.modules)
        if module.partition(".")[0] == top and not any(part.startswith("_") for part in module.split("."))
        if sys.modules[module].__dict__.get(name) is value
    ]
    if not found:
        raise TypeError(f"no public path for {path}")
    module = min(found, key=lambda m: (m.count("."), len(m)))
    return f"{SHORT.get(module, module)}.{name}"


def _index(key: Any) -> str:
    if isinstance(key, slice):
        parts = ["" if part is None else show(part) for part in (key.start, key.stop)]
        return ":".join(parts) + (f":{show(key.step)}" if key.step is not None else "")
    return show(key)
