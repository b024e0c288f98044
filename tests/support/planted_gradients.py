"""Functions whose gradients are wrong in one way each, as targets of an audit, beside functions that are right."""

import functools
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.audit.domains import constant, fixed, nonnegative, positive, real
from experiments.audit.target import Target

HERE = __name__


def with_rule(derivative):
    """Return a decorator that replaces the derivative of a function of one argument."""

    def decorate(function):
        f = jax.custom_jvp(function)
        f.defjvp(lambda primals, tangents: (f(*primals), derivative(*primals) * tangents[0]))
        return functools.wraps(function)(lambda x: f(x))

    return decorate


@with_rule(lambda x: jnp.where(x == 0, 0.0, (1 + x) * jnp.exp(x)))
def wrong_at_zero(x):
    return x * jnp.exp(x)


@with_rule(lambda x: (1 + 1e-5) * jnp.cos(x))
def inexact(x):
    return jnp.sin(x)


def wrong_value(x):
    return jnp.sin(x) + 0.01 * x


def not_finite(x):
    return jnp.where(x == 0, 1.0, jnp.sin(x) / x)


@with_rule(lambda x: jnp.where(x == 0, 5.0, jnp.sign(x)))
def outside(x):
    return jnp.abs(x)


@with_rule(jnp.cos)
def noisy(x):
    return jnp.sin(x) * (1 + 1e-8 * jnp.sin(1e7 * x))


def modes_differ(x):
    """Return sin(x), with a wrong forward mode and the right reverse mode."""

    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    @f.defjvp
    def _(primals, tangents):
        (x,), (t,) = primals, tangents
        forward, transpose = (lambda r, t: 2 * jnp.cos(r) * t), (lambda r, ct: jnp.cos(r) * ct)
        return f(x), jax.custom_derivatives.linear_call(forward, transpose, x, t)

    return f(x)


def second_argument(x, y):
    """Return x y, with a wrong derivative by y where x is 1."""
    return x * wrong_factor(x, y)


@jax.custom_jvp
def wrong_factor(x, y):
    return y + 0.0 * x


@wrong_factor.defjvp
def _(primals, tangents):
    x, y = primals
    return wrong_factor(x, y), jnp.where(x == 1, 0.5, 1.0) * tangents[1]


def in_float32(x):
    return jnp.sin(x.astype(np.float32)).astype(x.dtype)


def hangs(x):
    time.sleep(60)
    return x


def dies(x):
    os._exit(3)


def raises(x):
    raise ValueError("planted")


X = constant([0.3, -1.2, 0.7, 2.0])


def one(function, exact=None, domain=None, label=""):
    """Return the target of a function of this module with one argument."""
    return Target(f"{HERE}.{function.__name__}", (domain or X,), exact=exact, label=label)


SINE = lambda mp, x: mp.sin(x)
WRONG = (
    (one(wrong_at_zero), {"wrong derivative"}),
    (one(wrong_at_zero, lambda mp, x: x * mp.exp(x), label="exact"), {"wrong derivative"}),
    (Target(f"{HERE}.second_argument", (X, constant([1.5, 0.5, -0.4, 1.0]))), {"wrong derivative"}),
    (Target("jax.numpy.ldexp", (real(), fixed(3)), label="planted by nobody"), {"wrong derivative"}),
    (one(inexact), {"inexact derivative"}),
    (one(inexact, SINE, label="exact"), {"inexact derivative"}),
    # At 0 its value is right.
    (one(wrong_value, SINE, label="exact"), {"wrong value", "follows a wrong function"}),
    (one(not_finite), {"not finite"}),
    (one(modes_differ), {"modes differ"}),
    (one(modes_differ, SINE, label="exact"), {"modes differ"}),
    (one(outside), {"outside the slopes"}),
    (one(outside, lambda mp, x: abs(x), label="exact"), {"outside the slopes"}),
    (Target("jax.numpy.linalg.norm", (real(),)), {"no derivative"}),
)
"""Targets with the kinds of findings that their audit must yield."""

RIGHT = (
    one(noisy, SINE, label="exact"),
    one(wrong_value),  # nothing is wrong where the exact function is not known
    one(in_float32),
    Target("jax.numpy.sin", (X,), exact=SINE),
    Target("jax.nn.relu", (X,)),
    Target("jax.numpy.abs", (X,), exact=lambda mp, x: abs(x)),
    Target("jax.numpy.median", (real(),)),
    Target("jax.numpy.sort", (real(),)),
    Target("jax.numpy.max", (real(),)),
    Target("jax.numpy.floor", (real(),)),
    Target("jax.nn.softmax", (real(),)),
    Target("jax.numpy.sqrt", (nonnegative(),), exact=lambda mp, x: mp.sqrt(x)),
    Target("jax.scipy.special.gammaln", (positive(),), exact=lambda mp, x: mp.loggamma(x)),
    Target("jax.numpy.linalg.eigvalsh", (real(3, 3),)),
    Target("jax.numpy.prod", (real(),)),
    Target("jax.scipy.special.xlogy", (nonnegative(), positive()), exact=lambda mp, x, y: x * mp.log(y) if x else x),
)
"""Targets without a finding."""

TARGETS = (
    WRONG[0][0],
    one(hangs),
    one(dies),
    one(raises),
    Target("no_such_library.function", (X,)),
    RIGHT[3],
)
"""Targets for the command."""
