"""Arguments drawn as annotations with shapes say, such as jaxtyping's `Float[Array, "batch 3"]`.

Every named axis gets a size of its own, from 3 on, so that a transposition changes a shape. `*name` and `...` stand for
no axis. Integers are 0 or 1, which are valid as indices of any of these axes. A parameter with a default keeps it. A
NamedTuple with annotated fields is drawn field by field.
"""

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

RANGES = (lambda z: z, lambda z: np.abs(z) + 0.1, lambda z: 0.05 + 0.9 / (1 + np.exp(-z)), lambda z: np.abs(z) + 1.1)
"""How normal draws become values of all signs, positive values, values in (0, 1), and values above 1."""


class CannotDrawError(ValueError):
    """The annotations do not say what to draw."""


def drawn_arguments(fun: Callable, seed: int) -> tuple:
    """Draw the arguments of a function from its annotations, in the first of RANGES where its value is finite.

    Raises:
      CannotDrawError: if a parameter without a default has no annotation with a shape.
    """
    for map_normal in RANGES:
        args = _draw_all(fun, seed, map_normal)
        if _finite(fun, args):
            return args
    return _draw_all(fun, seed, RANGES[0])  # the check then says that the function is not finite


def why_not_drawn(fun: Callable) -> str:
    """Explain why the arguments of a function cannot be drawn; return "" if they can."""
    try:
        _draw_all(fun, 0, RANGES[0])
    except CannotDrawError as error:
        return str(error)
    return ""


def fill(args: tuple, seed: int) -> tuple:
    """Return arguments with a random array for every `jax.ShapeDtypeStruct` among them.

    >>> fill((jax.ShapeDtypeStruct((2, 3), jnp.float32), 1), 7)[0].shape
    (2, 3)
    """
    rng = np.random.default_rng(seed)
    is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)
    draw = lambda leaf: _array(leaf.shape, leaf.dtype, rng, RANGES[0]) if is_shape(leaf) else leaf
    return jax.tree_util.tree_map(draw, args, is_leaf=is_shape)


def _draw_all(fun: Callable, seed: int, map_normal: Callable) -> tuple:
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError) as error:
        raise CannotDrawError(f"it has no signature: {error}") from error
    hints = _hints("it", fun)
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for p in required:
        if p.kind is p.KEYWORD_ONLY:
            raise CannotDrawError(f"{p.name} is keyword-only, without a default")
    sizes, rng = _Sizes(), np.random.default_rng(seed)
    return tuple(_draw(p.name, hints.get(p.name), sizes, rng, map_normal) for p in required)


def _hints(name: str, value: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(value)
    except Exception as error:
        raise CannotDrawError(f"{name} has annotations that cannot be evaluated: {error}") from error


class _Sizes(dict):
    """Sizes of named axes: a new name gets the next size."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self) + 3
        return self[name]


def _draw(name: str, hint: Any, sizes: _Sizes, rng: np.random.Generator, map_normal: Callable) -> Any:
    if isinstance(hint, jax.ShapeDtypeStruct):
        return _array(hint.shape, hint.dtype, rng, map_normal)
    if hint is float:
        return float(map_normal(rng.standard_normal()))
    if hasattr(hint, "dtypes") and hasattr(hint, "dim_str"):  # jaxtyping's
        return _array(_shape(name, hint.dim_str, sizes), _dtype(name, hint), rng, map_normal)
    for choice in typing.get_args(hint):  # Float[ArrayLike, "3"] is a union
        if hasattr(choice, "dim_str"):
            return _draw(name, choice, sizes, rng, map_normal)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = _hints(name, hint)
        fields = hint._fields  # pyright: ignore[reportAttributeAccessIssue]
        return hint(*(_draw(f"{name}.{f}", hints.get(f), sizes, rng, map_normal) for f in fields))
    raise CannotDrawError(f"{name} has no annotation with a shape")


def _shape(name: str, text: str, sizes: _Sizes) -> tuple[int, ...]:
    """Return a shape as jaxtyping writes it, for example "batch 3 n+1"."""
    return tuple(_axes(name, text.split(), sizes))


def _axes(name: str, words: list[str], sizes: _Sizes) -> Iterator[int]:
    for word in words:
        word = word.rpartition("=")[2].lstrip("#?")
        if word.startswith(("*", "...")):
            continue
        if word.isidentifier():
            yield 2 if word.startswith("_") else sizes[word]
        else:  # a number, or an expression
            try:
                size = int(eval(word, {"__builtins__": {}}, sizes))
            except Exception as error:
                raise CannotDrawError(f"{name} has an axis {word!r} without a value: {error}") from error
            if size < 0:
                raise CannotDrawError(f"{name} has an axis {word!r} of size {size}")
            yield size


def _dtype(name: str, hint: Any) -> Any:
    """Return the dtype of JAX's default arrays that the annotation allows, or else the first that it allows."""
    allowed = hint.dtypes if isinstance(hint.dtypes, (tuple, list)) else ("float32",)  # Shaped allows any
    if "prng_key" in allowed:
        return jax.dtypes.prng_key
    preferred = [d for d in ("float32", "int32", "bool") if d in allowed]
    try:
        return jnp.dtype((preferred or list(allowed))[0])
    except TypeError as error:
        raise CannotDrawError(f"{name} has a dtype that cannot be drawn: {error}") from error


def _array(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator, map_normal: Callable) -> jax.Array:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), int(np.prod(shape, dtype=int)))
        return keys.reshape(shape)
    if not jnp.issubdtype(dtype, np.inexact):
        return jnp.asarray(rng.integers(0, 2, shape), dtype)
    z = map_normal(rng.standard_normal(shape))
    if jnp.issubdtype(dtype, np.complexfloating):
        z = z + 1j * rng.standard_normal(shape)
    return jnp.asarray(z, dtype)


def _finite(fun: Callable, args: tuple) -> bool:
    """Return whether all floating-point values of a function are finite. Errors are left to the check."""
    try:
        leaves = jax.tree_util.tree_leaves(fun(*args))
        return all(bool(jnp.all(jnp.isfinite(v))) for v in leaves if jnp.issubdtype(jnp.result_type(v), np.inexact))
    except Exception:
        return True
