"""The gradients in a module: every `jax.custom_vjp`, `jax.custom_jvp`, layer and loss, and functions with examples.

Each of them becomes one case per example, with the check that suits it.
"""

import inspect
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import jax

from fnn.gradcheck.annotations import drawn_arguments, fill, why_not_drawn
from fnn.gradcheck.arguments import is_inexact
from fnn.gradcheck.check import check_custom_vjp, check_layer, check_loss, check_vjp, vjp_of
from fnn.gradcheck.examples import Example, examples_of, wrapped_by
from fnn.gradcheck.importing import NamingError, imported_names, nearest
from fnn.gradcheck.jvp_rules import check_custom_jvp
from fnn.gradcheck.report import GradReport


class Case(NamedTuple):
    """A function at one example."""

    module: str
    name: str
    """The function's name in its module, with the number of the example: "softplus[0]"."""
    kind: str
    """What it is, for example "custom_vjp"."""
    run: Callable[[tuple, dict[str, Any]], GradReport]
    """Check it at arguments, with options."""
    arguments: Callable[[int], tuple] | None
    """seed -> the arguments of the example. None if there is no example."""
    options: dict[str, Any]
    """The options of the example."""
    missing: str = ""
    """What to do if there is no example."""

    @property
    def label(self) -> str:
        """The module and the name."""
        return f"{self.module}::{self.name}"

    def check(self, key: int | None = None, **options: Any) -> GradReport:
        """Check the gradient at the example.

        Args:
          key: the key of the check. Default: that of the example, or else one made from the label.
          **options: options of the check. Those of the example override them.

        Raises:
          ValueError: if there is no example.
        """
        if self.arguments is None:
            raise ValueError(f"{self.label}: no example: {self.missing}")
        seed = zlib.crc32(self.label.encode()) >> 1
        chosen = {"key": seed, **options, **self.options}
        return self.run(self.arguments(seed), chosen if key is None else {**chosen, "key": key})


def cases_in(module: ModuleType) -> list[Case]:
    """Return the cases of all functions that a module defines, in their order, but not of those that it imports."""
    foreign = imported_names(module)
    found, seen, used = [], set(), set()
    for name, value in list(vars(module).items()):
        if name.startswith("__") or name in foreign:
            continue
        for full, member in _with_members(module, name, value):
            examples = set(map(id, examples_of(member)))
            own = examples - used  # jax.vmap(f) and jax.grad(f) have copies of the attributes of f
            if id(member) not in seen and (_is_rule(member) or own or _makes_layer(module, member)):
                seen.add(id(member))
                used |= examples
                found += cases_of(module.__name__, full, member)
    return found


def case_named(module: ModuleType, name: str) -> list[Case]:
    """Return the cases of one function, which the module may have imported. A dot leads into a class.

    Raises:
      NamingError: if there is no such function.
    """
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            hint = nearest(part, [each for each in dir(value) if not each.startswith("__")])
            raise NamingError(f"{module.__name__} has no function {name!r}{hint}")
        value = getattr(value, part)
    if not callable(value) and not _is_rule(value):
        got = type(value).__name__
        raise NamingError(
            f"{module.__name__}:{name} must be a function, a layer or a loss, got an object of type {got}"
        )
    return cases_of(module.__name__, name, value)


def cases_of(module: str, name: str, value: Any) -> list[Case]:
    """Return one case per example of a function. Without examples, annotations with shapes are one."""
    found = []
    examples = examples_of(value)
    for number, example in enumerate(examples or (Example((), {}),)):
        kind, run = _check_of(value, example)
        arguments, missing = _arguments(value, kind, example)
        shown = f"{name}[{number}]" if arguments or examples else name
        found.append(Case(module, shown, kind, run, arguments, example.options, missing))
    return found


def _arguments(value: Any, kind: str, example: Example) -> tuple[Callable[[int], tuple] | None, str]:
    """Return how to make the arguments of an example, or why they cannot be made."""
    if example.args:
        return lambda seed: fill(example.arguments(), seed), ""
    if kind not in ("custom_vjp", "custom_jvp", "function"):
        return None, f"add @fnn.gradcheck.example({'prediction, target' if kind == 'loss' else 'x'})"
    fun = wrapped_by(value)[-1]
    why = why_not_drawn(fun)
    if why:
        return None, f"add @fnn.gradcheck.example(...), or annotations with shapes ({why})"
    return lambda seed: drawn_arguments(fun, seed), ""


def _check_of(value: Any, example: Example) -> tuple[str, Callable[[tuple, dict], GradReport]]:
    """Return what a value is, and the check that suits it."""
    for each in wrapped_by(value):
        if isinstance(each, jax.custom_vjp):
            return "custom_vjp", lambda args, options, f=each: check_custom_vjp(f, args, **options)
        if isinstance(each, jax.custom_jvp):
            return "custom_jvp", lambda args, options, f=each: check_custom_jvp(f, args, **options)
    if _has(value, "forward", "backward"):
        return _kind_of_record(value), lambda args, options: _check_record(value, args, options)
    build = example.build
    if build is None and (_returned_record(value) or (_takes(value, ()) and not _takes(value, example.args))):
        build = ()
    if build is None:
        return "function", lambda args, options: _check_function(value, args, options)
    kind = _returned_record(value) or "layer"  # or a loss, if no annotation says so
    return kind, lambda args, options: _check_record(value(*build), args, options)


def _kind_of_record(value: Any) -> str:
    return "layer" if _has(value, "init") else "loss"


def _check_record(value: Any, args: tuple, options: dict[str, Any]) -> GradReport:
    """Check a layer at (x,) or (params, x), or a loss at (prediction, target)."""
    if not _has(value, "forward", "backward"):
        raise TypeError(f"example: a function with `build` must return a layer or a loss, got {type(value).__name__}")
    kind = _kind_of_record(value)
    if len(args) not in ((1, 2) if kind == "layer" else (2,)):
        expected = "x, or params and x, for a layer" if kind == "layer" else "prediction and target for a loss"
        raise TypeError(f"example: the arguments must be {expected}, got {len(args)} arguments")
    if kind == "loss":
        prediction, target = args
        return check_loss(value, prediction, target, **options)
    key = options["key"]
    drawn = () if len(args) == 2 else (value.init(jax.random.key(key) if isinstance(key, int) else key),)
    params, x = (*drawn, *args)
    return check_layer(value, params, x, **options)


def _check_function(fun: Callable, args: tuple, options: dict[str, Any]) -> GradReport:
    """Check autodiff of a function, which may contain rules, by differences and by the adjoint identity."""
    inexact = [n for n, arg in enumerate(args) if any(map(is_inexact, jax.tree_util.tree_leaves(arg)))]
    argnums = options.get("argnums", inexact or None)
    numbers = (argnums,) if isinstance(argnums, int) else argnums or range(len(args))
    backward = lambda args, ct: vjp_of(fun, args, tuple(numbers))[1](ct)
    chosen: dict[str, Any] = {"reference": None, **options, "argnums": argnums}
    return check_vjp(fun, backward, args, **chosen)


def _with_members(module: ModuleType, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a value of a module; for a class that the module defines, what the class holds."""
    if not inspect.isclass(value):
        yield name, value
    elif value.__module__ == module.__name__:
        for attribute, member in vars(value).items():
            if not attribute.startswith("__") and not inspect.isclass(member):
                yield f"{name}.{attribute}", getattr(member, "__func__", member)  # the function of a staticmethod


def _is_rule(value: Any) -> bool:
    rules = (jax.custom_vjp, jax.custom_jvp)
    is_loss = type(value).__name__ == "Loss" and _has(value, "forward", "backward")
    return (
        any(isinstance(each, rules) for each in wrapped_by(value))
        or is_loss
        or _has(value, "init", "forward", "backward")
    )


def _has(value: Any, *functions: str) -> bool:
    """Return whether an object that is no class has these functions, without running a `__getattr__` of its own."""
    if inspect.isclass(value) or any(inspect.getattr_static(value, name, None) is None for name in functions):
        return False
    return all(callable(getattr(value, name, None)) for name in functions)


def _makes_layer(module: ModuleType, value: Any) -> bool:
    """Return whether a value is a public function of a module that is annotated to return a layer or a loss."""
    own = inspect.isfunction(value) and value.__module__ == module.__name__
    return own and not value.__name__.startswith("_") and bool(_returned_record(value))


def _returned_record(value: Any) -> str:
    """Return "layer" or "loss" if a function is annotated to return one, else ""."""
    annotation = getattr(value, "__annotations__", {}).get("return")
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return {"Layer": "layer", "Loss": "loss"}.get(name.rpartition(".")[2].strip("\"' "), "")


def _takes(fun: Callable, args: tuple) -> bool:
    """Return whether a function takes these arguments by position, as far as its signature says."""
    try:
        inspect.signature(fun).bind(*args)
    except TypeError:
        return False
    except ValueError:
        pass
    return True
