"""What an object holds besides its type: its state, and the functions that it wraps."""

import copyreg
import weakref
from collections.abc import Iterator
from typing import Any

from fnn.training.user_code import is_users

_WRAPPERS = {"jax", "jaxlib", "functools"}  # packages whose wrappers compute what the wrapped function does
_RULES = ("fwd", "bwd", "jvp")  # of jax.custom_vjp and jax.custom_jvp

Parts = Iterator[tuple[str, Any]]


def wrapped(value: Any) -> Any:
    """Return what a wrapper of JAX or functools wraps, such as that of `jax.jit`; the value itself if it is none."""
    return getattr(value, "__wrapped__", value) if _is_wrapper(value) else value


def derivative_rules(value: Any) -> list[Any]:
    """Return the rules of a function with a custom derivative; nothing for other values."""
    if not _is_wrapper(value):
        return []
    return [rule for name in _RULES if callable(rule := getattr(value, "__dict__", {}).get(name))]


def _is_wrapper(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in _WRAPPERS


def parts(value: Any) -> Parts:
    """Yield the parts of an object's state: what pickle would write, by name where it is an attribute.

    Of an object that cannot be pickled these are the attributes that a user's class gave it, and nothing for classes of
    others. Of a weak reference it is what it refers to.
    """
    if isinstance(value, weakref.ref):
        yield "", value()
        return
    if isinstance(value, memoryview):
        yield "", value.tobytes()
        return
    reduce = copyreg.dispatch_table.get(type(value), lambda value: value.__reduce_ex__(2))
    try:
        reduced = reduce(value)
    except Exception:  # whatever the object's class raises to say that it cannot
        yield from attributes(value) if is_users(type(value)) else ()
        return
    if isinstance(reduced, str):
        yield "", reduced
        return
    state, iterators = reduced[2] if len(reduced) > 2 else None, reduced[3:]
    yield from (("", part) for part in reduced[1] if part is not type(value))
    states = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # (attributes, slots)
    for held in states:
        if isinstance(held, dict):
            yield from _named(held)
        elif held is not None:
            yield "", held
    yield from (("", list(iterator)) for iterator in iterators if iterator is not None)


def attributes(value: Any) -> Parts:
    """Yield name and value of the attributes of an object, those in slots too."""
    slots = {name for kind in type(value).__mro__ for name in _slots(kind)}
    yield from _named(getattr(value, "__dict__", {}) | {n: getattr(value, n) for n in slots if hasattr(value, n)})


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _named(held: dict) -> Parts:
    """Sorted by name, without those that functools.update_wrapper sets and other special names."""
    special = lambda name: isinstance(name, str) and name.startswith("__") and name != "__wrapped__"
    yield from sorted(((str(name), part) for name, part in held.items() if not special(name)), key=lambda item: item[0])
