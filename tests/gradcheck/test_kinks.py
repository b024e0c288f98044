"""Gradients at kinks: values between the one-sided slopes are accepted, others and NaN are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.gradcheck import GradReport, check_vjp
from tests.support.slow import slow_except

RNG = np.random.default_rng(0)
AT_ZERO = np.array([-1.0, 0.0, 2.0], np.float32)


def with_value(fun, value):
    """Return the backward of an elementwise function, with a value of its own where the argument is 0."""

    def backward(args, ct):
        (x,) = args
        away = jnp.where(x == 0, jnp.ones_like(x), x)
        slope = jax.vmap(jax.grad(fun))(away)
        return (ct * jnp.where(x == 0, jnp.asarray(value, x.dtype), slope),)

    return backward


def step_and_slope(x):
    return jnp.where(x > 0, 3 * x + 1, 2 * x)


KINKS = [
    (jnp.abs, (-1.0, 0.0, 0.5, 1.0), (1e30, 1.01, -7.0)),
    (jax.nn.relu, (0.0, 0.5, 1.0), (-1.0, 7.0, 1.001, -0.001)),
    (jax.nn.leaky_relu, (0.01, 0.5, 1.0), (0.0, 1.02)),
    (lambda x: jax.nn.relu(x) + 10 * jnp.sin(x), (10.0, 10.5, 11.0), (9.9, 11.1, 0.0)),
    (lambda x: jnp.clip(x, 0, 1), (0.0, 1.0), (-0.1, 3.0)),
    (step_and_slope, (2.0, 3.0), (1.0, 4.0)),
    (jnp.sign, (0.0,), (1.0, 1e30)),
    (lambda x: jnp.sqrt(x * x), (0.0, 1.0), (1e30, -2.0)),
]
ALLOWED = [(fun, value) for fun, values, _ in KINKS for value in values]
REFUSED = [(fun, value) for fun, _, values in KINKS for value in values]


def check_value(fun, value, **options) -> GradReport:
    elementwise = jax.vmap(fun)
    checks = ("structure", "reference", "differences", "adjoint")
    return check_vjp(elementwise, with_value(fun, value), (AT_ZERO,), checks=checks, key=1, **options)


@pytest.mark.parametrize(("fun", "value"), slow_except(ALLOWED, *ALLOWED[1::6]))
def test_conventions_between_the_one_sided_slopes(fun, value):
    report = check_value(fun, value)
    assert report.ok, report.summary()


@pytest.mark.parametrize(("fun", "value"), slow_except(REFUSED, *REFUSED[::4]))
def test_values_outside_the_one_sided_slopes(fun, value):
    report = check_value(fun, value)
    assert (report.leaves[0].status, report.leaves[0].worst_index) == ("FAIL", (1,)), report.summary()


@pytest.mark.parametrize(
    ("fun", "value", "ok"), [(jnp.abs, 1e30, False), (jax.nn.relu, -1.0, False), (jnp.abs, 0, True)]
)
def test_kinks_without_a_reference(fun, value, ok):
    report = check_value(fun, value, reference=None)
    assert report.ok == ok, report.summary()
    assert ok or report.leaves[0].worst_index == (1,)


@pytest.mark.slow
def test_one_wrong_value_among_many_kinks():
    x = np.zeros(500, np.float32)

    def backward(wrong):
        def rule(args, ct):
            slope = jnp.where(args[0] == 0, 0.5, jnp.where(args[0] > 0, 1.0, 0.0)).astype(ct.dtype)
            return (ct * slope.at[301].add(jnp.where(args[0][301] == 0, wrong, 0.0).astype(ct.dtype)),)

        return rule

    assert check_vjp(jax.nn.relu, backward(-0.4), (x,), key=1).ok
    report = check_vjp(jax.nn.relu, backward(-0.6), (x,), key=1)
    assert (report.leaves[0].status, report.leaves[0].worst_index) == ("FAIL", (301,)), report.summary()


@pytest.mark.parametrize(
    ("at_zero", "reference"),
    slow_except([(value, ref) for value in (0.0, 0.5, 1.0) for ref in ("autodiff", None)], (0.5, "autodiff")),
)
def test_composed_kinks_of_a_network(at_zero, reference):
    """Rows of zeros put a whole layer of relus at its kink; then a convention may leave the one-sided slopes."""
    x = RNG.standard_normal((5, 4)).astype(np.float32) * np.array([1, 1, 0, 1, 0], np.float32)[:, None]
    args = (x, RNG.standard_normal((4, 6)).astype(np.float32), RNG.standard_normal((6, 3)).astype(np.float32))

    def backward(args, dy):
        x, w, v = args
        z = x @ w
        dz = dy @ v.T * jnp.where(z == 0, at_zero, jnp.where(z > 0, 1.0, 0.0)).astype(dy.dtype)
        return dz @ w.T, x.T @ dz, jax.nn.relu(z).T @ dy

    checks = ("structure", "reference", "differences")
    fun = lambda x, w, v: jax.nn.relu(x @ w) @ v
    report = check_vjp(fun, backward, args, checks=checks, reference=reference, key=1)
    assert report.ok, report.summary()


# NaN, also where autodiff returns it.


NOT_FINITE = {
    "a branch that is not taken": (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), [-1.0, 1.0, 4.0], False),
    "a removable singularity": (lambda x: jnp.where(x == 0, 1.0, jnp.sin(x) / x), [0.0, 1.0, 4.0], False),
    "a kink": (lambda x: jnp.sqrt(jnp.sum(x * x)), [0.0, 0.0, 0.0], False),
    "an infinite slope": (jnp.sqrt, [0.0, 1.0, 4.0], True),
    "infinite slopes on both sides": (lambda x: jnp.sqrt(jnp.abs(x)), [0.0, 1.0, 4.0], True),
    "the end of the domain": (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), [0.0, 1.0, 4.0], True),
}


@pytest.mark.parametrize("name", slow_except(NOT_FINITE, "a branch that is not taken", "an infinite slope"))
def test_nan_where_the_function_has_a_slope(name):
    fun, x, ok = NOT_FINITE[name]
    with jax.numpy_dtype_promotion("standard"):
        report = check_vjp(fun, lambda args, ct: jax.vjp(fun, *args)[1](ct), (np.array(x, np.float32),), key=1)
    assert report.ok == ok, report.summary()
    assert ok or report.leaves[0].hint.startswith("not finite where fun has a slope")
    assert ok or report.leaves[0].worst_index == (0,)
