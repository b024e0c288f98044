"""The choices of a check, with their defaults, and the refusal of those that make no sense."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.build import Request

CHECKS = ("structure", "reference", "differences", "adjoint", "linearity", "jit", "vmap", "sharding")


class Settings(NamedTuple):
    """The choices with their defaults."""

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


def validate(who: str, request: Request, s: Settings) -> None:
    """Refuse what cannot be meant, by name."""
    for name, function in (("fun", request.fun), ("vjp_fun", request.vjp_fun)):
        if not callable(function):
            raise TypeError(f"{who}: {name}: expected a function, got {type(function).__name__}")
    numbers = [request.argnums] if isinstance(request.argnums, int) else list(request.argnums)
    if any(not isinstance(n, int) or not 0 <= n < len(request.args) for n in numbers) or not numbers:
        raise ValueError(f"{who}: argnums: expected numbers in 0 … {len(request.args) - 1}, got {request.argnums}")
    if isinstance(s.checks, str) or not set(s.checks) <= set(CHECKS):
        raise ValueError(f"{who}: checks: expected a tuple of names among {CHECKS}, got {s.checks!r}")
    for name, value, allowed in (
        ("precision", s.precision, ("x64", "native")),
        ("kinks", s.kinks, ("report", "fail")),
        ("order", s.order, (1, 2)),
    ):
        if value not in allowed:
            raise ValueError(f"{who}: {name}: expected one of {allowed}, got {value!r}")
    if s.reference is not None and s.reference != "autodiff" and not callable(s.reference):
        raise ValueError(f"{who}: reference: expected 'autodiff', a function or None, got {s.reference!r}")
    for name, value in (("num_directions", s.num_directions), ("num_points", s.num_points)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{who}: {name}: expected a whole number of at least 1, got {value!r}")
    for name, value in (("rtol", s.rtol), ("atol", s.atol), ("nondet_tol", s.nondet_tol)):
        if value is not None and not value >= 0:
            raise ValueError(f"{who}: {name}: expected a number of at least 0, got {value!r}")
    choices = s.in_axes if isinstance(s.in_axes, list) else [] if s.in_axes is None else [s.in_axes]
    for choice in choices:
        if not isinstance(choice, tuple) or len(choice) != len(request.args):
            raise ValueError(f"{who}: in_axes: expected a tuple with an axis or None per argument, got {choice!r}")
    if s.domain is not None and not callable(s.domain):
        raise TypeError(f"{who}: domain: expected a predicate of the arguments, got {type(s.domain).__name__}")


def tuple_or_raise(who: str, args) -> None:
    """Refuse arguments that are not a tuple: a list or a bare array is too easily something else."""
    if type(args) is not tuple:
        raise TypeError(f"{who}: args: expected a tuple of arguments, got {type(args).__name__}")


def seed_of(who: str, key) -> tuple[Any, tuple[int, ...]]:
    """The key to report and its words; a new one where there is none."""
    if key is None:
        key = secrets.randbits(31)
    if isinstance(key, int):
        return jax.random.key(key), (key,)
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == np.uint32):
        raise TypeError(f"{who}: key: expected a jax.random.key or an int, got {type(key).__name__}")
    words = jax.random.key_data(key) if jnp.issubdtype(dtype, jax.dtypes.prng_key) else key
    words = [int(w) for w in np.asarray(words).ravel()]
    return key, (words[1],) if len(words) == 2 and words[0] == 0 else tuple(words)
