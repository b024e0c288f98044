"""Overflow in the dtype that was given, and functions of which nothing can be differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.gradcheck import check_custom_vjp, check_grad, check_vjp
from tests.support.slow import slow_except

LINE = np.linspace(-2.0, 2.0, 6, dtype=np.float32)


def test_an_overflow_in_float32_alone():
    naive = lambda args, ct: (ct * jnp.exp(args[0]) / (1 + jnp.exp(args[0])),)
    x = np.array([1.0, 100.0], np.float32)
    report = check_vjp(jax.nn.softplus, naive, (x,), key=1)
    assert (report.leaves[0].status, report.leaves[0].worst_index) == ("FAIL", (1,)), report.summary()
    assert report.leaves[0].hint == "not finite in float32, finite in float64"
    assert check_vjp(jax.nn.softplus, naive, (x[:1],), key=1).ok
    assert check_vjp(jax.nn.softplus, lambda args, ct: (ct * jax.nn.sigmoid(args[0]),), (x,), key=1).ok


def test_an_overflow_in_float16_alone():
    backward = lambda args, ct: (ct * (args[0] ** 3) / (args[0] ** 2) * 2,)
    assert not check_vjp(jnp.square, backward, (np.array([1.0, 60.0], np.float16),), key=1).ok
    assert check_vjp(jnp.square, backward, (np.array([1.0, 6.0], np.float16),), key=1).ok


def test_a_gradient_too_large_for_its_dtype_is_not_wrong():
    backward = lambda args, ct: (ct * args[1], ct * args[0])
    args = (np.array([1e-3], np.float16), np.array([60000.0], np.float16))
    report = check_vjp(lambda x, y: x * y, backward, args, cotangent=np.array([4.0], np.float16), key=1)
    assert report.ok, report.summary()


def callback(method):
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)

    @jax.custom_vjp
    def f(x):
        return jax.pure_callback(np.sin, shape(x), x, vmap_method=method)

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * jnp.cos(x),))
    return f


@pytest.mark.parametrize("method", slow_except(["expand_dims", None], "expand_dims"))
def test_a_callback_has_no_jvp(method):
    report = check_custom_vjp(callback(method), (LINE,), key=1)
    assert report.ok, report.summary()
    assert report.checks["adjoint"].startswith("SKIPPED")
    assert report.checks["reference"].startswith("SKIPPED")


COS = lambda args, ct: (ct * jnp.cos(args[0]),)
ZERO = lambda args, ct: (jnp.zeros_like(args[0]),)
EMPTY = np.zeros((0, 3), np.float32)
INSIDE = np.linspace(0.1, 0.9, 5, dtype=np.float32)
NOTHING = {
    "no elements": lambda **k: check_vjp(jnp.sin, COS, (EMPTY,), **k),
    "no elements, scalar": lambda **k: check_grad(lambda x: jnp.sum(x**2), lambda x: 2 * x, (EMPTY,), **k),
    "one leaf without elements": lambda **k: check_vjp(
        lambda e, x: jnp.sin(x) + jnp.sum(e),
        lambda a, ct: (jnp.zeros_like(a[0]), ct * jnp.cos(a[1])),
        (EMPTY, LINE), **k,
    ),
    "uniform density": lambda **k: check_vjp(jax.scipy.stats.uniform.logpdf, ZERO, (INSIDE,), **k),
    "zero": lambda **k: check_vjp(lambda x: 0 * x, ZERO, (LINE,), **k),
    "constant": lambda **k: check_vjp(lambda x: 0 * x + 3, ZERO, (LINE,), **k),
    "steps": lambda **k: check_vjp(jnp.floor, ZERO, (INSIDE,), **k),
}  # fmt: skip


OPTIONS = {"defaults": {}, "no reference": {"reference": None}, "order 2": {"order": 2}}


@pytest.mark.parametrize(
    ("name", "options"),
    slow_except(
        [(name, options) for name in NOTHING for options in OPTIONS],
        *[("no elements", options) for options in OPTIONS],
        ("uniform density", "defaults"),
        ("one leaf without elements", "defaults"),
    ),
)
def test_nothing_to_differentiate(name, options):
    with jax.numpy_dtype_promotion("standard"):
        report = NOTHING[name](key=1, **OPTIONS[options])
    assert report.ok, report.summary()


def test_a_gradient_where_there_is_none():
    report = check_vjp(lambda x: 0 * x, lambda args, ct: (1e-3 * ct,), (LINE,), reference=None, key=1)
    assert report.leaves[0].status == "FAIL"


@pytest.mark.slow
def test_second_order_of_a_backward_in_float32():
    narrow = lambda args, ct: (ct.astype(np.float32) * jnp.cos(args[0].astype(np.float32)),)
    report = check_vjp(jnp.sin, narrow, (LINE,), order=2, key=1)
    assert report.ok, report.summary()
    assert report.checks["second order"] == "PASS"
    wrong = lambda args, ct: (ct.astype(np.float32) * jax.lax.stop_gradient(jnp.cos(args[0].astype(np.float32))),)
    assert not check_vjp(jnp.sin, wrong, (LINE,), order=2, key=1).ok
