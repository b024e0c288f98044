"""Gradients that are right at random points and wrong at special ones, which a checker of edge points should catch.

`systematic` spoils correct rules at zeros, ones, halves, ties, small and large numbers. `gradcheck_mistakes` has the
mistakes that people make there.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Planted(NamedTuple):
    """A function with a wrong rule and a right one; both are functions (args, ȳ) -> a tuple of gradients."""

    name: str
    fun: Callable
    wrong: Callable
    right: Callable
    args: tuple
    domain: Callable | None = None


X = np.array([0.3, -1.2, 2.0, 0.7, -0.4], np.float32)


def pulled(fun: Callable) -> Callable:
    """Return autodiff's rule of a function."""
    return lambda args, ct: jax.vjp(fun, *args)[1](ct)


def entries(slope: Callable) -> Callable:
    """Return the rule of a function that works entry by entry, from its derivative."""
    return lambda args, ct: (ct * slope(args[0]),)


CONDITIONS = {
    "zero": lambda x: x == 0,
    "one": lambda x: jnp.abs(x) == 1,
    "half": lambda x: x - jnp.floor(x) == 0.5,
    "tie": lambda x: jnp.roll(x, 1) == x,
    "tiny": lambda x: (jnp.abs(x) < 1e-30) & (x != 0),
    "large": lambda x: jnp.abs(x) > 1e30,
    "all equal": lambda x: jnp.full(x.shape, jnp.ptp(x) == 0) & (x != 0),
}
SPOILS = {
    "zero": lambda g: 0 * g,
    "doubled": lambda g: 2 * g,
    "sign": lambda g: -g,
    "NaN": lambda g: g * jnp.nan,
    "infinite": lambda g: jnp.full_like(g, jnp.inf),
    "1 % off": lambda g: 1.01 * g,
    "added": lambda g: g + 1,
}


def _root(x):
    return 2 * x + jnp.sqrt(1 + x * x)


BASES = {
    "2 x + √(1 + x²)": (_root, X),
    "3 x": (lambda x: 3 * x, X),
    "mean of 2 x + √(1 + x²)": (lambda x: _root(x).mean(), X),
    "weighted sum": (lambda x: x @ jnp.linspace(1.0, 2.0, 5, dtype=x.dtype), X),
    "matrix times x": (lambda x: x @ jnp.linspace(-1.0, 2.0, 15, dtype=x.dtype).reshape(5, 3), X),
}


def systematic() -> Iterator[Planted]:
    """Yield each correct rule, spoiled in each way where each condition holds."""
    for base, (fun, x) in BASES.items():
        for where, condition in CONDITIONS.items():
            for how, spoil in SPOILS.items():

                def wrong(args, ct, fun=fun, condition=condition, spoil=spoil):
                    (g,) = pulled(fun)(args, ct)
                    return (jnp.where(condition(args[0]), spoil(g), g),)

                yield Planted(f"{base}, {how} at {where}", fun, wrong, pulled(fun), (x,))
