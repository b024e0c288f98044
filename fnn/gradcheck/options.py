"""The options of a check, their defaults, and the errors for values that are invalid."""

import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

CHECKS = ("structure", "reference", "differences", "adjoint", "linearity", "jit", "vmap", "sharding")


class Options(NamedTuple):
    """The options that every check accepts as keyword arguments. `check_vjp` documents them."""

    reference: Any = "autodiff"
    checks: Sequence[str] = CHECKS
    order: int = 1
    num_directions: int = 3
    num_points: int = 2
    precision: str = "x64"
    rtol: float | None = None
    atol: float | None = None
    kinks: str = "report"
    domain: Callable | None = None
    in_axes: Any = None
    nondet_tol: float = 0.0
    key: Any = None
    points: str = "random"


class Keywords(TypedDict, total=False):
    """The type of `**options` in the signatures of the checks: the fields of Options, for type checkers."""

    reference: Any
    checks: Sequence[str]
    order: int
    num_directions: int
    num_points: int
    precision: str
    rtol: float | None
    atol: float | None
    kinks: str
    domain: Callable | None
    in_axes: Any
    nondet_tol: float
    key: Any
    points: str


def make_options(who: str, keywords: Keywords, num_args: int) -> Options:
    """Return the options given by keyword arguments. Raises TypeError or ValueError for invalid ones."""
    unknown = set(keywords) - set(Options._fields)
    if unknown:
        raise TypeError(f"{who}: keyword arguments must be among {Options._fields}, got {sorted(unknown)}")
    options = Options(**keywords)
    named = isinstance(options.checks, Collection) and not isinstance(options.checks, str)
    if not named or not set(options.checks) <= set(CHECKS):
        raise ValueError(f"{who}: checks must be a tuple of names among {CHECKS}, got {options.checks!r}")
    for name, value, allowed in (
        ("precision", options.precision, ("x64", "native")),
        ("kinks", options.kinks, ("report", "fail")),
        ("order", options.order, (1, 2)),
        ("points", options.points, ("random", "edges")),
    ):
        if value not in allowed:
            raise ValueError(f"{who}: {name} must be one of {allowed}, got {value!r}")
    if options.reference is not None and options.reference != "autodiff" and not callable(options.reference):
        raise ValueError(f"{who}: reference must be 'autodiff', a function or None, got {options.reference!r}")
    for name, value in (("num_directions", options.num_directions), ("num_points", options.num_points)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{who}: {name} must be an integer of at least 1, got {value!r}")
    for name, value in (("rtol", options.rtol), ("atol", options.atol), ("nondet_tol", options.nondet_tol)):
        if value is not None and not value >= 0:
            raise ValueError(f"{who}: {name} must be a number of at least 0, got {value!r}")
    choices = options.in_axes if isinstance(options.in_axes, list) else [options.in_axes]
    for axes in choices if options.in_axes is not None else ():
        if not isinstance(axes, tuple) or len(axes) != num_args:
            raise ValueError(f"{who}: in_axes must be a tuple with an axis or None per argument, got {axes!r}")
    if options.domain is not None and not callable(options.domain):
        raise TypeError(f"{who}: domain must be a predicate of the arguments, got {type(options.domain).__name__}")
    return options._replace(checks=tuple(options.checks))


def resolve_key(who: str, key) -> tuple[Any, tuple[int, ...]]:
    """Return the key to report, and its words, which seed the check. Without a key, draw a new one."""
    if key is None:
        key = secrets.randbits(31)
    if isinstance(key, int):
        if key < 0:
            raise ValueError(f"{who}: key must be a jax.random.key or an int of at least 0, got {key}")
        return jax.random.key(key), (key,)
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == np.uint32):
        raise TypeError(f"{who}: key must be a jax.random.key or an int, got {type(key).__name__}")
    words = jax.random.key_data(key) if jnp.issubdtype(dtype, jax.dtypes.prng_key) else key
    words = [int(w) for w in np.asarray(words).ravel()]
    return key, (words[1],) if len(words) == 2 and words[0] == 0 else tuple(words)
